"""What the kernel demands of a BTF blob beyond its form (btf_check_meta of kernel/bpf/btf.c)."""

from __future__ import annotations

import re
import struct

from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import (
    BTF_HEADER_BYTES,
    BTF_VERSION,
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    Array,
    BtfError,
    BtfType,
    Composite,
    Enum,
    FuncProto,
    Int,
    Kind,
)
from bpfctl.errors import E, KernelError

BTF_MAX_SIZE = 16 << 20
_ONE_ENCODING = (0, INT_SIGNED, INT_CHAR, INT_BOOL)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTION = re.compile(r"[A-Za-z_.][A-Za-z0-9_.]*")
_NAMELESS = frozenset(
    (Kind.PTR, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.ARRAY, Kind.FUNC_PROTO)
)
_MAY_BE_NAMELESS = frozenset((Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.ENUM64))
_FREE_NAMES = frozenset((Kind.INT, Kind.FLOAT, Kind.DECL_TAG, Kind.TYPE_TAG))


def parse_for_kernel(blob: bytes, last_kind: int) -> Btf:
    """Return the checked types of a blob given to BPF_BTF_LOAD.

    ``last_kind`` is the highest BTF_KIND_* that the kernel knows.

    :raises KernelError: E2BIG above 16 MiB; 524 for another version, for flags, and for an int
        of more than one encoding; EINVAL for everything else.
    """
    if len(blob) > BTF_MAX_SIZE:
        raise KernelError(E.BIG, "BTF size")
    if len(blob) >= BTF_HEADER_BYTES:
        _, version, flags = struct.unpack_from("<HBB", blob)
        if version != BTF_VERSION or flags:
            raise KernelError(E.NOTSUPP, f"BTF version {version}, flags {flags:#x}")
    try:
        btf = parse_btf(blob)
        if btf.big_endian or not len(btf):
            raise BtfError("no types, or another byte order")
        for record in btf:
            _check(btf, record, last_kind)
    except BtfError as exc:
        raise KernelError(E.INVAL, exc.text) from exc
    return btf


def _bad(record: BtfType, reason: str) -> BtfError:
    return BtfError(f"type {record.id}: {reason}")


def _check(btf: Btf, record: BtfType, last_kind: int) -> None:
    if record.kind > last_kind:
        raise _bad(record, f"kind {record.kind.name} is unknown")
    _check_name(record)
    if isinstance(record, Int):
        if record.encoding not in _ONE_ENCODING:
            raise KernelError(E.NOTSUPP, f"int encoding {record.encoding:#x}")
    elif isinstance(record, Enum):
        if not record.size:
            raise _bad(record, "unexpected size")
        if record.signed and last_kind < Kind.ENUM64:
            raise _bad(record, "signed enum")
        _check_identifiers(record, [name for name, _ in record.values], required=True)
    elif isinstance(record, Array):
        if not isinstance(btf.resolve(record.index), Int):
            raise _bad(record, "index type")
        btf.size_of(record.id)
    elif isinstance(record, Composite):
        _check_members(btf, record)
    elif isinstance(record, FuncProto):
        _check_identifiers(record, [name for name, _ in record.params], required=False)


def _check_name(record: BtfType) -> None:
    name, kind = record.name, record.kind
    if kind in _NAMELESS:
        good = not name
    elif kind in _FREE_NAMES:
        good = bool(name) or kind in (Kind.INT, Kind.FLOAT)
    elif kind in _MAY_BE_NAMELESS and not name:
        good = True
    elif kind == Kind.DATASEC:
        good = bool(_SECTION.fullmatch(name))
    elif kind in (Kind.VAR, Kind.FUNC):
        good = bool(_SECTION.fullmatch(name))  # compilers write foo.isra.0, str.1
    else:
        good = bool(_IDENTIFIER.fullmatch(name))
    if not good:
        raise _bad(record, f"name '{name}'")


def _check_identifiers(record: BtfType, names: list[str], required: bool) -> None:
    for name in names:
        if not (_IDENTIFIER.fullmatch(name) or (not name and not required)):
            raise _bad(record, f"name '{name}'")


def _check_members(btf: Btf, record: Composite) -> None:
    last = 0
    for member in record.members:
        _check_identifiers(record, [member.name], required=False)
        if record.kind == Kind.STRUCT and member.bit_offset < last:
            raise _bad(record, f"member {member.name} lies before the one it follows")
        last = member.bit_offset
        size = btf.size_of(member.type)
        bits = member.bitfield_size or 8 * size
        if isinstance(btf.resolve(member.type), Int | Enum) and not member.bitfield_size:
            continue  # old-style bit fields: the int itself says how many bits it has
        if member.bit_offset + bits > 8 * record.size:
            raise _bad(record, f"member {member.name} does not fit")
