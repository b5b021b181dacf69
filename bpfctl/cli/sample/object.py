"""``bpfctl sample object``: a compiled object to try commands on."""

from __future__ import annotations

import os
from importlib import resources

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, CommandError, done, json_option

FOLDER = "objects"
SUFFIX = ".bpf.o"


@click.command(name="object")
@click.argument("name", default="tail")
@json_option
@pass_app
def object_(app: App, name: str) -> None:
    """Print where the example object NAME (default: tail) is; its source is beside it."""
    folder = str(resources.files("bpfctl_samples") / FOLDER)
    known = sorted(
        file.removesuffix(SUFFIX) for file in os.listdir(folder) if file.endswith(SUFFIX)
    )
    if name not in known:
        raise CommandError(f"no object '{name}'", hint=f"there are: {', '.join(known)}")
    path = os.path.join(folder, name + SUFFIX)
    done(app, path, path=path)
