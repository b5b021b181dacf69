"""bpftool's ``struct_ops`` object: kernel structures in BPF."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, missing

TABLE = Table(
    "struct_ops",
    missing("struct_ops", "show", "[STRUCT_OPS]", "list registered structures"),
    missing("struct_ops", "list", "[STRUCT_OPS]", "list registered structures"),
    missing("struct_ops", "register", "FILE [PATH]", "register the structures of an object"),
    missing("struct_ops", "unregister", "STRUCT_OPS", "unregister a structure"),
    missing("struct_ops", "dump", "[STRUCT_OPS]", "print registered structures"),
    HELP,
)
