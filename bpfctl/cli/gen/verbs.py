"""bpftool's ``gen`` object: object files and skeletons."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Check, Table, missing

_ONE = Check(1, usage=True)

TABLE = Table(
    "gen",
    missing("gen", "object", "FILE FILE ...", "link object files", Check(2, usage=True)),
    missing("gen", "skeleton", "FILE [name NAME]", "write a skeleton in C", _ONE),
    missing("gen", "subskeleton", "FILE [name NAME]", "write a skeleton of a library", _ONE),
    missing(
        "gen",
        "min_core_btf",
        "FILE FILE FILE ...",
        "write the BTF that objects need for CO-RE",
        Check(3, usage=True),
    ),
    HELP,
)
