"""bpftool's ``btf`` object: the command table."""

from __future__ import annotations

from bpfctl.cli.btf_dump import dump
from bpfctl.cli.btf_show import show
from bpfctl.cli.session import App
from bpfctl.cli.table import Table, Verb
from bpfctl.cli.words import Words


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
