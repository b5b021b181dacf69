"""What a CO-RE relocation is about: a field, a type or an enum value, by its access string."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import Array, BtfError, BtfType, Composite, Enum, Kind

MAX_DEPTH = 64


class RelocationKind(IntEnum):
    """enum bpf_core_relo_kind."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


FIELD_KINDS = frozenset(range(6))
TYPE_KINDS = frozenset((6, 7, 8, 9, 12))

# As libbpf words them.
WORDS = {
    RelocationKind.FIELD_BYTE_OFFSET: "byte_off",
    RelocationKind.FIELD_BYTE_SIZE: "byte_sz",
    RelocationKind.FIELD_EXISTS: "field_exists",
    RelocationKind.FIELD_SIGNED: "signed",
    RelocationKind.FIELD_LSHIFT_U64: "lshift_u64",
    RelocationKind.FIELD_RSHIFT_U64: "rshift_u64",
    RelocationKind.TYPE_ID_LOCAL: "local_type_id",
    RelocationKind.TYPE_ID_TARGET: "target_type_id",
    RelocationKind.TYPE_EXISTS: "type_exists",
    RelocationKind.TYPE_SIZE: "type_size",
    RelocationKind.ENUMVAL_EXISTS: "enumval_exists",
    RelocationKind.ENUMVAL_VALUE: "enumval_value",
    RelocationKind.TYPE_MATCHES: "type_matches",
}

_KIND_WORDS = {Kind.FWD: "fwd", Kind.FUNC_PROTO: "func_proto", Kind.DECL_TAG: "decl_tag"}


@dataclass(slots=True)
class CoreRelocation:
    """One record of .BTF.ext: ``insn`` is the instruction in the linked program."""

    insn: int
    type_id: int
    access: str
    kind: RelocationKind


@dataclass(slots=True)
class Accessor:
    """One step: member ``index`` of struct ``type_id`` (named), or an element of an array."""

    type_id: int
    index: int
    name: str = ""


@dataclass(slots=True)
class Spec:
    """A relocation seen in one BTF. ``raw`` is the access string as numbers there."""

    btf: Btf
    root: int
    kind: RelocationKind
    accessors: list[Accessor] = field(default_factory=list)
    raw: list[int] = field(default_factory=list)
    bit_offset: int = 0

    def text(self) -> str:
        """Return the words of libbpf: ``<byte_off> [7] struct foo.bar (0:1 @ offset 4)``."""
        found = self.btf.type(self.root)
        kind = _KIND_WORDS.get(found.kind, found.kind.name.lower())
        words = f"<{WORDS[self.kind]}> [{self.root}] {kind} {found.name or '<anon>'}"
        if self.kind in TYPE_KINDS:
            return words
        if self.kind not in FIELD_KINDS:
            enum = self.btf.resolve(self.root)
            assert isinstance(enum, Enum)
            name, value = enum.values[self.raw[0]]
            bits = 64 if enum.kind == Kind.ENUM64 else 32
            shown = value if enum.signed else value & ((1 << bits) - 1)
            return f"{words}::{name} = {shown}"
        for place, step in enumerate(self.accessors):
            if step.name:
                words += f".{step.name}"
            elif place or step.index:
                words += f"[{step.index}]"
        byte, bit = divmod(self.bit_offset, 8)
        where = f"{byte}.{bit}" if bit else str(byte)
        return f"{words} ({':'.join(map(str, self.raw))} @ offset {where})"


def essential(name: str) -> str:
    """Return a name without its flavour: ``task_struct`` of ``task_struct___old``."""
    for at in range(len(name) - 5, -1, -1):
        separates = name[at + 1 : at + 4] == "___" and name[at] != "_" != name[at + 4]
        if separates:
            return name[: at + 1]
    return name


def same_kind(local: BtfType, target: BtfType) -> bool:
    """Tell whether two kinds can stand for each other: equal, or both some enum."""
    return local.kind == target.kind or (isinstance(local, Enum) and isinstance(target, Enum))


def is_flexible(btf: Btf, step: Accessor, array: Array) -> bool:
    """Tell whether ``array``, reached by ``step``, is the flexible last member of its struct."""
    if array.nelems or not step.name:
        return False
    holder = btf.type(step.type_id)
    return isinstance(holder, Composite) and step.index == len(holder.members) - 1


def parse_spec(btf: Btf, relocation: CoreRelocation) -> Spec:
    """Read the access string of a relocation against the object's own types.

    :raises BtfError: it makes no sense there.
    """
    spec = Spec(btf, relocation.type_id, relocation.kind)
    words = relocation.access.split(":")
    if len(words) > MAX_DEPTH or not all(word.isascii() and word.isdigit() for word in words):
        raise BtfError(f"access string '{relocation.access}'")
    spec.raw = [int(word) for word in words]
    root = btf.type(relocation.type_id)
    if relocation.kind in TYPE_KINDS:
        if relocation.access != "0":
            raise BtfError(f"access string '{relocation.access}' of a type")
        return spec
    root = btf.resolve(relocation.type_id)
    if relocation.kind not in FIELD_KINDS:
        if not isinstance(root, Enum) or len(spec.raw) != 1 or spec.raw[0] >= len(root.values):
            raise BtfError(f"access string '{relocation.access}' of an enum")
        spec.accessors.append(Accessor(root.id, spec.raw[0], root.values[spec.raw[0]][0]))
        return spec
    if not isinstance(root, Composite) and len(spec.raw) > 1 and not isinstance(root, Array):
        raise BtfError(f"access string '{relocation.access}' of a {root.kind.name}")
    spec.accessors.append(Accessor(root.id, spec.raw[0]))
    spec.bit_offset = spec.raw[0] * btf.size_of(root.id) * 8
    current: BtfType = root
    for index in spec.raw[1:]:
        current = _step(spec, current, index)
    return spec


def _step(spec: Spec, current: BtfType, index: int) -> BtfType:
    btf = spec.btf
    if isinstance(current, Composite):
        if index >= len(current.members):
            raise BtfError(f"'{current.name}' has no member {index}")
        member = current.members[index]
        spec.bit_offset += member.bit_offset
        if member.name:
            spec.accessors.append(Accessor(current.id, index, member.name))
        return btf.resolve(member.type)
    if isinstance(current, Array):
        flexible = is_flexible(btf, spec.accessors[-1], current)
        element = btf.resolve(current.type)
        if not flexible and index >= current.nelems:
            raise BtfError(f"an array of {current.nelems} has no element {index}")
        spec.accessors.append(Accessor(element.id, index))
        spec.bit_offset += index * btf.size_of(element.id) * 8
        return element
    raise BtfError(f"a {current.kind.name} has no parts")
