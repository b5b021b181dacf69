"""Finding in the kernel's types what a relocation of an object is about."""

from __future__ import annotations

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    Array,
    BtfType,
    Composite,
    Enum,
    Float,
    FuncProto,
    Fwd,
    Int,
    Kind,
    Ref,
)
from bpfctl.libbpf.core.spec import (
    FIELD_KINDS,
    MAX_DEPTH,
    TYPE_KINDS,
    Accessor,
    RelocationKind,
    Spec,
    essential,
    is_flexible,
    same_kind,
)

_MAX_TYPE_DEPTH = 32


class Candidates:
    """The types of one target BTF by their essential name."""

    def __init__(self, target: Btf) -> None:
        self.target = target
        self._by_name: dict[str, list[BtfType]] = {}
        for known in target:
            if known.name:
                self._by_name.setdefault(essential(known.name), []).append(known)

    def of(self, local: BtfType) -> list[BtfType]:
        """Return the types of the kernel that ``local`` may stand for."""
        named = self._by_name.get(essential(local.name), ())
        return [known for known in named if same_kind(local, known)]


def match(local: Spec, target: Btf, candidate: BtfType) -> Spec | None:
    """Return the relocation as it is in ``candidate`` of the kernel's types, None if it is not."""
    found = Spec(target, candidate.id, local.kind)
    if local.kind in TYPE_KINDS:
        compare = _Types(local.btf, target)
        if local.kind == RelocationKind.TYPE_MATCHES:
            same = compare.match(local.root, candidate.id, False, _MAX_TYPE_DEPTH)
        else:
            same = compare.compatible(local.root, candidate.id, _MAX_TYPE_DEPTH)
        return found if same else None
    if local.kind not in FIELD_KINDS:
        return _match_enum_value(local, found)
    return _match_field(local, found)


def _match_enum_value(local: Spec, found: Spec) -> Spec | None:
    enum = found.btf.resolve(found.root)
    if not isinstance(enum, Enum):
        return None
    wanted = essential(local.accessors[0].name)
    for index, (name, _) in enumerate(enum.values):
        if essential(name) == wanted:
            found.raw = [index]
            found.accessors = [Accessor(enum.id, index, name)]
            return found
    return None


def _match_field(local: Spec, found: Spec) -> Spec | None:
    btf = found.btf
    type_id = found.root
    for place, step in enumerate(local.accessors):
        current = btf.resolve(type_id)
        if step.name:
            wanted = _member_type(local.btf, step)
            inside = _find_member(local.btf, step.name, wanted, found, current, 0)
            if inside is None:
                return None
            type_id = inside
            continue
        if place:
            if not isinstance(current, Array):
                return None
            flexible = is_flexible(btf, found.accessors[-1], current)
            if not flexible and step.index >= current.nelems:
                return None
            current = btf.resolve(current.type)
        type_id = current.id
        found.accessors.append(Accessor(type_id, step.index))
        found.raw.append(step.index)
        found.bit_offset += step.index * btf.size_of(type_id) * 8
    return found


def _member_type(btf: Btf, step: Accessor) -> int:
    holder = btf.type(step.type_id)
    assert isinstance(holder, Composite)
    return holder.members[step.index].type


def _find_member(
    local: Btf, name: str, wanted: int, found: Spec, holder: BtfType, depth: int
) -> int | None:
    """Find a member by name, also within unnamed ones; record the way and return its type id."""
    if not isinstance(holder, Composite) or depth > MAX_DEPTH:
        return None
    for index, member in enumerate(holder.members):
        found.bit_offset += member.bit_offset
        found.raw.append(index)
        if not member.name:
            inside = found.btf.resolve(member.type)
            type_id = _find_member(local, name, wanted, found, inside, depth + 1)
            if type_id is not None:
                return type_id
        elif member.name == name:
            found.accessors.append(Accessor(holder.id, index, name))
            if _fields_compatible(local, wanted, found.btf, member.type):
                return member.type
            return None
        found.raw.pop()
        found.bit_offset -= member.bit_offset
    return None


