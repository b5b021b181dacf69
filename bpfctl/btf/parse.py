"""BTF blobs: parse, check, look up.

A blob of either byte order becomes a list of records (:mod:`.types`). Everything that a
reader relies on is checked while parsing: bounds, names, type ids, and that no type contains
itself. :mod:`.build` makes blobs, :mod:`.format` prints values, :mod:`.dump` types.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from bpfctl.btf.types import (
    BTF_HEADER_BYTES,
    BTF_MAGIC,
    BTF_VERSION,
    LOOKED_THROUGH,
    PTR_BYTES,
    VOID,
    Array,
    BtfError,
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

_U32 = 1 << 32
# As deep as hostile types may nest where reading them is recursive.
_MAX_DEPTH = 200
_INT_SIZES = (1, 2, 4, 8, 16)
# The kernel wants 1 to 8; what is only shown may have none.
_ENUM_SIZES = (0, 1, 2, 4, 8)
_FLOAT_SIZES = (2, 4, 8, 12, 16)


class Btf:
    """The types of one blob.

    ``types[id]`` is the record with that id, ``types[0]`` is void. ``raw`` are the bytes that
    were parsed, ``big_endian`` their byte order.
    """

    def __init__(
        self,
        raw: bytes,
        types: list[BtfType],
        strings: bytes,
        big_endian: bool = False,
        base: Btf | None = None,
    ) -> None:
        self.raw = raw
        self.types = types
        self.strings = strings
        self.big_endian = big_endian
        self.base = base
        self._by_name: dict[str, list[int]] | None = None

    def __len__(self) -> int:
        """Number of types, void not counted."""
        return len(self.types) - 1

    def __iter__(self) -> Iterator[BtfType]:
        """Walk the types in id order, without void."""
        return iter(self.types[1:])

    @property
    def first_id(self) -> int:
        """Lowest id that this blob itself defines: above 1 for split BTF."""
        return len(self.base.types) if self.base else 1

    def type(self, type_id: int) -> BtfType:
        """Return the record; :class:`BtfError` for an id that does not exist."""
        if 0 <= type_id < len(self.types):
            return self.types[type_id]
        raise BtfError(f"type id {type_id} does not exist")

    def string(self, offset: int) -> str:
        """Return the string at ``offset`` of the string section."""
        if self.base is not None:
            if offset < len(self.base.strings):
                return self.base.string(offset)
            offset -= len(self.base.strings)
        return _string(self.strings, offset, None)

    def resolve(self, type_id: int) -> BtfType:
        """Look through typedef, const, volatile, restrict and type tags."""
        found = self.type(type_id)
        while isinstance(found, Ref) and found.kind in LOOKED_THROUGH:
            found = self.types[found.type]
        return found

    def skip(self, type_id: int, kinds: frozenset[Kind]) -> BtfType:
        """Look through references of ``kinds`` only."""
        found = self.type(type_id)
        while isinstance(found, Ref) and found.kind in kinds:
            found = self.types[found.type]
        return found

    def find(self, name: str, kind: Kind | None = None) -> BtfType | None:
        """Return the first type called ``name`` (of ``kind``), or None."""
        if self._by_name is None:
            self._by_name = {}
            for known in self:
                self._by_name.setdefault(known.name, []).append(known.id)
        for type_id in self._by_name.get(name, ()):
            if kind is None or self.types[type_id].kind == kind:
                return self.types[type_id]
        return None

    def size_of(self, type_id: int) -> int:
        """Return the size in bytes; :class:`BtfError` for types without one.

        Mirrors ``btf__resolve_size()``: variables have the size of their type.
        """
        count = 1
        found = self.resolve(type_id)
        while True:
            if isinstance(found, Array):
                count *= found.nelems
                found = self.resolve(found.type)
            elif isinstance(found, Var):
                found = self.resolve(found.type)
            else:
                break
        if isinstance(found, Int | Composite | Enum | Datasec | Float):
            size = found.size * count
        elif found.kind == Kind.PTR:
            size = PTR_BYTES * count
        else:
            raise BtfError(f"type {type_id} ({found.kind.name}) has no size")
        if size >= _U32:
            raise BtfError(f"type {type_id} is larger than 4 GiB")
        return size

    def align_of(self, type_id: int) -> int:
        """Return the alignment in bytes that a C compiler gives the type (packed: 1)."""
        return self._align(type_id, {}, 0)

    def _align(self, type_id: int, known: dict[int, int], depth: int) -> int:
        found = self.resolve(type_id)
        while isinstance(found, Array | Var):
            found = self.resolve(found.type)
        if isinstance(found, Int | Enum | Float):
            return min(PTR_BYTES, found.size)
        if found.kind == Kind.PTR:
            return PTR_BYTES
        if not isinstance(found, Composite) or depth > _MAX_DEPTH:
            raise BtfError(f"type {type_id} ({found.kind.name}) has no alignment")
        if found.id not in known:
            known[found.id] = self._struct_align(found, known, depth)
        return known[found.id]

    def _struct_align(self, found: Composite, known: dict[int, int], depth: int) -> int:
        most = 1
        for member in found.members:
            align = self._align(member.type, known, depth + 1)
            if member.bitfield_size == 0 and member.bit_offset % (8 * align):
                return 1
            most = max(most, align)
        return 1 if found.size % most else most


def parse_btf(blob: bytes, base: Btf | None = None) -> Btf:
    """Parse and check a whole blob, header included.

    ``base`` holds the types and strings that a split blob continues.
    """
    endian, type_off, type_len, str_off, str_len = _header(blob)
    strings = blob[str_off : str_off + str_len]
    if base is None:
        if not strings or strings[0] or strings[-1]:
            raise BtfError("strings do not start and end with a zero byte", str_off)
    elif strings and strings[-1]:
        raise BtfError("strings do not end with a zero byte", str_off)
    words = struct.unpack_from(f"{endian}{type_len // 4}I", blob, type_off)
    btf = Btf(blob, list(base.types) if base else [VOID], strings, endian == ">", base)
    _TypeReader(btf, words, type_off, endian).read_all()
    _check_references(btf)
    _check_loops(btf, _parts, "contains itself")
    _check_loops(btf, _spelled_by, "is defined by itself")
    return btf


def _header(blob: bytes) -> tuple[str, int, int, int, int]:
    """Return byte order and the bounds of the type and string sections in ``blob``."""
    if len(blob) < BTF_HEADER_BYTES:
        raise BtfError(f"{len(blob)} bytes are too few for a header", 0)
    for endian in "<>":
        magic, version, _flags, hdr_len = struct.unpack_from(f"{endian}HBBI", blob)
        if magic == BTF_MAGIC:
            break
    else:
        raise BtfError("wrong magic number", 0)
    if version != BTF_VERSION:
        raise BtfError(f"unknown version {version}", 2)
    if not BTF_HEADER_BYTES <= hdr_len <= len(blob):
        raise BtfError(f"header length {hdr_len} does not fit", 4)
    if any(blob[BTF_HEADER_BYTES:hdr_len]):
        raise BtfError("unknown header fields are set", BTF_HEADER_BYTES)
    type_off, type_len, str_off, str_len = struct.unpack_from(f"{endian}4I", blob, 8)
    room = len(blob) - hdr_len
    if type_off + type_len > room or type_off % 4 or type_len % 4:
        raise BtfError("the type section does not fit", 8)
    if str_off + str_len > room:
        raise BtfError("the string section does not fit", 16)
    if type_off < str_off + str_len and str_off < type_off + type_len:
        raise BtfError("types and strings overlap", 8)
    return endian, hdr_len + type_off, type_len, hdr_len + str_off, str_len


def _string(strings: bytes, offset: int, at: int | None) -> str:
    if not 0 <= offset < len(strings):
        raise BtfError(f"string offset {offset} is out of range", at)
    try:
        return strings[offset : strings.index(0, offset)].decode()
    except UnicodeDecodeError:
        raise BtfError(f"string at offset {offset} is not text", at) from None


class _TypeReader:
    """Turns the words of the type section into records, in order."""

    def __init__(
        self, btf: Btf, words: Sequence[int], section_offset: int, endian: str
    ) -> None:
        self.btf = btf
        self.words = words
        self.endian = endian
        self.section_offset = section_offset
        self.pos = 0
        self.names: dict[int, str] = {0: ""}

    def error(self, reason: str) -> BtfError:
        return BtfError(
            f"type {len(self.btf.types)}: {reason}", self.section_offset + 4 * self.pos
        )

    def take(self, count: int) -> Sequence[int]:
        """Return the next ``count`` words."""
        end = self.pos + count
        if end > len(self.words):
            raise self.error("is cut off by the end of the type section")
        taken = self.words[self.pos : end]
        self.pos = end
        return taken

    def name(self, offset: int) -> str:
        found = self.names.get(offset)
        if found is None:
            try:
                found = self.names[offset] = self.btf.string(offset)
            except BtfError as exc:
                raise self.error(exc.reason) from None
        return found

    def read_all(self) -> None:
        types = self.btf.types
        while self.pos < len(self.words):
            name_off, info, size_or_type = self.take(3)
            kind = info >> 24 & 0x1F
            if not 1 <= kind <= Kind.ENUM64:
                raise self.error(f"unknown kind {kind}")
            if info & 0x60FF0000:
                raise self.error("reserved bits are set")
            record = _READERS[kind](
                self, Kind(kind), self.name(name_off), info & 0xFFFF, info >> 31, size_or_type
            )
            record.id = len(types)
            types.append(record)

    def read_int(self, kind: Kind, name: str, vlen: int, kflag: int, size: int) -> BtfType:
        (data,) = self.take(1)
        # gcc sets SIGNED and CHAR together; the kernel refuses that, readers do not.
        encoding, offset, bits = data >> 24 & 0xF, data >> 16 & 0xFF, data & 0xFF
        if size not in _INT_SIZES:
            raise self.error(f"int of {size} bytes")
        if bits > 128 or offset + bits > 8 * size:
            raise self.error(f"{bits} bits at bit {offset} do not fit an int of {size} bytes")
        return Int(kind, name, size, encoding, offset, bits)

    def read_ref(self, kind: Kind, name: str, vlen: int, kflag: int, type_id: int) -> BtfType:
        return Ref(kind, name, type_id)

    def read_array(self, kind: Kind, name: str, vlen: int, kflag: int, unused: int) -> BtfType:
        type_id, index, nelems = self.take(3)
        return Array(kind, name, type_id, index, nelems)

    def read_composite(self, kind: Kind, name: str, vlen: int, kflag: int, size: int) -> BtfType:
        members = []
        words = self.take(3 * vlen)
        for at in range(0, 3 * vlen, 3):
            name_off, type_id, where = words[at : at + 3]
            bits = where >> 24 if kflag else 0
            offset = where & 0xFFFFFF if kflag else where
            if offset + bits > 8 * size or (kind == Kind.UNION and offset):
                raise self.error(f"member {at // 3} lies outside its {size} bytes")
            members.append(Member(self.name(name_off), type_id, offset, bits))
        return Composite(kind, name, size, members, bool(kflag))

    def read_enum(self, kind: Kind, name: str, vlen: int, kflag: int, size: int) -> BtfType:
        if size not in _ENUM_SIZES:
            raise self.error(f"enum of {size} bytes")
        wide = kind == Kind.ENUM64
        step = 3 if wide else 2
        words = self.take(step * vlen)
        limit = 1 << (64 if wide else 32)
        values = []
        for at in range(0, len(words), step):
            value = words[at + 1] + (words[at + 2] << 32 if wide else 0)
            if kflag and value >= limit // 2:
                value -= limit
            values.append((self.name(words[at]), value))
        return Enum(kind, name, size, values, bool(kflag))

    def read_fwd(self, kind: Kind, name: str, vlen: int, kflag: int, unused: int) -> BtfType:
        return Fwd(kind, name, bool(kflag))

    def read_func(self, kind: Kind, name: str, vlen: int, kflag: int, type_id: int) -> BtfType:
        return Func(kind, name, type_id, vlen)

    def read_func_proto(self, kind: Kind, name: str, vlen: int, kflag: int, ret: int) -> BtfType:
        words = self.take(2 * vlen)
        params = [(self.name(words[at]), words[at + 1]) for at in range(0, 2 * vlen, 2)]
        return FuncProto(kind, name, ret, params)

    def read_var(self, kind: Kind, name: str, vlen: int, kflag: int, type_id: int) -> BtfType:
        (linkage,) = self.take(1)
        return Var(kind, name, type_id, linkage)

    def read_datasec(self, kind: Kind, name: str, vlen: int, kflag: int, size: int) -> BtfType:
        words = self.take(3 * vlen)
        return Datasec(
            kind, name, size, [SecVar(*words[at : at + 3]) for at in range(0, 3 * vlen, 3)]
        )

    def read_float(self, kind: Kind, name: str, vlen: int, kflag: int, size: int) -> BtfType:
        if size not in _FLOAT_SIZES:
            raise self.error(f"float of {size} bytes")
        return Float(kind, name, size)

    def read_decl_tag(self, kind: Kind, name: str, vlen: int, kflag: int, type_id: int) -> BtfType:
        (component,) = self.take(1)
        return DeclTag(kind, name, type_id, component - _U32 if component >> 31 else component)


_READERS: dict[int, Callable[[_TypeReader, Kind, str, int, int, int], BtfType]] = {
    Kind.INT: _TypeReader.read_int,
    Kind.PTR: _TypeReader.read_ref,
    Kind.ARRAY: _TypeReader.read_array,
    Kind.STRUCT: _TypeReader.read_composite,
    Kind.UNION: _TypeReader.read_composite,
    Kind.ENUM: _TypeReader.read_enum,
    Kind.FWD: _TypeReader.read_fwd,
    Kind.TYPEDEF: _TypeReader.read_ref,
    Kind.VOLATILE: _TypeReader.read_ref,
    Kind.CONST: _TypeReader.read_ref,
    Kind.RESTRICT: _TypeReader.read_ref,
    Kind.FUNC: _TypeReader.read_func,
    Kind.FUNC_PROTO: _TypeReader.read_func_proto,
    Kind.VAR: _TypeReader.read_var,
    Kind.DATASEC: _TypeReader.read_datasec,
    Kind.FLOAT: _TypeReader.read_float,
    Kind.DECL_TAG: _TypeReader.read_decl_tag,
    Kind.TYPE_TAG: _TypeReader.read_ref,
    Kind.ENUM64: _TypeReader.read_enum,
}


def references(record: BtfType) -> list[int]:
    """Return the ids that ``record`` names directly."""
    if isinstance(record, Ref | Func | Var | DeclTag):
        return [record.type]
    if isinstance(record, Array):
        return [record.type, record.index]
    if isinstance(record, Composite):
        return [member.type for member in record.members]
    if isinstance(record, FuncProto):
        return [record.ret, *(type_id for _, type_id in record.params)]
    if isinstance(record, Datasec):
        return [var.type for var in record.vars]
    return []


def _check_references(btf: Btf) -> None:
    types = btf.types
    for record in types[btf.first_id :]:
        for type_id in references(record):
            if type_id >= len(types):
                raise BtfError(f"type {record.id} refers to type {type_id}, which does not exist")
        if isinstance(record, Func) and types[record.type].kind != Kind.FUNC_PROTO:
            raise BtfError(f"type {record.id}: function without a prototype")
        if isinstance(record, Datasec):
            for var in record.vars:
                if types[var.type].kind not in (Kind.VAR, Kind.FUNC):
                    raise BtfError(f"type {record.id}: section member {var.type} is no variable")


def _parts(record: BtfType) -> list[int]:
    """Return the types stored inside a value of this type."""
    if record.kind in LOOKED_THROUGH or isinstance(record, Composite | Var | Datasec):
        return references(record)
    return [record.type] if isinstance(record, Array) else []


def _spelled_by(record: BtfType) -> list[int]:
    """Return the types needed to write this type in C without naming a struct."""
    if isinstance(record, Ref | FuncProto):
        return references(record)
    return [record.type] if isinstance(record, Array) else []


def _check_loops(btf: Btf, edges: Callable[[BtfType], list[int]], verb: str) -> None:
    """Refuse a cycle of ``edges``; depth first, without recursion."""
    types = btf.types
    done = bytearray(len(types))  # 1: on the current path, 2: finished
    for start in range(btf.first_id, len(types)):
        path = [start]
        while path:
            current = path[-1]
            if done[current] == 0:
                done[current] = 1
                for type_id in edges(types[current]):
                    if done[type_id] == 1:
                        raise BtfError(f"type {type_id} {verb}")
                    if done[type_id] == 0:
                        path.append(type_id)
            else:
                path.pop()
                done[current] = 2


def swap_order(btf: Btf) -> bytes:
    """Return the blob of ``btf`` in the other byte order."""
    here, there = (">", "<") if btf.big_endian else ("<", ">")
    _, type_off, type_len, _, _ = _header(btf.raw)
    out = bytearray(btf.raw)
    for fmt, at in (("HBBI4I", 0), (f"{type_len // 4}I", type_off)):
        struct.pack_into(there + fmt, out, at, *struct.unpack_from(here + fmt, btf.raw, at))
    return bytes(out)
