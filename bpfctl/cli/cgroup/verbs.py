"""bpftool's ``cgroup`` object: programs attached to cgroups."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

_SHOW = "bpfctl.cli.cgroup.show"
_ATTACH = "bpfctl.cli.cgroup.attach"
_ABOUT = "list programs attached to a cgroup"

TABLE = Table(
    "cgroup",
    Verb("show", f"{_SHOW}:show", "DIR [effective]", _ABOUT),
    Verb("list", f"{_SHOW}:show", "DIR [effective]", _ABOUT),
    Verb("tree", f"{_SHOW}:tree", "[DIR] [effective]", "list programs attached below a cgroup"),
    Verb(
        "attach",
        f"{_ATTACH}:attach",
        "DIR ATTACH_TYPE PROG <[multi] [override]>",
        "attach a program to a cgroup",
        write=True,
    ),
    Verb(
        "detach",
        f"{_ATTACH}:detach",
        "DIR ATTACH_TYPE PROG",
        "detach a program from a cgroup",
        write=True,
    ),
    HELP,
)
