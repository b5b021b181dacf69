"""bpftool's ``perf`` object: programs attached to perf events."""

from __future__ import annotations

from bpfctl.cli.app.pending import empty
from bpfctl.cli.app.table import HELP, Table, Verb

TABLE = Table(
    "perf",
    Verb("show", empty, "", "list programs attached to perf events"),
    Verb("list", empty, "", "list programs attached to perf events"),
    HELP,
)
