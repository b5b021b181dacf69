"""bpftool's ``net`` object: programs attached to the network."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

_SHOW = "bpfctl.cli.net.show:show"
_ATTACH = "bpfctl.cli.net.attach"
_TYPE = "{xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress}"
_ABOUT = "list programs attached to net devices"

TABLE = Table(
    "net",
    Verb("show", _SHOW, "[dev DEV]", _ABOUT),
    Verb("list", _SHOW, "[dev DEV]", _ABOUT),
    Verb(
        "attach",
        f"{_ATTACH}:attach",
        f"{_TYPE} PROG dev DEV [overwrite]",
        "attach a program to a net device",
        write=True,
    ),
    Verb(
        "detach",
        f"{_ATTACH}:detach",
        f"{_TYPE} dev DEV",
        "detach a program from a net device",
        write=True,
    ),
    HELP,
)
