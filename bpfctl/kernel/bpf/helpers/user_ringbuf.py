"""Ring buffers that user space fills (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.bpf.helpers.dynptr import LOCAL, RDONLY, make

declare(
    209, "user_ringbuf_drain", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime


DYNPTR_SIZE = 16


@body(209)
def user_ringbuf_drain(
    rt: Runtime, map_: MapHandle, callback: int, ctx: int, flags: int
) -> int:
    """Pass the samples of a process to a function until it returns 1; return how many."""
    dynptr = rt.mem.alloc(DYNPTR_SIZE, "mem")

    def pass_on(sample: bytes) -> int:
        held = rt.mem.alloc(max(len(sample), 1), "mem", 1)
        rt.mem.poke(held.start, sample)
        make(rt, dynptr.start, held.start, len(sample), LOCAL | RDONLY)
        try:
            return rt.call(callback, dynptr.start, ctx)
        finally:
            rt.mem.free(held)

    try:
        drained: int = map_.map.drain(pass_on, flags)  # type: ignore[attr-defined]
        return drained
    finally:
        rt.mem.free(dynptr)
