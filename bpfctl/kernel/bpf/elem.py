"""BPF_MAP_*_ELEM, BPF_MAP_GET_NEXT_KEY and BPF_MAP_FREEZE: checks in the kernel's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType, round_up
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import Task
from bpfctl.kernel.task import bpf_capable
from bpfctl.uapi import (
    BPF_F_ALL_CPUS,
    BPF_F_CPU,
    BPF_F_LOCK,
    CPU_SHIFT,
    U32_MAX,
    ElemAttr,
    FdAttr,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

ONE_VALUE = BPF_F_CPU | BPF_F_ALL_CPUS
"""Update flags with which the caller gives one value, not one for each CPU."""


def open_map(kernel: Kernel, task: Task, fd: int, need: int) -> MapType:
    """Return the map behind ``fd``, usable for ``need`` (FMODE bits).

    :raises KernelError: EBADF; EINVAL (not a map); EPERM (descriptor mode, frozen).
    """
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "map":
        raise KernelError(E.INVAL, f"fd {fd} is not a map")
    found = kernel.maps.get(file.obj_id)
    mode = file.fmode & ~FMODE_WRITE if found.rec.frozen else file.fmode
    if need & ~mode:
        raise KernelError(E.PERM, "descriptor mode, or frozen")
    return found


def _check_flags(found: MapType, flags: int) -> None:
    """Refuse flags that the map has no use for (bpf_map_check_op_flags).

    :raises KernelError: EINVAL; ERANGE for a CPU that is not possible.
    """
    if flags & BPF_F_LOCK and "spin_lock" not in found.rec.fields:
        raise KernelError(E.INVAL, "no bpf_spin_lock in the value")
    if not found.kernel.profile.checks.cpu_flags:
        return
    if not flags & BPF_F_CPU and flags >> CPU_SHIFT:
        raise KernelError(E.INVAL, "a CPU without BPF_F_CPU")
    if not flags & ONE_VALUE:
        return
    if not found.cpu_flags or flags & ONE_VALUE == ONE_VALUE:
        raise KernelError(E.INVAL, "BPF_F_CPU, BPF_F_ALL_CPUS")
    if flags & BPF_F_CPU and flags >> CPU_SHIFT >= found.cpus:
        raise KernelError(E.RANGE, f"CPU {flags >> CPU_SHIFT}")


def key_of(found: MapType, key: bytes | None) -> bytes:
    """Copy the key in.

    :raises KernelError: EINVAL (a key for a keyless map); EFAULT (no or too short a buffer).
    """
    size = found.rec.key_size
    if not size:
        if key is not None:
            raise KernelError(E.INVAL, "keyless map")
        return b""
    if key is None or len(key) < size:
        raise KernelError(E.FAULT, "key buffer")
    return key[:size]


def value_buffer_size(found: MapType) -> int:
    """Bytes of the caller's value buffer (bpf_map_value_size)."""
    if found.percpu:
        return -(-found.rec.value_size // 8) * 8 * found.cpus
    return 4 if found.fd_values else found.rec.value_size


def map_lookup_elem(kernel: Kernel, task: Task, attr: ElemAttr) -> bytes:
    """Return the value of a key, with BPF_F_CPU that of one CPU."""
    known = BPF_F_LOCK
    if kernel.profile.checks.cpu_flags:
        known |= BPF_F_CPU | U32_MAX << CPU_SHIFT
    if attr.flags & ~known:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    found = open_map(kernel, task, attr.map_fd, FMODE_READ)
    _check_flags(found, attr.flags)
    value = found.lookup(key_of(found, attr.key), attr.value)
    if not attr.flags & BPF_F_CPU:
        return value
    start = round_up(found.rec.value_size, 8) * (attr.flags >> CPU_SHIFT)
    return value[start : start + found.rec.value_size]


def map_lookup_each(
    kernel: Kernel, task: Task, fd: int, keys: Sequence[bytes], from_prog: bool
) -> list[bytes | None]:
    """Do as many lookups as there are ``keys``, by system calls or by a program that ``task`` runs.

    What is missing is None. A program is not held to the mode of the descriptor.
    """
    found = open_map(kernel, task, fd, 0 if from_prog else FMODE_READ)
    if set(map(len, keys)) != {found.rec.key_size}:
        keys = [key_of(found, key) for key in keys]
    return found.lookup_each(keys, from_prog)


def user_value(found: MapType, value: bytes) -> bytes:
    """Return ``value`` as it is stored: what the kernel keeps for itself does not come from user
    space, and is zero as long as no program used it (copy_map_value)."""
    fields = found.rec.fields
    if not fields:
        return value
    stored = bytearray(value)
    stride = -(-found.rec.value_size // 8) * 8 if found.percpu else len(value)
    for slot in range(0, len(value), stride):
        for places in fields.values():
            for offset, size in places:
                stored[slot + offset : slot + offset + size] = bytes(size)
    return bytes(stored)


def map_update_elem(kernel: Kernel, task: Task, attr: ElemAttr) -> None:
    """Store a value."""
    found = open_map(kernel, task, attr.map_fd, FMODE_WRITE)
    _check_flags(found, attr.flags)
    key = key_of(found, attr.key)
    one_value = found.cpu_flags and attr.flags & ONE_VALUE
    size = found.rec.value_size if one_value else value_buffer_size(found)
    if attr.value is None or len(attr.value) < size:
        raise KernelError(E.FAULT, "value buffer")
    found.update(key, user_value(found, attr.value[:size]), attr.flags)


def map_delete_elem(kernel: Kernel, task: Task, attr: ElemAttr) -> None:
    """Remove a key."""
    found = open_map(kernel, task, attr.map_fd, FMODE_WRITE)
    found.delete(key_of(found, attr.key))


def map_get_next_key(kernel: Kernel, task: Task, attr: ElemAttr) -> bytes:
    """Return the key behind a key."""
    found = open_map(kernel, task, attr.map_fd, FMODE_READ)
    return found.next_key(None if attr.key is None else key_of(found, attr.key))


def map_lookup_and_delete_elem(kernel: Kernel, task: Task, attr: ElemAttr) -> bytes:
    """Return a value and remove its key."""
    checks = kernel.profile.checks
    if attr.flags & ~(BPF_F_LOCK if checks.lookup_and_delete_flags else 0):
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    found = open_map(kernel, task, attr.map_fd, FMODE_READ | FMODE_WRITE)
    if attr.flags & ~found.lookup_and_delete_flags:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    _check_flags(found, attr.flags)
    key = key_of(found, attr.key)
    if not found.lookup_and_delete_offered(kernel.profile):
        raise KernelError(E.NOTSUPP)
    return found.lookup_and_delete(key, attr.flags)


def map_freeze(kernel: Kernel, task: Task, attr: FdAttr) -> None:
    """Forbid writes by system calls for good."""
    file = kernel.files.get(task.pid, attr.fd)
    if file.obj_kind != "map":
        raise KernelError(E.INVAL, f"fd {attr.fd} is not a map")
    found = kernel.maps.get(file.obj_id)
    rec = found.rec
    fields = set(rec.fields)
    busy_order = kernel.profile.checks.freeze == "busy"
    if not found.can_freeze or fields - ({"spin_lock"} if busy_order else set()):
        raise KernelError(E.NOTSUPP)
    if busy_order:
        if rec.mappings or rec.frozen:
            raise KernelError(E.BUSY)
        if not bpf_capable(task):
            raise KernelError(E.PERM)
    elif rec.frozen or not file.fmode & FMODE_WRITE:
        raise KernelError(E.PERM)
    elif rec.mappings:
        raise KernelError(E.BUSY)
    rec.frozen = 1
