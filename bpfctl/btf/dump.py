"""BTF types as ``btf dump`` shows them in raw format, and C prototypes.

Pure functions: lines for plain output, one record (a dict in key order) per type for JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
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
    Ref,
    Var,
)

_ENCODINGS = {0: "(none)", INT_SIGNED: "SIGNED", INT_CHAR: "CHAR", INT_BOOL: "BOOL"}
_LINKAGES = ("static", "global", "extern")

_TEXT_ROOM = 1024
_MAX_DEPTH = 200
_INT_MAX = 0x7FFFFFFF
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF

Record = dict[str, Any]


def type_record(btf: Btf, found: BtfType) -> Record:
    """Return the JSON record of one type: numbers, strings and lists of records."""
    # Only type 0, of a map without key type, say, is of no kind.
    kind = "UNKNOWN" if found.kind == Kind.VOID else found.kind.name
    record: Record = {"id": found.id, "kind": kind, "name": _name(found.name)}
    record.update(_DETAILS[type(found)](found))
    return record


def type_lines(btf: Btf, found: BtfType) -> list[str]:
    """Return the plain lines of one type; the second and later ones start with a tab."""
    record = type_record(btf, found)
    head = f"[{found.id}] {record['kind']} '{record['name']}'"
    # Only variables have a comma between their two properties.
    comma = "," if isinstance(found, Var) else ""
    facts = [(key, value) for key, value in record.items() if key not in ("id", "kind", "name")]
    words = [f"{key}={value}" for key, value in facts if not isinstance(value, list)]
    lines = [" ".join([head, f"{comma} ".join(words)]) if words else head]
    for _, items in facts:
        if isinstance(items, list):
            lines += [_item_line(btf, found, item) for item in items]
    return lines


def dump_raw(btf: Btf, type_ids: list[int] | None = None) -> Iterator[str]:
    """Yield the plain lines of all types of ``btf`` itself, or of ``type_ids``."""
    for found in _chosen(btf, type_ids):
        yield from type_lines(btf, found)


def dump_records(btf: Btf, type_ids: list[int] | None = None) -> list[Record]:
    """Return what JSON prints as ``"types"``."""
    return [type_record(btf, found) for found in _chosen(btf, type_ids)]


def _chosen(btf: Btf, type_ids: list[int] | None) -> list[BtfType]:
    if type_ids is None:
        return btf.types[btf.first_id :]
    return [btf.type(type_id) for type_id in type_ids]


def _name(name: str) -> str:
    return name or "(anon)"


def _linkage(number: int) -> str:
    return _LINKAGES[number] if number < len(_LINKAGES) else "(unknown)"


def _item_line(btf: Btf, found: BtfType, item: Record) -> str:
    words = []
    for key, value in item.items():
        if key == "name":
            words.append(f"'{value}'")
        elif key == "val" and isinstance(found, Enum):
            words.append(f"val={_enum_text(found, value)}")
        else:
            words.append(f"{key}={value}")
    if isinstance(found, Datasec):
        member = btf.type(item["type_id"])
        words.append(f"({member.kind.name} '{_name(member.name)}')")
    return "\t" + " ".join(words)


def _enum_text(found: Enum, value: int) -> str:
    if found.kind == Kind.ENUM64:
        return f"{value}{'LL' if found.signed else 'ULL'}"
    return str(value if found.signed else value & _U32)


def _enum_json(found: Enum, value: int) -> int:
    """Return the number in JSON: unsigned 32-bit values are sign-extended to 64 bits."""
    if found.kind == Kind.ENUM64 or found.signed or value <= _INT_MAX:
        return value
    return value | _U64 ^ _U32


def _int(found: Int) -> Record:
    return {
        "size": found.size,
        "bits_offset": found.offset,
        "nr_bits": found.bits,
        "encoding": _ENCODINGS.get(found.encoding, "UNKN"),
    }


def _array(found: Array) -> Record:
    return {"type_id": found.type, "index_type_id": found.index, "nr_elems": found.nelems}


def _composite(found: Composite) -> Record:
    members = []
    for member in found.members:
        item: Record = {
            "name": _name(member.name),
            "type_id": member.type,
            "bits_offset": member.bit_offset,
        }
        if member.bitfield_size:
            item["bitfield_size"] = member.bitfield_size
        members.append(item)
    return {"size": found.size, "vlen": len(members), "members": members}


def _enum(found: Enum) -> Record:
    return {
        "encoding": "SIGNED" if found.signed else "UNSIGNED",
        "size": found.size,
        "vlen": len(found.values),
        "values": [
            {"name": _name(name), "val": _enum_json(found, value)} for name, value in found.values
        ],
    }


def _func_proto(found: FuncProto) -> Record:
    params = [{"name": _name(name), "type_id": type_id} for name, type_id in found.params]
    return {"ret_type_id": found.ret, "vlen": len(params), "params": params}


def _datasec(found: Datasec) -> Record:
    variables = [{"type_id": v.type, "offset": v.offset, "size": v.size} for v in found.vars]
    return {"size": found.size, "vlen": len(variables), "vars": variables}


def _linked(found: Func | Var) -> Record:
    return {"type_id": found.type, "linkage": _linkage(found.linkage)}


_DETAILS: dict[type, Callable[[Any], Record]] = {
    BtfType: lambda found: {},
    Int: _int,
    Ref: lambda found: {"type_id": found.type},
    Array: _array,
    Composite: _composite,
    Enum: _enum,
    Fwd: lambda found: {"fwd_kind": "union" if found.is_union else "struct"},
    Func: _linked,
    FuncProto: _func_proto,
    Var: _linked,
    Datasec: _datasec,
    Float: lambda found: {"size": found.size},
    DeclTag: lambda found: {"type_id": found.type, "component_idx": found.component},
}


def type_text(btf: Btf, type_id: int) -> str:
    """Return a type as program dumps write it: ``struct pair * ``, with a last blank.

    Empty if it takes more than 1023 characters, the room that bpftool gives it.
    """
    return _Speller(btf).checked(lambda speller: speller.type(type_id))


def prototype(btf: Btf, func_id: int) -> str:
    """Return ``int name(void * ctx)`` for a FUNC; empty for other types and very long ones."""
    func = btf.type(func_id)
    if not isinstance(func, Func):
        return ""
    proto = btf.type(func.type)
    assert isinstance(proto, FuncProto)
    return _Speller(btf).checked(lambda speller: speller.signature(proto, func.name))


class _TooLong(Exception):
    """A text outgrew its limit."""


class _Speller:
    """Writes types in C, up to a limit: hostile types nest deeply or repeat endlessly."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.depth = 0
        self.pieces = 0

    def checked(self, spell: Callable[[_Speller], str]) -> str:
        try:
            text = spell(self)
        except _TooLong:
            return ""
        return text if len(text) < _TEXT_ROOM else ""

    def type(self, type_id: int) -> str:
        # Each piece adds a character at least, each level one piece.
        self.pieces += 1
        if self.pieces >= _TEXT_ROOM or self.depth >= _MAX_DEPTH:
            raise _TooLong
        self.depth += 1
        text = self.spell(self.btf.type(type_id))
        self.depth -= 1
        return text

    def spell(self, found: BtfType) -> str:
        if isinstance(found, Ref) and found.kind != Kind.TYPEDEF:
            inner = self.type(found.type)
            if found.kind == Kind.PTR:
                return inner + "* "
            return inner if found.kind == Kind.TYPE_TAG else f"{found.kind.name.lower()} {inner}"
        if isinstance(found, Array):
            return f"{self.type(found.type)}[{found.nelems}]"
        if isinstance(found, FuncProto):
            return self.signature(found, "")
        if isinstance(found, Fwd):
            return f"{'union' if found.is_union else 'struct'} {found.name} "
        if isinstance(found, Composite | Enum):
            word = "enum" if isinstance(found, Enum) else found.kind.name.lower()
            return f"{word} {found.name} "
        return "void " if found.kind == Kind.VOID else f"{found.name} "

    def signature(self, proto: FuncProto, name: str) -> str:
        ret = self.type(proto.ret)
        params = []
        for param, type_id in proto.params:
            params.append(f"{self.type(type_id)}{param}" if type_id else "...")
            if len(params) >= _TEXT_ROOM:
                raise _TooLong
        return f"{ret}{name}({', '.join(params)})"
