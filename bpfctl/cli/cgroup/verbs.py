"""bpftool's ``cgroup`` object: programs attached to cgroups."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Check, Table, missing

_SHOW = "DIR [effective]"

TABLE = Table(
    "cgroup",
    missing("cgroup", "show", _SHOW, "list programs attached to a cgroup", Check(1)),
    missing("cgroup", "list", _SHOW, "list programs attached to a cgroup", Check(1)),
    missing("cgroup", "tree", "[DIR] [effective]", "list programs attached below a cgroup"),
    missing(
        "cgroup",
        "attach",
        "DIR ATTACH_TYPE PROG <[multi] [override]>",
        "attach a program to a cgroup",
    ),
    missing("cgroup", "detach", "DIR ATTACH_TYPE PROG", "detach a program from a cgroup"),
    HELP,
)
