"""Ring buffers (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, declare

declare(
    130, "ringbuf_output", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(
    131, "ringbuf_reserve", Ret.RINGBUF_MEM_OR_NULL,
    (Arg.CONST_MAP_PTR, Arg.CONST_ALLOC_SIZE_OR_ZERO, Arg.ANYTHING), acquires=True,
)  # fmt: skip
_DONE = (Arg.PTR_TO_RINGBUF_MEM | Flag.RELEASE, Arg.ANYTHING)
declare(132, "ringbuf_submit", Ret.VOID, _DONE)
declare(133, "ringbuf_discard", Ret.VOID, _DONE)
declare(134, "ringbuf_query", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING))
