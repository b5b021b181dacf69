"""An older kernel gets the types of an object in kinds that it knows."""

from __future__ import annotations

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import parse_btf
from bpfctl.btf.types import Enum, Float, Kind, Ref
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.btf_sanitize import sanitize


def modern():
    builder = BtfBuilder()
    number = builder.add_int("int", 4, 1)
    builder.add(Float(Kind.FLOAT, "double", size=8))
    tag = builder.add(Ref(Kind.TYPE_TAG, "user", number))
    builder.add(Ref(Kind.PTR, "", tag))
    builder.add(Enum(Kind.ENUM64, "big", 8, [("one", 1), ("two", 2)]))
    builder.add_decl_tag("mark", builder.add_struct("s", 4, [("a", number, 0)]))
    return builder.build()


@pytest.mark.parametrize(
    ("profile", "kinds"),
    [
        ("5.10", "INT STRUCT CONST PTR UNION STRUCT INT INT"),
        ("5.15", "INT FLOAT CONST PTR UNION STRUCT INT INT"),
        ("6.1", "INT FLOAT TYPE_TAG PTR ENUM64 STRUCT DECL_TAG"),
    ],
)
def test_kinds(profile, kinds):
    kernel = Kernel.in_memory(profile)
    bpf = Bpf(kernel, kernel.spawn("loader").pid)
    blob = sanitize(bpf, modern())
    assert [found.kind.name for found in parse_btf(blob)] == kinds.split()
    bpf.close(bpf.btf_load(blob))
