"""Ring buffers that user space fills (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

declare(
    209, "user_ringbuf_drain", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip
