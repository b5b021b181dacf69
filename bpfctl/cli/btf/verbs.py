"""bpftool's ``btf`` object: the command table."""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.app.words import Words
from bpfctl.cli.btf.dump import dump
from bpfctl.cli.btf.show import show


def help_(app: App, words: Words) -> None:
    """Run ``btf help``."""
    app.help(app, words)


TABLE = Table(
    "btf",
    {
        "show": Verb(show),
        "list": Verb(show),
        "help": Verb(help_),
        "dump": Verb(dump),
    },
)
