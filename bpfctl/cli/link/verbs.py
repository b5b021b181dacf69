"""bpftool's ``link`` object."""

from __future__ import annotations

from bpfctl.cli.app.pending import empty
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import HELP, Check, Table, Verb, missing
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, E


def show(app: App, words: Words) -> None:
    """Run ``link show`` on a kernel that has no link."""
    if words.left == 2:
        raise CommandError("bpfctl does not simulate 'link show' of a link yet")
    words.no_more()
    empty(app, words)


TABLE = Table(
    "link",
    Verb("show", show, "[LINK]", "list links"),
    Verb("list", show, "[LINK]", "list links"),
    HELP,
    missing("link", "pin", "LINK PATH", "pin a link in the bpffs", Check(3, -E.INVAL & 0xFF)),
    missing("link", "detach", "LINK", "detach what a link attached"),
)
