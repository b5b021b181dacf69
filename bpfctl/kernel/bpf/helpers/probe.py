"""Memory of the kernel and of user space, read and written safely (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, btf, declare
from bpfctl.kernel.bpf.vm.arena import READ

_READ = (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING)

declare(4, "probe_read", Ret.INTEGER, _READ, gpl_only=True)
declare(
    36, "probe_write_user", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(45, "probe_read_str", Ret.INTEGER, _READ, gpl_only=True)
declare(112, "probe_read_user", Ret.INTEGER, _READ, gpl_only=True)
declare(113, "probe_read_kernel", Ret.INTEGER, _READ, gpl_only=True)
declare(114, "probe_read_user_str", Ret.INTEGER, _READ, gpl_only=True)
declare(115, "probe_read_kernel_str", Ret.INTEGER, _READ, gpl_only=True)
declare(148, "copy_from_user", Ret.INTEGER, _READ, might_sleep=True)
declare(
    191, "copy_from_user_task", Ret.INTEGER,
    (
        Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, btf("task_struct"),
        Arg.ANYTHING,
    ),
    gpl_only=True, might_sleep=True,
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


PAGE_SIZE = 4096
CANONICAL_BITS = 57
USER = "user"
WORD = 8


def task_size(rt: Runtime) -> int:
    """Return where addresses of user space end."""
    return rt.kernel.profile.runtime.task_size


def user_bytes(rt: Runtime, addr: int, size: int) -> bytes | None:
    """Read memory of the process; None for what it has not."""
    if addr + size > task_size(rt):
        return None
    if not size:
        return b""
    region = rt.mem.find(addr)
    if region is None or region.kind != USER or not region.allows(addr, size, READ):
        return None
    return rt.mem.read(addr, size)


def kernel_bytes(rt: Runtime, addr: int, size: int) -> bytes | int:
    """Read memory of the kernel; a negative errno for user addresses and what is not mapped."""
    region = rt.mem.find(addr)
    if region is not None and region.kind != USER:
        return rt.mem.read(addr, size) if region.allows(addr, size, READ) else -E.FAULT
    upper = addr >> (CANONICAL_BITS - 1)
    if addr < task_size(rt) + PAGE_SIZE or upper not in (0, (1 << (65 - CANONICAL_BITS)) - 1):
        return -E.RANGE
    return -E.FAULT if size else b""


def _give(rt: Runtime, to: int, size: int, found: bytes | int | None) -> int:
    if isinstance(found, bytes):
        rt.mem.write(to, found)
        return 0
    rt.mem.write(to, bytes(size))
    return -E.FAULT if found is None else found


def user_string(rt: Runtime, addr: int, size: int) -> bytes | None:
    """Read a string of the process, cut to ``size`` - 1 bytes, with its NUL; None for a fault."""
    region = rt.mem.find(addr) if addr < task_size(rt) else None
    if region is None or region.kind != USER:
        return None
    found = rt.mem.c_string(addr, size)
    return None if found is None else found[: size - 1] + b"\0"


def kernel_string(rt: Runtime, addr: int, size: int) -> bytes | int:
    """Read a string of the kernel as :func:`user_string` does."""
    first = kernel_bytes(rt, addr, 1)
    if isinstance(first, int):
        return first
    found = rt.mem.c_string(addr, size)
    return -E.FAULT if found is None else found[: size - 1] + b"\0"


def _give_string(rt: Runtime, to: int, size: int, found: bytes | int | None) -> int:
    failed = _give(rt, to, size, found)
    return len(found) if isinstance(found, bytes) else failed


def _give_user_string(rt: Runtime, to: int, size: int, found: bytes | None) -> int:
    """strncpy_from_user() copies words: what is behind the NUL in the last one becomes zero."""
    result = _give_string(rt, to, size, found)
    if found is not None:
        word = (len(found) - 1) // WORD * WORD
        if size - word >= WORD:
            rt.mem.write(to + len(found), bytes(word + WORD - len(found)))
    return result


@body(112)
def probe_read_user(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy memory of the process; EFAULT, and zeros."""
    return _give(rt, to, size, user_bytes(rt, addr, size))


@body(113)
def probe_read_kernel(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy memory of the kernel; EFAULT or (for user addresses) ERANGE, and zeros."""
    return _give(rt, to, size, kernel_bytes(rt, addr, size))


@body(4)
def probe_read(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy memory of whichever the address belongs to."""
    if _is_user(rt, addr):
        return probe_read_user(rt, to, size, addr)
    return probe_read_kernel(rt, to, size, addr)


def _is_user(rt: Runtime, addr: int) -> bool:
    region = rt.mem.find(addr)
    return addr < task_size(rt) if region is None else region.kind == USER


@body(114)
def probe_read_user_str(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy a string of the process; return its length with the NUL."""
    return _give_user_string(rt, to, size, user_string(rt, addr, size)) if size else 0


@body(115)
def probe_read_kernel_str(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy a string of the kernel; return its length with the NUL."""
    return _give_string(rt, to, size, kernel_string(rt, addr, size)) if size else 0


@body(45)
def probe_read_str(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy a string of whichever the address belongs to."""
    if _is_user(rt, addr):
        return probe_read_user_str(rt, to, size, addr)
    return probe_read_kernel_str(rt, to, size, addr)


@body(148)
def copy_from_user(rt: Runtime, to: int, size: int, addr: int) -> int:
    """Copy memory of the process, which may have to be paged in."""
    return _give(rt, to, size, user_bytes(rt, addr, size) if size else b"")


@body(36)
def probe_write_user(rt: Runtime, to: int, src: int, size: int) -> int:
    """Write memory of the process: EPERM without one, EFAULT."""
    if rt.task is None:
        return -E.PERM
    if user_bytes(rt, to, size) is None:
        return -E.FAULT
    rt.mem.write(to, rt.mem.read(src, size))
    return 0
