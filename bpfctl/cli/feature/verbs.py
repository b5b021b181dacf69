"""bpftool's ``feature`` object: what the kernel can do."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, missing

TABLE = Table(
    "feature",
    missing(
        "feature",
        "probe",
        "<[{kernel | dev DEV}] [full] [unprivileged] [macros [prefix PREFIX]]>",
        "find out what the kernel can do",
    ),
    missing(
        "feature",
        "list_builtins",
        "{prog_types | map_types | attach_types | link_types | helpers}",
        "list what this bpftool has names for",
    ),
    HELP,
)
