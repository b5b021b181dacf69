"""bpf_prog_test_run_raw_tp(): arguments of a tracepoint, on a CPU of choice."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import U32, Test, bad
from bpfctl.kernel.bpf.test_run.context_size import max_ctx_offset
from bpfctl.kernel.net.plain import PlainContext
from bpfctl.uapi import BPF_F_TEST_RUN_ON_CPU, ProgRunResult

MAX_ARGS_SIZE = 12 * 8


def run(test: Test) -> ProgRunResult:
    """Run a raw tracepoint program once.

    :raises KernelError: EINVAL; ENXIO for a CPU that is not there; EFAULT.
    """
    attr = test.attr
    refused = (
        attr.data_in is not None,
        attr.data_out,
        attr.ctx_out,
        attr.duration,
        attr.repeat,
        attr.batch_size,
    )
    if any(refused):
        raise bad("only a context, flags and a CPU")
    if attr.ctx_size_in < max_ctx_offset(test.source) or attr.ctx_size_in > MAX_ARGS_SIZE:
        raise bad(f"ctx_size_in {attr.ctx_size_in}")
    if attr.cpu and not attr.flags & BPF_F_TEST_RUN_ON_CPU:
        raise bad("cpu without BPF_F_TEST_RUN_ON_CPU")
    given = attr.ctx_in or b""
    if len(given) < attr.ctx_size_in:
        raise KernelError(E.FAULT, "ctx_in")
    cpu = test.kernel.ctx.cpu
    if attr.flags & BPF_F_TEST_RUN_ON_CPU:
        if attr.cpu >= test.kernel.possible_cpus():
            raise KernelError(E.NXIO, f"cpu {attr.cpu}")
        cpu = attr.cpu
    ctx = PlainContext(test.mem, given[: attr.ctx_size_in].ljust(MAX_ARGS_SIZE, b"\0"))
    try:
        with test.kernel.ctx.on_cpu(cpu):
            return ProgRunResult(retval=test.run(ctx) & U32)
    finally:
        ctx.release()
