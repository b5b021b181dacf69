"""bpftool's ``net`` object: programs attached to the network."""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import HELP, Check, Table, Verb, missing
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError, E

_TYPE = "{xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress}"


def show(app: App, words: Words) -> None:
    """Check the words of ``net show``."""
    if words.left and not (words.left == 2 and words.next_is("dev")):
        raise UsageExit
    raise CommandError("bpfctl does not simulate 'net show' yet")


TABLE = Table(
    "net",
    Verb("show", show, "[dev DEV]", "list programs attached to net devices"),
    Verb("list", show, "[dev DEV]", "list programs attached to net devices"),
    missing(
        "net",
        "attach",
        f"{_TYPE} PROG dev DEV [overwrite]",
        "attach a program to a net device",
        Check(5, -E.INVAL & 0xFF),
    ),
    missing(
        "net",
        "detach",
        f"{_TYPE} dev DEV",
        "detach a program from a net device",
        Check(3, -E.INVAL & 0xFF),
    ),
    HELP,
)
