"""bpf(2): one function per command on objects, map creation and elements apart.

Mirrors kernel/bpf/syscall.c. Every function takes the kernel, the calling task and the
command's attributes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.kinds import ObjectKind
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import File, Task
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable
from bpfctl.uapi import (
    BPF_F_RDONLY,
    BPF_F_WRONLY,
    FdAttr,
    IdAttr,
    ObjAttr,
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
    if not _kind_of(kernel, file).pinnable:
        raise KernelError(E.INVAL, file.obj_kind)
    kernel.bpffs.pin(attr.pathname, file.obj_kind, file.obj_id)
    kernel.take_object(file.obj_kind, file.obj_id)


def _kind_of(kernel: Kernel, file: File) -> ObjectKind:
    """Return the kind of the BPF object that is open.

    :raises KernelError: EINVAL: it is none.
    """
    kind: ObjectKind | None = kernel.kinds.get(file.obj_kind)
    if kind is None:
        raise KernelError(E.INVAL, file.obj_kind)
    return kind


def obj_get(kernel: Kernel, task: Task, attr: ObjAttr) -> int:
    """BPF_OBJ_GET."""
    pin = kernel.bpffs.lookup(attr.pathname)
    return _open(kernel, task, pin.kind, pin.obj_id, file_mode(attr.file_flags))


def _get_fd_by_id(kind: str) -> Callable[[Kernel, Task, IdAttr], int]:
    def get_fd_by_id(kernel: Kernel, task: Task, attr: IdAttr) -> int:
        _need_sys_admin(task)
        return _open(kernel, task, kind, attr.id, file_mode(attr.open_flags))

    return get_fd_by_id


def _get_next_id(kind: str) -> Callable[[Kernel, Task, IdAttr], int]:
    def get_next_id(kernel: Kernel, task: Task, attr: IdAttr) -> int:
        _need_sys_admin(task)
        return int(kernel.kinds[kind].ids.after(attr.id))

    return get_next_id


def get_info_by_fd(kernel: Kernel, task: Task, attr: FdAttr) -> Any:
    """BPF_OBJ_GET_INFO_BY_FD: the info record of the object's kind."""
    file = kernel.files.get(task.pid, attr.fd)
    return _kind_of(kernel, file).info(file.obj_id)


map_get_fd_by_id = _get_fd_by_id("map")
map_get_next_id = _get_next_id("map")
prog_get_fd_by_id = _get_fd_by_id("prog")
prog_get_next_id = _get_next_id("prog")
btf_get_fd_by_id = _get_fd_by_id("btf")
btf_get_next_id = _get_next_id("btf")
link_get_fd_by_id = _get_fd_by_id("link")
link_get_next_id = _get_next_id("link")
