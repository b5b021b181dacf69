"""Fields of a map value that the kernel keeps for itself: locks, timers, pointers, lists.

They are found by the names of their types (btf_parse_fields of kernel/bpf/btf.c).
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import PTR_BYTES, BtfType, Composite, Datasec, DeclTag, Kind, Ref

Fields = dict[str, list[list[int]]]
"""Field name -> [offset, size] of each, in bytes."""

_STRUCTS = {
    "bpf_spin_lock": ("spin_lock", 4),
    "bpf_timer": ("timer", 16),
    "bpf_wq": ("wq", 16),
    "bpf_list_head": ("list", 16),
    "bpf_rb_root": ("rbtree", 16),
    "bpf_refcount": ("refcount", 4),
}
_KPTR_TAGS = frozenset(("kptr", "kptr_untrusted", "kptr_ref", "percpu_kptr"))
_ONLY_ONE = ("spin_lock", "timer", "wq", "refcount")
_OWN_NODES = ("list", "rbtree")


def find_fields(btf: Btf, value_type: BtfType, known: frozenset[str]) -> Fields:
    """Return the special fields of a value, of those kinds that the kernel knows.

    A value whose fields contradict each other (two locks, a list without a lock, a misplaced
    field, a kernel pointer to no struct) counts as one without fields, as for map_check_btf().
    """
    fields: Fields = {}
    for index, type_id, offset in _parts(value_type):
        kind, size = _special(btf, type_id)
        if kind not in known:
            continue
        if kind == "kptr" and not _points_to_struct(btf, type_id):
            return {}
        if kind in _OWN_NODES and not _contains_tag(btf, value_type, index):
            return {}
        if offset % min(size, PTR_BYTES):
            return {}
        fields.setdefault(kind, []).append([offset, size])
    if any(len(fields.get(kind, ())) > 1 for kind in _ONLY_ONE):
        return {}
    if any(kind in fields for kind in _OWN_NODES) and "spin_lock" not in fields:
        return {}
    return fields


def _parts(value_type: BtfType) -> Iterator[tuple[int, int, int]]:
    """Yield (member number, type id, byte offset) of what a value is made of."""
    if isinstance(value_type, Composite) and value_type.kind == Kind.STRUCT:
        for index, member in enumerate(value_type.members):
            if not member.bitfield_size and member.bit_offset % 8 == 0:
                yield index, member.type, member.bit_offset // 8
    elif isinstance(value_type, Datasec):
        for index, var in enumerate(value_type.vars):
            yield index, var.type, var.offset


def _special(btf: Btf, type_id: int) -> tuple[str, int]:
    found = btf.resolve(type_id)
    if found.kind == Kind.VAR:
        found = btf.resolve(found.type)  # type: ignore[attr-defined]
    if isinstance(found, Composite):
        kind, size = _STRUCTS.get(found.name, ("", 0))
        return (kind, size) if size == found.size else ("", 0)
    if found.kind == Kind.PTR and isinstance(found, Ref):
        target = btf.type(found.type)
        if target.kind == Kind.TYPE_TAG and target.name in _KPTR_TAGS:
            return "kptr", PTR_BYTES
    return "", 0


def _points_to_struct(btf: Btf, type_id: int) -> bool:
    """Only a pointer to a whole struct can be one of the kernel (btf_find_kptr)."""
    found = btf.resolve(type_id)
    if found.kind == Kind.VAR:
        found = btf.resolve(found.type)  # type: ignore[attr-defined]
    assert isinstance(found, Ref)
    target = btf.type(found.type)
    while target.kind == Kind.TYPE_TAG and isinstance(target, Ref):
        target = btf.resolve(target.type)
    return target.kind == Kind.STRUCT


def _contains_tag(btf: Btf, value_type: BtfType, member: int) -> bool:
    return any(
        isinstance(tag, DeclTag)
        and tag.type == value_type.id
        and tag.component == member
        and tag.name.startswith("contains:")
        for tag in btf
    )
