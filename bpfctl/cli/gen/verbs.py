"""bpftool's ``gen`` object: object files and skeletons."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Check, Table, Verb, missing

TABLE = Table(
    "gen",
    missing("gen", "object", "FILE FILE ...", "link object files", Check(2, usage=True)),
    Verb(
        "skeleton",
        "bpfctl.cli.gen.skeleton:skeleton",
        "FILE [name NAME]",
        "write a skeleton in C",
    ),
    Verb(
        "subskeleton",
        "bpfctl.cli.gen.skeleton:subskeleton",
        "FILE [name NAME]",
        "write a skeleton of a library",
    ),
    Verb(
        "min_core_btf",
        "bpfctl.cli.gen.min_core:min_core_btf",
        "FILE FILE FILE ...",
        "write the BTF that objects need for CO-RE",
    ),
    HELP,
)
