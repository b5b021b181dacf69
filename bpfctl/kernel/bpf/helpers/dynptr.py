"""Dynamic pointers (kernel/bpf/helpers.c, kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, declare

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
