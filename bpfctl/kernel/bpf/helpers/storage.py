"""Storage that belongs to sockets, inodes, tasks and cgroups (kernel/bpf/bpf_*_storage.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.helpers.decl import Arg, ArgSpec, Flag, Ret, body, btf, declare


def _storage(number: int, name: str, owner: ArgSpec, variant: str = "") -> None:
    """Declare ``NAME_storage_get`` as ``number`` and ``_delete`` as the next one."""
    declare(
        number, f"{name}_storage_get", Ret.MAP_VALUE_OR_NULL,
        (Arg.CONST_MAP_PTR, owner, Arg.PTR_TO_MAP_VALUE_OR_NULL, Arg.ANYTHING), variant,
    )  # fmt: skip
    declare(number + 1, f"{name}_storage_delete", Ret.INTEGER, (Arg.CONST_MAP_PTR, owner), variant)


declare(81, "get_local_storage", Ret.MAP_VALUE, (Arg.CONST_MAP_PTR, Arg.ANYTHING))
_storage(107, "sk", ArgSpec(Arg.PTR_TO_BTF_ID_SOCK_COMMON))
_storage(107, "sk", btf("sock", Flag.MAYBE_NULL), "tracing")
_storage(145, "inode", btf("inode", Flag.MAYBE_NULL))
_storage(156, "task", btf("task_struct", Flag.MAYBE_NULL))
_storage(210, "cgrp", btf("cgroup", Flag.MAYBE_NULL))


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime


GET_F_CREATE = 1


def _get(rt: Runtime, map_: MapHandle, owner: int | None, value: int, flags: int) -> int:
    """Return the address of an owner's value, made now with flag 1; 0 for none."""
    if owner is None or flags & ~GET_F_CREATE:
        return 0
    found = map_.map.prog_owner(owner)  # type: ignore[attr-defined]
    if map_.map.cells.get(found) is None:
        if not flags & GET_F_CREATE:
            return 0
        size = map_.rec.value_size
        content = rt.mem.read(value, size) if value else bytes(size)
        try:
            map_.map.prog_create(owner, content)  # type: ignore[attr-defined]
        except KernelError:
            return 0
    return map_.address_of(found)


def _delete(rt: Runtime, map_: MapHandle, owner: int | None) -> int:
    if owner is None:
        return -E.INVAL
    map_.map.prog_remove(owner)  # type: ignore[attr-defined]
    return 0


def _task(rt: Runtime, addr: int) -> int | None:
    """Return the object that a task's storage hangs on."""
    pid = rt.vm.mirrors.at(addr, "task")
    return None if pid is None else rt.kernel.objects.of_task(pid).id


@body(156)
def task_storage_get(rt: Runtime, map_: MapHandle, task: int, value: int, flags: int) -> int:
    """Return the address of a task's value, 0 for none."""
    return _get(rt, map_, _task(rt, task), value, flags)


@body(157)
def task_storage_delete(rt: Runtime, map_: MapHandle, task: int) -> int:
    """Remove a task's value: ENOENT, EINVAL."""
    return _delete(rt, map_, _task(rt, task))


@body(107)
def sk_storage_get(rt: Runtime, map_: MapHandle, sock: int, value: int, flags: int) -> int:
    """Return the address of a socket's value, 0 for none."""
    return _get(rt, map_, rt.vm.mirrors.at(sock, "socket"), value, flags)


@body(108)
def sk_storage_delete(rt: Runtime, map_: MapHandle, sock: int) -> int:
    """Remove a socket's value: ENOENT, EINVAL."""
    return _delete(rt, map_, rt.vm.mirrors.at(sock, "socket"))


@body(81)
def get_local_storage(rt: Runtime, map_: MapHandle, flags: int) -> int:
    """Return the address of the attachment's value; a test run has one of its own, of zeros."""
    storages = rt.state.setdefault("cgroup_storage", {})
    if map_.id not in storages:
        region = rt.mem.alloc(map_.rec.value_size, "map", owner=map_.id)
        rt.vm.retire(region)
        storages[map_.id] = region.start
    return int(storages[map_.id])
