"""``bpfctl plugin new``: a working skeleton of a distribution with a map type."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, done, json_option
from bpfctl.errors import CommandError
from bpfctl.uapi import MAP_TYPE_NUMBER

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write; default: ./bpfctl-NAME.",
)
@json_option
@pass_app
def new(app: App, name: str, directory: Path | None) -> None:
    """Write a package with a working map type NAME, its tests and a README.

    NAME is the word that 'map create ... type NAME' will take: lower-case letters, digits and
    underscores.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise CommandError(
            f"'{name}' cannot be a map type",
            hint="take lower-case letters, digits and underscores, a letter first",
        )
    if name in MAP_TYPE_NUMBER:
        raise CommandError(f"the kernel has a map type '{name}' already")
    dist = "bpfctl-" + name.replace("_", "-")
    target = directory or Path(dist)
    if target.exists() and any(target.iterdir()):
        raise CommandError(f"{target} exists and is not empty")
    words = {
        "@NAME@": name,
        "@DIST@": dist,
        "@MODULE@": f"bpfctl_{name}",
        "@CLASS@": "".join(part.capitalize() for part in name.split("_")),
    }
    try:
        written = _write(target, words)
    except OSError as exc:
        raise CommandError(f"can't write {target}: {exc.strerror}") from exc
    text = "\n".join(
        [
            *(f"wrote {path}" for path in written),
            f"next: pip install -e {target} && bpfctl plugin check {dist}",
        ]
    )
    done(app, text, directory=str(target), files=[str(path) for path in written])


def _write(target: Path, words: dict[str, str]) -> list[Path]:
    source = resources.files("bpfctl") / "skeleton"
    written = []
    for template, place in (
        ("pyproject.txt", "pyproject.toml"),
        ("readme.txt", "README.md"),
        ("module.txt", "src/@MODULE@/__init__.py"),
        ("tests.txt", "tests/test_@NAME@.py"),
    ):
        path = target / _fill(place, words)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = (source / template).read_text(encoding="utf-8")
        path.write_text(_fill(content, words), encoding="utf-8")
        written.append(path)
    return written


def _fill(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text
