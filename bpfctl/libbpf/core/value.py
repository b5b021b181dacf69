"""What an instruction gets for a relocation, in the object's types and in the kernel's."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import INT_SIGNED, Array, BtfType, Composite, Enum, Int, Kind
from bpfctl.libbpf.core.spec import FIELD_KINDS, TYPE_KINDS, Spec
from bpfctl.libbpf.core.spec import RelocationKind as K

_U64 = (1 << 64) - 1


class CoreError(Exception):
    """A relocation that cannot be done; ``errno`` is libbpf's."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno


@dataclass(slots=True)
class FieldValue:
    """The value, and the size and type of what a load or store there moves (0: not known)."""

    value: int
    size: int = 0
    type: BtfType | None = None
    validate: bool = True


@dataclass(slots=True)
class Result:
    """``old`` is what the compiler wrote, ``new`` what the kernel needs; ``poison``: not there."""

    old: int = 0
    new: int = 0
    old_size: int = 0
    new_size: int = 0
    poison: bool = False
    validate: bool = True
    bad_size: bool = False


def calculate(kind: K, local: Spec, target: Spec | None) -> Result:
    """Return what a relocation does; ``target`` None: the kernel does not have it.

    :raises CoreError: it cannot be expressed.
    """
    if kind == K.TYPE_ID_LOCAL:
        return Result(local.root, local.root, validate=False)
    if kind in TYPE_KINDS:
        return Result(_type_value(local), _type_value(target) if target else 0)
    if kind not in FIELD_KINDS:
        if kind == K.ENUMVAL_EXISTS:
            return Result(1, int(target is not None))
        if target is None:
            return Result(poison=True)
        return Result(_enum_value(local), _enum_value(target))
    if kind == K.FIELD_EXISTS:
        return Result(1, int(target is not None))
    if target is None:
        return Result(poison=True)
    old, new = _field_value(local), _field_value(target)
    bad_size = old.size != new.size and not _resizable(old.type, new.type)
    return Result(old.value, new.value, old.size, new.size, False, old.validate, bad_size)


def _resizable(old: BtfType | None, new: BtfType | None) -> bool:
    """Tell whether a load may become wider or narrower: pointers and unsigned numbers."""
    if old is None or new is None:
        return True
    if old.kind == Kind.PTR and new.kind == Kind.PTR:
        return True
    return (
        isinstance(old, Int)
        and isinstance(new, Int)
        and not (old.encoding | new.encoding) & INT_SIGNED
    )


def _type_value(spec: Spec) -> int:
    if spec.kind == K.TYPE_SIZE:
        return spec.btf.size_of(spec.root)
    return spec.root if spec.kind == K.TYPE_ID_TARGET else 1


def _enum_value(spec: Spec) -> int:
    enum = spec.btf.resolve(spec.root)
    assert isinstance(enum, Enum)
    value = enum.values[spec.raw[0]][1]
    return value & _U64


def _element(btf: Btf, found: BtfType) -> BtfType:
    while isinstance(found, Array):
        found = btf.resolve(found.type)
    return found


def _field_value(spec: Spec) -> FieldValue:
    btf, step = spec.btf, spec.accessors[-1]
    if not step.name:
        if spec.kind == K.FIELD_BYTE_OFFSET:
            element = _element(btf, btf.resolve(step.type_id))
            moved = btf.size_of(element.id)
            return FieldValue(spec.bit_offset // 8, moved, btf.resolve(step.type_id))
        if spec.kind == K.FIELD_BYTE_SIZE:
            return FieldValue(btf.size_of(step.type_id))
        raise CoreError(22, f"relo {spec.kind.name.lower()} of an array element")
    holder = btf.type(step.type_id)
    assert isinstance(holder, Composite)
    member = holder.members[step.index]
    found = btf.resolve(member.type)
    bits, start = member.bitfield_size, spec.bit_offset
    if bits:
        nbytes, at = _bitfield(start, bits, btf.size_of(found.id))
    else:
        nbytes, at = btf.size_of(found.id), start // 8
        bits = 8 * nbytes
    bitfield = bool(member.bitfield_size)
    if spec.kind == K.FIELD_BYTE_OFFSET:
        if bitfield:
            return FieldValue(at, validate=False)
        element = _element(btf, found)
        return FieldValue(at, btf.size_of(element.id), element)
    if spec.kind == K.FIELD_BYTE_SIZE:
        return FieldValue(nbytes, validate=not bitfield)
    if spec.kind == K.FIELD_SIGNED:
        signed = isinstance(found, Enum) and found.signed
        signed = signed or (isinstance(found, Int) and bool(found.encoding & INT_SIGNED))
        return FieldValue(int(signed))
    if spec.kind == K.FIELD_LSHIFT_U64:
        return FieldValue(64 - (start + bits - 8 * at), validate=not bitfield)
    return FieldValue(64 - bits)


def _bitfield(start: int, bits: int, nbytes: int) -> tuple[int, int]:
    """Return size and offset, in bytes, of the smallest aligned load that has a bit field."""
    at = start // 8 // nbytes * nbytes
    while start + bits - 8 * at > 8 * nbytes:
        if nbytes >= 8:
            raise CoreError(7, f"a bit field of {bits} bits at {start} cannot be loaded at once")
        nbytes *= 2
        at = start // 8 // nbytes * nbytes
    return nbytes, at
