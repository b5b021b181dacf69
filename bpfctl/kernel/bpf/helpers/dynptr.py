"""Dynamic pointers (kernel/bpf/helpers.c, kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, body, declare
from bpfctl.kernel.bpf.helpers.ringbuf import commit, reserve

_DONE = (Arg.PTR_TO_DYNPTR | Flag.DYNPTR_RINGBUF | Flag.RELEASE, Arg.ANYTHING)

declare(
    197, "dynptr_from_mem", Ret.INTEGER,
    (
        Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING,
        Arg.PTR_TO_DYNPTR | Flag.DYNPTR_LOCAL | Flag.UNINIT | Flag.WRITE,
    ),
)  # fmt: skip
declare(
    198, "ringbuf_reserve_dynptr", Ret.INTEGER,
    (
        Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.ANYTHING,
        Arg.PTR_TO_DYNPTR | Flag.DYNPTR_RINGBUF | Flag.UNINIT | Flag.WRITE,
    ),
)  # fmt: skip
declare(199, "ringbuf_submit_dynptr", Ret.VOID, _DONE)
declare(200, "ringbuf_discard_dynptr", Ret.VOID, _DONE)
declare(
    201, "dynptr_read", Ret.INTEGER,
    (
        Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.PTR_TO_DYNPTR | Flag.RDONLY,
        Arg.ANYTHING, Arg.ANYTHING,
    ),
)  # fmt: skip
declare(
    202, "dynptr_write", Ret.INTEGER,
    (
        Arg.PTR_TO_DYNPTR | Flag.RDONLY, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY,
        Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING,
    ),
)  # fmt: skip
declare(
    203, "dynptr_data", Ret.DYNPTR_MEM_OR_NULL,
    (Arg.PTR_TO_DYNPTR | Flag.RDONLY, Arg.ANYTHING, Arg.CONST_ALLOC_SIZE_OR_ZERO),
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime


MAX_SIZE = (1 << 24) - 1
LOCAL, RINGBUF = 1 << 28, 2 << 28
RDONLY = 1 << 31
_DATA, _SIZE, _OFFSET = 0, 8, 12


def make(rt: Runtime, dynptr: int, data: int, size: int, flags: int) -> None:
    """Fill in struct bpf_dynptr_kern; type and RDONLY are in the upper bits of the size."""
    rt.mem.store(dynptr + _DATA, 8, data)
    rt.mem.store(dynptr + _SIZE, 4, size | flags)
    rt.mem.store(dynptr + _OFFSET, 4, 0)


def _null(rt: Runtime, dynptr: int) -> None:
    rt.mem.write(dynptr, bytes(16))


def _data(rt: Runtime, dynptr: int) -> tuple[int, int, bool]:
    """Return address and size of the data, and whether it may be read only."""
    data, size = rt.mem.load(dynptr + _DATA, 8), rt.mem.load(dynptr + _SIZE, 4)
    offset = rt.mem.load(dynptr + _OFFSET, 4)
    return data and data + offset, size & MAX_SIZE, bool(size & RDONLY)


def _outside(size: int, offset: int, length: int) -> bool:
    return length > size or offset > size - length


@body(197)
def dynptr_from_mem(rt: Runtime, data: int, size: int, flags: int, dynptr: int) -> int:
    """Make a dynptr to a map value: E2BIG, EINVAL."""
    size &= U32
    failed = -E.BIG if size > MAX_SIZE else -E.INVAL if flags else 0
    if failed:
        _null(rt, dynptr)
    else:
        make(rt, dynptr, data, size, LOCAL)
    return failed


@body(201)
def dynptr_read(rt: Runtime, to: int, length: int, dynptr: int, offset: int, flags: int) -> int:
    """Copy out: EINVAL, E2BIG."""
    data, size, _ = _data(rt, dynptr)
    length, offset = length & U32, offset & U32
    if not data or flags:
        return -E.INVAL
    if _outside(size, offset, length):
        return -E.BIG
    rt.mem.write(to, rt.mem.read(data + offset, length))
    return 0


@body(202)
def dynptr_write(rt: Runtime, dynptr: int, offset: int, src: int, length: int, flags: int) -> int:
    """Copy in: EINVAL, E2BIG."""
    data, size, rdonly = _data(rt, dynptr)
    length, offset = length & U32, offset & U32
    if not data or rdonly:
        return -E.INVAL
    if _outside(size, offset, length):
        return -E.BIG
    if flags:
        return -E.INVAL
    rt.mem.write(data + offset, rt.mem.read(src, length))
    return 0


@body(203)
def dynptr_data(rt: Runtime, dynptr: int, offset: int, length: int) -> int:
    """Return the address of a slice, 0 for none."""
    data, size, rdonly = _data(rt, dynptr)
    length, offset = length & U32, offset & U32
    if not data or rdonly or _outside(size, offset, length):
        return 0
    return data + offset


@body(198)
def ringbuf_reserve_dynptr(
    rt: Runtime, map_: MapHandle, size: int, flags: int, dynptr: int
) -> int:
    """Reserve a record of a size that is known late: EINVAL, E2BIG."""
    size &= U32
    failed = -E.INVAL if flags else -E.BIG if size > MAX_SIZE else 0
    held = None if failed else reserve(rt, map_, size)
    if held is None:
        _null(rt, dynptr)
        return failed or -E.INVAL
    make(rt, dynptr, held.region.start, size, RINGBUF)
    return 0


def _done(rt: Runtime, dynptr: int, flags: int, discard: bool) -> int:
    data = rt.mem.load(dynptr + _DATA, 8)
    if data:
        commit(rt, data, flags, discard)
        _null(rt, dynptr)
    return 0


@body(199)
def ringbuf_submit_dynptr(rt: Runtime, dynptr: int, flags: int) -> int:
    """Hand a record over, if there is one."""
    return _done(rt, dynptr, flags, discard=False)


@body(200)
def ringbuf_discard_dynptr(rt: Runtime, dynptr: int, flags: int) -> int:
    """Give a record up, if there is one."""
    return _done(rt, dynptr, flags, discard=True)
