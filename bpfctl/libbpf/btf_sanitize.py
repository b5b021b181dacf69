"""Types that an older kernel does not know, told in those that it does.

Mirrors ``bpf_object__sanitize_btf()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.types import (
    BtfType,
    Composite,
    DeclTag,
    Enum,
    Float,
    Int,
    Kind,
    Member,
    Ref,
)
from bpfctl.errors import KernelError

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf
    from bpfctl.libbpf.bpf import Bpf

_PLACEHOLDER = "enum64_placeholder"


def _float(builder: BtfBuilder) -> None:
    builder.add(Float(Kind.FLOAT, "float", size=4))


def _decl_tag(builder: BtfBuilder) -> None:
    var = builder.add_var("x", builder.add_int("int", 4, 1))
    builder.add_decl_tag("y", var)


def _type_tag(builder: BtfBuilder) -> None:
    tag = builder.add(Ref(Kind.TYPE_TAG, "y", builder.add_int("int", 4, 1)))
    builder.add(Ref(Kind.PTR, "", tag))


def _enum64(builder: BtfBuilder) -> None:
    builder.add(Enum(Kind.ENUM64, "", 8, [("x", 1)]))


# What libbpf loads to find out whether the kernel knows a kind.
_PROBES: dict[Kind, Callable[[BtfBuilder], None]] = {
    Kind.FLOAT: _float,
    Kind.DECL_TAG: _decl_tag,
    Kind.TYPE_TAG: _type_tag,
    Kind.ENUM64: _enum64,
}


def sanitize(bpf: Bpf, btf: Btf) -> bytes:
    """Return the blob that this kernel can take."""
    used = {found.kind for found in btf} & _PROBES.keys()
    unknown = {kind for kind in used if not _known(bpf, kind)}
    if not unknown:
        return btf.raw
    builder = BtfBuilder(btf)
    placeholder = builder.add_int(_PLACEHOLDER, 1) if Kind.ENUM64 in unknown else 0
    for number, found in enumerate(builder.types):
        if found.kind in unknown:
            told = _told(found, placeholder)
            told.id = found.id
            builder.types[number] = told
    return builder.encode()


def _known(bpf: Bpf, kind: Kind) -> bool:
    builder = BtfBuilder()
    _PROBES[kind](builder)
    try:
        fd = bpf.btf_load(builder.encode())
    except KernelError:
        return False
    bpf.close(fd)
    return True


def _told(found: BtfType, placeholder: int) -> BtfType:
    if isinstance(found, Float):
        return Composite(Kind.STRUCT, "", found.size)
    if isinstance(found, DeclTag):
        # One byte, so that it is never larger than what it stands for.
        return Int(Kind.INT, found.name, 1, 0, 0, 8)
    if isinstance(found, Enum):
        members = [Member(name, placeholder, 0) for name, _ in found.values]
        return Composite(Kind.UNION, found.name, found.size, members)
    assert isinstance(found, Ref)
    return Ref(Kind.CONST, "", found.type)
