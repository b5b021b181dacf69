"""bpf(2): one function per command on objects, map creation and elements apart.

Mirrors kernel/bpf/syscall.c. Every function takes the kernel, the calling task and the
command's attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf import batch, btf, elem, map_create, prog
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import Task
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable
from bpfctl.uapi import (
    BPF_F_RDONLY,
    BPF_F_WRONLY,
    BtfInfo,
    Cmd,
    FdAttr,
    IdAttr,
    MapInfo,
    ObjAttr,
    ProgInfo,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


def file_mode(flags: int) -> int:
    """Return the mode of a descriptor opened with ``flags`` (bpf_get_file_flag).

    :raises KernelError: EINVAL for RDONLY and WRONLY together.
    """
    if flags & BPF_F_RDONLY and flags & BPF_F_WRONLY:
        raise KernelError(E.INVAL, "RDONLY and WRONLY")
    if flags & BPF_F_RDONLY:
        return FMODE_READ
    return FMODE_WRITE if flags & BPF_F_WRONLY else FMODE_READ | FMODE_WRITE


def _need_sys_admin(task: Task) -> None:
    if not capable(task, CAP_SYS_ADMIN):
        raise KernelError(E.PERM, "CAP_SYS_ADMIN")


def _open(kernel: Kernel, task: Task, kind: str, obj_id: int, fmode: int) -> int:
    kernel.take_object(kind, obj_id)
    try:
        return kernel.files.open(task, kind, obj_id, fmode)
    except BaseException:
        kernel.put_object(kind, obj_id)
        raise


def obj_pin(kernel: Kernel, task: Task, attr: ObjAttr) -> None:
    """BPF_OBJ_PIN: ENOENT, EEXIST, EPERM as bpffs says; EINVAL for what cannot be pinned."""
    file = kernel.files.get(task.pid, attr.bpf_fd)
    if file.obj_kind not in ("map", "prog"):
        raise KernelError(E.INVAL, file.obj_kind)
    kernel.bpffs.pin(attr.pathname, file.obj_kind, file.obj_id)
    kernel.take_object(file.obj_kind, file.obj_id)


def obj_get(kernel: Kernel, task: Task, attr: ObjAttr) -> int:
    """BPF_OBJ_GET."""
    pin = kernel.bpffs.lookup(attr.pathname)
    return _open(kernel, task, pin.kind, pin.obj_id, file_mode(attr.file_flags))


def _get_fd_by_id(kind: str) -> Callable[[Kernel, Task, IdAttr], int]:
    def get_fd_by_id(kernel: Kernel, task: Task, attr: IdAttr) -> int:
        _need_sys_admin(task)
        return _open(kernel, task, kind, attr.id, file_mode(attr.open_flags))

    return get_fd_by_id


def _get_next_id(objects: Callable[[Kernel], Any]) -> Callable[[Kernel, Task, IdAttr], int]:
    def get_next_id(kernel: Kernel, task: Task, attr: IdAttr) -> int:
        _need_sys_admin(task)
        return int(objects(kernel).ids.after(attr.id))

    return get_next_id


def get_info_by_fd(kernel: Kernel, task: Task, attr: FdAttr) -> MapInfo | ProgInfo | BtfInfo:
    """BPF_OBJ_GET_INFO_BY_FD."""
    file = kernel.files.get(task.pid, attr.fd)
    if file.obj_kind == "map":
        return _map_info(kernel, file.obj_id)
    if file.obj_kind == "prog":
        return kernel.progs.info(file.obj_id)
    if file.obj_kind == "btf":
        return BtfInfo(file.obj_id, kernel.btfs.get(file.obj_id).blob)
    raise KernelError(E.INVAL, file.obj_kind)


def _map_info(kernel: Kernel, map_id: int) -> MapInfo:
    rec = kernel.maps.get(map_id).rec
    return MapInfo(
        rec.type,
        rec.id,
        rec.key_size,
        rec.value_size,
        rec.max_entries,
        rec.map_flags,
        rec.name,
        rec.ifindex,
        rec.btf_vmlinux_value_type_id,
        rec.btf_id,
        rec.btf_key_type_id,
        rec.btf_value_type_id,
        rec.map_extra,
    )


COMMANDS: dict[Cmd, Callable[[Any, Task, Any], Any]] = {
    Cmd.MAP_CREATE: map_create.map_create,
    Cmd.MAP_LOOKUP_ELEM: elem.map_lookup_elem,
    Cmd.MAP_UPDATE_ELEM: elem.map_update_elem,
    Cmd.MAP_DELETE_ELEM: elem.map_delete_elem,
    Cmd.MAP_GET_NEXT_KEY: elem.map_get_next_key,
    Cmd.MAP_LOOKUP_AND_DELETE_ELEM: elem.map_lookup_and_delete_elem,
    Cmd.MAP_FREEZE: elem.map_freeze,
    Cmd.MAP_LOOKUP_BATCH: batch.map_lookup_batch,
    Cmd.MAP_LOOKUP_AND_DELETE_BATCH: batch.map_lookup_and_delete_batch,
    Cmd.MAP_UPDATE_BATCH: batch.map_update_batch,
    Cmd.MAP_DELETE_BATCH: batch.map_delete_batch,
    Cmd.OBJ_PIN: obj_pin,
    Cmd.OBJ_GET: obj_get,
    Cmd.OBJ_GET_INFO_BY_FD: get_info_by_fd,
    Cmd.MAP_GET_FD_BY_ID: _get_fd_by_id("map"),
    Cmd.PROG_GET_FD_BY_ID: _get_fd_by_id("prog"),
    Cmd.BTF_GET_FD_BY_ID: _get_fd_by_id("btf"),
    Cmd.MAP_GET_NEXT_ID: _get_next_id(lambda kernel: kernel.maps),
    Cmd.PROG_GET_NEXT_ID: _get_next_id(lambda kernel: kernel.progs),
    Cmd.BTF_GET_NEXT_ID: _get_next_id(lambda kernel: kernel.btfs),
    Cmd.PROG_LOAD: prog.prog_load,
    Cmd.PROG_BIND_MAP: prog.prog_bind_map,
    Cmd.PROG_TEST_RUN: prog.prog_test_run,
    Cmd.BTF_LOAD: btf.btf_load,
}
