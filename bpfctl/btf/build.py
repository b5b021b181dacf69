"""Make BTF blobs: from nothing, or by changing parsed ones."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from copy import deepcopy

from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import (
    BTF_HEADER_BYTES,
    BTF_MAGIC,
    BTF_VERSION,
    VAR_GLOBAL,
    VOID,
    Array,
    BtfType,
    Composite,
    Datasec,
    DeclTag,
    Enum,
    Float,
    Func,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Member,
    Ref,
    SecVar,
    Var,
)

_U32 = 0xFFFFFFFF


class BtfBuilder:
    """A growing list of types and strings.

    Each ``add_*`` returns the id of the new type; ids may be named before they exist, e.g. for
    a struct that points to itself. ``encode()`` gives the blob. Starting from a parsed ``btf``
    keeps its ids and its whole string section, which .BTF.ext may refer to; its records are copied.
    """

    def __init__(self, btf: Btf | None = None) -> None:
        self.types: list[BtfType] = deepcopy(btf.types) if btf else [VOID]
        self._strings = bytearray(btf.strings if btf else b"\0")
        self._offsets: dict[str, int] = {}
        if btf:
            at = 0
            for text in btf.strings[:-1].split(b"\0"):
                self._offsets.setdefault(text.decode(errors="surrogateescape"), at)
                at += len(text) + 1
        self._offsets[""] = 0

    def string(self, text: str) -> int:
        """Return the offset of ``text`` in the string section, adding it if new."""
        at = self._offsets.get(text)
        if at is None:
            at = self._offsets[text] = len(self._strings)
            self._strings += text.encode(errors="surrogateescape") + b"\0"
        return at

    def add(self, record: BtfType) -> int:
        """Append any record; its id is set."""
        record.id = len(self.types)
        self.types.append(record)
        return record.id

    def add_int(self, name: str, size: int, encoding: int = 0, bits: int = 0) -> int:
        """Add an integer of ``size`` bytes, by default with all its bits."""
        return self.add(Int(Kind.INT, name, size, encoding, 0, bits or 8 * size))

    def add_float(self, name: str, size: int) -> int:
        return self.add(Float(Kind.FLOAT, name, size))

    def add_ptr(self, type_id: int) -> int:
        return self.add(Ref(Kind.PTR, "", type_id))

    def add_typedef(self, name: str, type_id: int) -> int:
        return self.add(Ref(Kind.TYPEDEF, name, type_id))

    def add_modifier(self, kind: Kind, type_id: int, name: str = "") -> int:
        """Add a CONST, VOLATILE, RESTRICT or (with a name) TYPE_TAG of ``type_id``."""
        return self.add(Ref(kind, name, type_id))

    def add_array(self, type_id: int, nelems: int, index: int) -> int:
        return self.add(Array(Kind.ARRAY, "", type_id, index, nelems))

    def add_struct(
        self, name: str, size: int, members: Iterable[tuple[str, int, int] | Member]
    ) -> int:
        """Add a struct; members are (name, type id, bit offset) or :class:`Member`."""
        return self.add(_composite(Kind.STRUCT, name, size, members))

    def add_union(
        self, name: str, size: int, members: Iterable[tuple[str, int, int] | Member]
    ) -> int:
        return self.add(_composite(Kind.UNION, name, size, members))

    def add_enum(
        self, name: str, size: int, values: Iterable[tuple[str, int]], signed: bool = False
    ) -> int:
        """Add an ENUM, or an ENUM64 if ``size`` is 8."""
        kind = Kind.ENUM64 if size == 8 else Kind.ENUM
        return self.add(Enum(kind, name, size, list(values), signed))

    def add_fwd(self, name: str, is_union: bool = False) -> int:
        return self.add(Fwd(Kind.FWD, name, is_union))

    def add_func_proto(self, ret: int, params: Iterable[tuple[str, int]] = ()) -> int:
        return self.add(FuncProto(Kind.FUNC_PROTO, "", ret, list(params)))

    def add_func(self, name: str, proto: int, linkage: int) -> int:
        return self.add(Func(Kind.FUNC, name, proto, linkage))

    def add_var(self, name: str, type_id: int, linkage: int = VAR_GLOBAL) -> int:
        return self.add(Var(Kind.VAR, name, type_id, linkage))

    def add_datasec(self, name: str, size: int, variables: Iterable[tuple[int, int, int]]) -> int:
        """Add a section; variables are (var id, byte offset, size in bytes)."""
        return self.add(Datasec(Kind.DATASEC, name, size, [SecVar(*v) for v in variables]))

    def add_decl_tag(self, name: str, type_id: int, component: int = -1) -> int:
        return self.add(DeclTag(Kind.DECL_TAG, name, type_id, component))

    def encode(self, big_endian: bool = False) -> bytes:
        """Return the blob in the byte order of the program's target."""
        words: list[int] = []
        for record in self.types[1:]:
            words += self._words(record)
        endian = ">" if big_endian else "<"
        header = struct.pack(
            f"{endian}HBBI4I",
            BTF_MAGIC,
            BTF_VERSION,
            0,
            BTF_HEADER_BYTES,
            0,
            4 * len(words),
            4 * len(words),
            len(self._strings),
        )
        body = struct.pack(f"{endian}{len(words)}I", *(word & _U32 for word in words))
        return header + body + bytes(self._strings)

    def build(self, big_endian: bool = False) -> Btf:
        """Return the checked types; :class:`~.types.BtfError` if they contradict."""
        return parse_btf(self.encode(big_endian))

    def _words(self, record: BtfType) -> list[int]:
        vlen, flag, third, rest = self._parts(record)
        info = flag << 31 | record.kind << 24 | vlen
        return [self.string(record.name), info, third, *rest]

    def _parts(self, record: BtfType) -> tuple[int, bool, int, Sequence[int]]:
        """Return vlen, kind flag, size or type, and the words after the common three."""
        if isinstance(record, Int):
            data = record.encoding << 24 | record.offset << 16 | record.bits
            return 0, False, record.size, [data]
        if isinstance(record, Ref):
            return 0, False, record.type, ()
        if isinstance(record, Array):
            return 0, False, 0, [record.type, record.index, record.nelems]
        if isinstance(record, Composite):
            rest = []
            for member in record.members:
                where = member.bitfield_size << 24 | member.bit_offset
                rest += [self.string(member.name), member.type, where]
            return len(record.members), record.bitfields, record.size, rest
        if isinstance(record, Enum):
            rest = []
            for name, value in record.values:
                rest += [self.string(name), value & _U32]
                if record.kind == Kind.ENUM64:
                    rest.append(value >> 32)
            return len(record.values), record.signed, record.size, rest
        if isinstance(record, Fwd):
            return 0, record.is_union, 0, ()
        if isinstance(record, Func):
            return record.linkage, False, record.type, ()
        if isinstance(record, FuncProto):
            rest = []
            for name, type_id in record.params:
                rest += [self.string(name), type_id]
            return len(record.params), False, record.ret, rest
        if isinstance(record, Var):
            return 0, False, record.type, [record.linkage]
        if isinstance(record, Datasec):
            rest = []
            for var in record.vars:
                rest += [var.type, var.offset, var.size]
            return len(record.vars), False, record.size, rest
        if isinstance(record, DeclTag):
            return 0, False, record.type, [record.component]
        if isinstance(record, Float):
            return 0, False, record.size, ()
        raise TypeError(f"no encoding for {record!r}")


def _composite(
    kind: Kind, name: str, size: int, members: Iterable[tuple[str, int, int] | Member]
) -> Composite:
    found = [each if isinstance(each, Member) else Member(*each) for each in members]
    return Composite(kind, name, size, found, any(each.bitfield_size for each in found))