def _fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """Tell whether a field's type may differ like this (bpf_core_fields_are_compat)."""
    one, other = local.resolve(local_id), target.resolve(target_id)
    for _ in range(MAX_DEPTH):
        if isinstance(one, Composite) and isinstance(other, Composite):
            return True
        if not same_kind(one, other):
            return False
        if one.kind == Kind.PTR or isinstance(one, Float):
            return True
        if isinstance(one, Fwd | Enum):
            names = essential(one.name), essential(other.name)
            return not all(names) or names[0] == names[1]
        if isinstance(one, Int) and isinstance(other, Int):
            return not one.offset and not other.offset
        if not (isinstance(one, Array) and isinstance(other, Array)):
            return False
        one, other = local.resolve(one.type), target.resolve(other.type)
    return False


class _Types:
    """Comparison of whole types of two BTFs."""

    def __init__(self, local: Btf, target: Btf) -> None:
        self.local = local
        self.target = target

    def compatible(self, local_id: int, target_id: int, depth: int) -> bool:
        """bpf_core_types_are_compat(): kinds agree, all the way through pointers and prototypes."""
        one, other = self.local.resolve(local_id), self.target.resolve(target_id)
        if depth < 0 or not same_kind(one, other):
            return False
        if isinstance(one, Int) and isinstance(other, Int):
            return not one.offset and not other.offset
        if isinstance(one, Ref | Array) and isinstance(other, Ref | Array):
            return self.compatible(one.type, other.type, depth - 1)
        if isinstance(one, FuncProto) and isinstance(other, FuncProto):
            return self._protos(one, other, lambda a, b: self.compatible(a, b, depth - 1))
        return one.kind in _BY_NAME

    @staticmethod
    def _protos(one: FuncProto, other: FuncProto, same: object) -> bool:
        assert callable(same)
        pairs = zip(one.params, other.params, strict=False)
        return len(one.params) == len(other.params) and all(
            same(a[1], b[1]) for a, b in [*pairs, (("", one.ret), ("", other.ret))]
        )

    def match(self, local_id: int, target_id: int, behind: bool, depth: int) -> bool:
        """bpf_core_types_match(): the kernel's type has all that the object's has."""
        one, other = self.local.resolve(local_id), self.target.resolve(target_id)
        if depth < 0 or essential(one.name) != essential(other.name):
            return False
        if isinstance(one, Fwd):
            union = one.is_union
            if isinstance(other, Fwd):
                return union == other.is_union
            return other.kind == (Kind.UNION if union else Kind.STRUCT)
        if isinstance(one, Enum):
            return isinstance(other, Enum) and self._enums(one, other)
        if isinstance(one, Composite):
            return self._composites(one, other, behind, depth)
        if isinstance(one, Int):
            same = isinstance(other, Int) and (one.size, one.encoding & 1) == (
                other.size,
                other.encoding & 1,
            )
            return same
        if one.kind != other.kind:
            return False
        if isinstance(one, Ref) and isinstance(other, Ref):
            return self.match(one.type, other.type, True, depth - 1)
        if isinstance(one, Array) and isinstance(other, Array):
            return one.nelems == other.nelems and self.match(
                one.type, other.type, behind, depth - 1
            )
        if isinstance(one, FuncProto) and isinstance(other, FuncProto):
            return self._protos(one, other, lambda a, b: self.match(a, b, behind, depth - 1))
        return one.kind == Kind.VOID

    @staticmethod
    def _enums(one: Enum, other: Enum) -> bool:
        known = {essential(name) for name, _ in other.values}
        return all(essential(name) in known for name, _ in one.values)

    def _composites(self, one: Composite, other: BtfType, behind: bool, depth: int) -> bool:
        if behind:
            if isinstance(other, Fwd):
                return other.is_union == (one.kind == Kind.UNION)
            return one.kind == other.kind
        if one.kind != other.kind or not isinstance(other, Composite):
            return False
        return all(
            any(
                essential(mine.name) == essential(theirs.name)
                and self.match(mine.type, theirs.type, behind, depth - 1)
                for theirs in other.members
            )
            for mine in one.members
        )


_BY_NAME = frozenset(
    (Kind.VOID, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.FWD, Kind.ENUM64)
)
