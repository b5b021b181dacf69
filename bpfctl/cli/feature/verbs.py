"""bpftool's ``feature`` object: what the kernel can do."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

TABLE = Table(
    "feature",
    Verb(
        "probe",
        "bpfctl.cli.feature.probe:probe",
        "<[{kernel | dev DEV}] [full] [unprivileged] [macros [prefix PREFIX]]>",
        "find out what the kernel can do",
    ),
    Verb(
        "list_builtins",
        "bpfctl.cli.feature.builtins:list_builtins",
        "{prog_types | map_types | attach_types | link_types | helpers}",
        "list what this bpftool has names for",
    ),
    HELP,
)
