"""bpftool's ``link`` object."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

_SHOW = "bpfctl.cli.link.show:show"
_PIN = "bpfctl.cli.link.pin"

TABLE = Table(
    "link",
    Verb("show", _SHOW, "[LINK]", "list links"),
    Verb("list", _SHOW, "[LINK]", "list links"),
    HELP,
    Verb("pin", f"{_PIN}:pin", "LINK PATH", "pin a link in the bpffs", write=True),
    Verb("detach", f"{_PIN}:detach", "LINK", "detach what a link attached", write=True),
)
