"""BPF_MAP_CREATE: checks in the kernel's order, charge, allocation, id, descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl import plugins
from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf import btf, offload
from bpfctl.kernel.bpf.map import NUMA_NO_NODE, MapType
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.mm.rlimit import cost_pages
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.kernel.task import perfmon_capable
from bpfctl.light import altered
from bpfctl.uapi import (
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_TOKEN_FD,
    BPF_F_WRONLY,
    BPF_OBJ_NAME_LEN,
    CommonAttr,
    MapCreateAttr,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

_NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")
_EXCL_PROG_HASH_SIZE = 32


def refuse(attr: MapCreateAttr, words: str) -> None:
    """Refuse with EINVAL, and say ``words`` in the log if the caller gave one."""
    common = attr.common
    if common is not None and common.log_level:
        common.log = (words + "\n")[: max(common.log_size - 1, 0)]
    raise KernelError(E.INVAL, words)


def _check_common_attrs(kernel: Kernel, common: CommonAttr) -> None:
    if not kernel.profile.checks.common_attrs:
        raise KernelError(E.INVAL, "BPF_COMMON_ATTRS")
    used = bool(common.log_level), common.log_buf, bool(common.log_size)
    if any(used) != all(used):
        raise KernelError(E.INVAL, "log_buf, log_size, log_level")


def _type_class(kernel: Kernel, attr: MapCreateAttr) -> type[MapType]:
    try:
        return kernel.maps.type_class(attr.map_type)
    except KernelError:
        if attr.map_type:  # number 0 is a type, of which there can be no map
            refuse(attr, "Invalid map_type.")
        raise


def _common_check(kernel: Kernel, cls: type[MapType], attr: MapCreateAttr) -> None:
    """Test what needs no map (map_create() down to find_and_alloc_map()); all of it is EINVAL."""
    if attr.btf_vmlinux_value_type_id:
        if not cls.vmlinux_value or attr.btf_key_type_id or attr.btf_value_type_id:
            refuse(attr, "btf_vmlinux_value_type_id can only be used with struct_ops maps.")
    elif attr.btf_key_type_id and not attr.btf_value_type_id:
        raise KernelError(E.INVAL, "key type without value type")
    if attr.map_extra and not (kernel.profile.checks.map_extra and cls.map_extra):
        refuse(attr, "Invalid map_extra.")
    if attr.map_flags & BPF_F_RDONLY and attr.map_flags & BPF_F_WRONLY:
        raise KernelError(E.INVAL, "RDONLY and WRONLY")
    node = attr.numa_node if attr.map_flags & BPF_F_NUMA_NODE else NUMA_NO_NODE
    if node != NUMA_NO_NODE and node >= kernel.config.numa_nodes:
        refuse(attr, "Invalid numa_node.")


def _file_mode(flags: int) -> int:
    if flags & BPF_F_RDONLY:
        return FMODE_READ
    return FMODE_WRITE if flags & BPF_F_WRONLY else FMODE_READ | FMODE_WRITE


def _new_record(kernel: Kernel, task: Task, attr: MapCreateAttr) -> MapRecord:
    return MapRecord(
        id=kernel.maps.ids.peek(),
        type=attr.map_type,
        name=attr.map_name.split(b"\0")[0],
        key_size=attr.key_size,
        value_size=attr.value_size,
        max_entries=attr.max_entries,
        map_flags=attr.map_flags & ~(BPF_F_RDONLY | BPF_F_WRONLY),
        map_extra=attr.map_extra,
        uid=task.uid,
        objcg=0 if kernel.config.cgroup_memory == "nobpf" else kernel.current_objcg(),
    )


def _type_checks(kernel: Kernel, task: Task, new: MapType, attr: MapCreateAttr) -> None:
    checks = kernel.profile.checks
    if checks.capability == "common" and attr.map_flags & BPF_F_TOKEN_FD:
        # The type does not see the flag, and there are no tokens to be had.
        new.alloc_check(altered(attr, map_flags=attr.map_flags & ~BPF_F_TOKEN_FD), task)
        raise KernelError(E.INVAL, "map_token_fd is no token")
    new.alloc_check(attr, task)
    if checks.capability == "common":
        kernel.check_unprivileged(task)
        kernel.require(task, new.capability)
    elif not new.capability_in_alloc_check:
        kernel.require(task, new.capability)
    new.attr_check(attr, task)


def _precharge(kernel: Kernel, task: Task, new: MapType) -> None:
    """Charge the estimate to the user (bpf_map_charge_init), where the profile says so."""
    if not kernel.profile.precharges(new.family):
        return
    try:
        pages = cost_pages(new.memlock_cost(perfmon_capable(task)), kernel.config.page_size)
        kernel.memlock.charge(task, task.uid, pages)
    except KernelError as exc:
        if new.charge_errno:
            raise KernelError(new.charge_errno, exc.detail, exc.hint) from exc
        raise
    new.rec.memlock_pages = pages


def check_name(name: bytes) -> None:
    """Refuse names with odd characters, or of 16 bytes and more (bpf_obj_name_cpy)."""
    if len(name) >= BPF_OBJ_NAME_LEN or any(byte not in _NAME_BYTES for byte in name):
        raise KernelError(E.INVAL, f"name {name!r}")


def _check_name_of(attr: MapCreateAttr) -> None:
    try:
        check_name(attr.map_name.split(b"\0")[0])
    except KernelError:
        refuse(attr, "Invalid map_name.")


def _set_excl_prog_hash(new: MapType, attr: MapCreateAttr) -> None:
    """Bind the map to the one program that has this hash (map_get_hash, 7.3).

    :raises KernelError: EINVAL; EFAULT when fewer bytes can be read than the size says.
    """
    given, size = attr.excl_prog_hash, attr.excl_prog_hash_size
    if given is None and not size:
        return
    if not new.kernel.profile.checks.excl_prog_hash:
        raise KernelError(E.INVAL, "excl_prog_hash")
    if given is None or size != _EXCL_PROG_HASH_SIZE:
        refuse(attr, "Invalid excl_prog_hash_size.")
    assert given is not None
    if len(given) < size:
        raise KernelError(E.FAULT, "excl_prog_hash")
    new.rec.priv["excl_prog_hash"] = given[:size].hex()


def map_create(kernel: Kernel, task: Task, attr: MapCreateAttr) -> int:
    """Create a map and return its descriptor.

    Nothing is charged or allocated any more when this raises.
    """
    if kernel.profile.checks.unprivileged == "create":
        kernel.check_unprivileged(task)
    if attr.common is not None:
        _check_common_attrs(kernel, attr.common)
    cls = _type_class(kernel, attr)
    _common_check(kernel, cls, attr)
    if attr.map_ifindex:
        cls = offload.device_map(kernel, cls)
    new = cls(kernel, _new_record(kernel, task, attr))
    _type_checks(kernel, task, new, attr)
    new.creating = True
    try:
        _precharge(kernel, task, new)
        new.alloc()
        _check_name_of(attr)
        _set_excl_prog_hash(new, attr)
        btf.attach_to_map(kernel, task, new, attr)
    except BaseException:
        new.free()
        kernel.maps.discard(new)
        raise
    new.creating = False
    return _publish(kernel, task, new, _file_mode(attr.map_flags))


def _publish(kernel: Kernel, task: Task, new: MapType, fmode: int) -> int:
    rec = new.rec
    rec.id = kernel.maps.ids.take()
    if new.name not in plugins.BUILTIN:
        # Who has to be installed for this map to be used again.
        rec.priv["plugin"] = {"type": new.name, "package": plugins.package_of(new.name)}
    kernel.maps.add(new)
    kernel.maps.inc(rec.id, user=True)
    try:
        fd = kernel.files.open(task, "map", rec.id, fmode)
    except BaseException:
        kernel.maps.put(rec.id, user=True)
        raise
    kernel.notify(
        "map_created", map_id=rec.id, type_name=new.name, name=rec.name.decode("ascii", "replace")
    )
    return fd
