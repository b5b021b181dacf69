"""bpftool's ``btf`` object."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

_PACKAGE = "bpfctl.cli.btf"
_SHOW = f"{_PACKAGE}.show:show"
_DUMP = (
    "{map MAP [{key | value | kv | all}] | prog PROG | id BTF_ID | file FILE}"
    " <[format {raw | c}] [unsorted]>"
)

TABLE = Table(
    "btf",
    Verb("show", _SHOW, "[id BTF_ID]", "list BTF objects"),
    Verb("list", _SHOW, "[id BTF_ID]", "list BTF objects"),
    HELP,
    Verb("dump", f"{_PACKAGE}.dump:dump", _DUMP, "print types"),
)
