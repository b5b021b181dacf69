"""BTF objects, and the checks of a map's key and value types (map_check_btf)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.mm.gfp import GFP_KERNEL
from bpfctl.kernel.records import BtfRecord, Task
from bpfctl.kernel.task import bpf_capable
from bpfctl.uapi import BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BtfLoadAttr, MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf
    from bpfctl.btf.types import BtfType
    from bpfctl.kernel.bpf.btf_fields import Fields
    from bpfctl.kernel.kernel import Kernel


def btf_load(kernel: Kernel, task: Task, attr: BtfLoadAttr) -> int:
    """BPF_BTF_LOAD: keep a blob and return its descriptor. Nobody is charged for it.

    :raises KernelError: EPERM without CAP_BPF; EINVAL, E2BIG or 524 for a bad blob.
    """
    from bpfctl.kernel.bpf.btf_check import parse_for_kernel

    if not bpf_capable(task):
        raise KernelError(E.PERM, "CAP_BPF")
    parse_for_kernel(attr.btf, kernel.profile.checks.btf_last_kind)
    rec = BtfRecord(kernel.btfs.ids.take(), attr.btf, 1)
    kernel.btfs.records.add(rec)
    try:
        return kernel.files.open(task, "btf", rec.id, 3)
    except BaseException:
        kernel.btfs.put(rec.id)
        raise


class SizedType:
    """A type as :meth:`MapType.check_btf` gets it: modifiers and typedefs looked through."""

    def __init__(self, btf: Btf, record: BtfType) -> None:
        self.btf = btf
        self.record = record

    @property
    def kind_name(self) -> str:
        """INT, STRUCT, DATASEC ..."""
        return self.record.kind.name

    def is_plain_int(self, bits: int) -> bool:
        """Tell whether this is an int of exactly ``bits`` bits, all of them used."""
        from bpfctl.btf.types import Int

        record = self.record
        return isinstance(record, Int) and record.bits == bits and not record.offset

    def members(self) -> list[tuple[int, SizedType]]:
        """Return (bit offset, type) of a struct's members; none for other kinds."""
        return [
            (member.bit_offset, SizedType(self.btf, self.btf.resolve(member.type)))
            for member in getattr(self.record, "members", ())
        ]


@lru_cache(maxsize=32)
def _parsed(blob: bytes) -> Btf:
    from bpfctl.btf.parse import parse_btf

    return parse_btf(blob)


def btf_of_fd(kernel: Kernel, task: Task, fd: int) -> int:
    """Return the id of the BTF object behind ``fd`` (btf_get_by_fd).

    :raises KernelError: EBADF; EINVAL for another kind of object.
    """
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "btf":
        raise KernelError(E.INVAL, f"fd {fd} is not BTF")
    return file.obj_id


def attach_to_map(kernel: Kernel, task: Task, new: MapType, attr: MapCreateAttr) -> None:
    """Check and remember the BTF types of a new map (map_create's btf part)."""
    vmlinux_type = attr.btf_vmlinux_value_type_id
    if not (attr.btf_key_type_id or attr.btf_value_type_id or vmlinux_type):
        return
    btf_id = btf_of_fd(kernel, task, attr.btf_fd)
    if attr.btf_value_type_id:
        _check_types(kernel, task, new, attr, _parsed(kernel.btfs.get(btf_id).blob))
    kernel.btfs.inc(btf_id)
    rec = new.rec
    rec.btf_id = btf_id
    rec.btf_key_type_id = attr.btf_key_type_id
    rec.btf_value_type_id = attr.btf_value_type_id
    rec.btf_vmlinux_value_type_id = vmlinux_type


def _check_types(kernel: Kernel, task: Task, new: MapType, attr: MapCreateAttr, btf: Btf) -> None:
    key_type = None
    if attr.btf_key_type_id:
        key_type = _sized_type(btf, attr.btf_key_type_id, new.rec.key_size)
    elif new.btf_allowed and type(new).check_btf is MapType.check_btf:
        raise KernelError(E.INVAL, f"{new.name} needs a key type")
    value_type = _sized_type(btf, attr.btf_value_type_id, new.rec.value_size)
    _check_fields(kernel, task, new, btf, value_type)
    if not new.btf_allowed:
        raise KernelError(E.NOTSUPP, f"{new.name} takes no BTF")
    new.check_btf(
        None if key_type is None else SizedType(btf, key_type), SizedType(btf, value_type)
    )


def _sized_type(btf: Btf, type_id: int, size: int) -> BtfType:
    """Return the type that decides the size, modifiers and typedefs looked through.

    :raises KernelError: EINVAL for a type that does not exist or is not of ``size`` bytes.
    """
    from bpfctl.btf.types import BtfError

    try:
        if btf.size_of(type_id) == size:
            return btf.resolve(type_id)
    except BtfError as exc:
        raise KernelError(E.INVAL, exc.text) from exc
    raise KernelError(E.INVAL, f"type {type_id} is not of {size} bytes")


def _check_fields(kernel: Kernel, task: Task, new: MapType, btf: Btf, value_type: BtfType) -> None:
    from bpfctl.kernel.bpf.btf_fields import find_fields

    fields = find_fields(btf, value_type, kernel.profile.checks.special_fields)
    if not fields:
        return
    if kernel.profile.accounts("btf_record"):
        nr = sum(len(places) for places in fields.values())
        size = new.sizeof("btf_record") + nr * new.sizeof("btf_field")
        new.mem.kmalloc("btf_record", size, GFP_KERNEL | new.account("btf_record"))
    _check_field_access(kernel, task, new, fields)
    for kind in fields:
        if not _field_allowed(kernel, new, kind):
            lock = kind == "spin_lock"
            err = kernel.profile.checks.special_field_errno if lock else E.OPNOTSUPP
            raise KernelError(err, f"{kind} in a value of {new.name}")
    new.rec.fields = {kind: list(places) for kind, places in fields.items()}


def _check_field_access(kernel: Kernel, task: Task, new: MapType, fields: Fields) -> None:
    # Before 6.2 each kind of field had its own test; locks and timers minded RDONLY_PROG only.
    early = kernel.profile.checks.special_field_errno == E.NOTSUPP
    strict = not early or "kptr" in fields
    if strict and not bpf_capable(task):
        raise KernelError(E.PERM, "special fields")
    mask = BPF_F_RDONLY_PROG | (BPF_F_WRONLY_PROG if strict else 0)
    if new.rec.map_flags & mask:
        raise KernelError(E.ACCES, "special fields")


def _field_allowed(kernel: Kernel, new: MapType, kind: str) -> bool:
    if kind == "refcount":
        return True  # it says something about nodes, not about the map
    return ("timer" if kind == "wq" else kind) in new.fields_allowed(kernel.profile)
