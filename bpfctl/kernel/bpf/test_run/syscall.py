"""bpf_prog_test_run_syscall(): a program that runs in the caller's context, and may sleep."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import U32, Test, bad
from bpfctl.kernel.bpf.test_run.context_size import max_ctx_offset
from bpfctl.kernel.net.plain import PlainContext
from bpfctl.uapi import ProgRunResult

U16_MAX = 0xFFFF


def run(test: Test) -> ProgRunResult:
    """Run a syscall program; its context is written back in place.

    :raises KernelError: EINVAL, EFAULT.
    """
    attr = test.attr
    refused = (
        attr.data_in is not None,
        attr.data_out,
        attr.ctx_out,
        attr.duration,
        attr.repeat,
        attr.flags,
        attr.batch_size,
    )
    if any(refused):
        raise bad("only a context")
    size = attr.ctx_size_in
    if size < max_ctx_offset(test.source) or size > U16_MAX:
        raise bad(f"ctx_size_in {size}")
    given = attr.ctx_in or b""
    if len(given) < size:
        raise KernelError(E.FAULT, "ctx_in")
    ctx = PlainContext(test.mem, given[:size])
    try:
        retval = test.run(ctx) & U32
        return ProgRunResult(retval=retval, ctx_in=ctx.content() + given[size:] if size else None)
    finally:
        ctx.release()
