"""The trace pipe: what bpf_trace_printk() prints, as /sys/kernel/tracing/trace_pipe shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.trace.rings import Rings

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

RING_BYTES = 1 << 18
"""Room for lines; the oldest go when it is used up."""
_TRACE, _MAIN = "trace", 0
NSEC_PER_USEC, USEC_PER_SEC = 1000, 1_000_000


def trace_print(kernel: Kernel, text: bytes) -> None:
    """Print a line, with who printed it, where and when (trace_bpf_trace_printk)."""
    task = kernel.ctx.task
    comm = task.comm[:15] if task is not None else "<idle>"
    pid = task.pid if task is not None else 0
    cpu = kernel.ctx.cpu
    usec = kernel.clock.now() // NSEC_PER_USEC
    stamp = f"{usec // USEC_PER_SEC:5d}.{usec % USEC_PER_SEC:06d}"
    head = f"{comm:>16}-{pid:<7} [{cpu:03d}] ...11 {stamp}: bpf_trace_printk: "
    line = head.encode() + text.removesuffix(b"\n") + b"\n"
    Rings(kernel.storage).append(_TRACE, _MAIN, line, RING_BYTES, overwrite=True)


def read_pipe(kernel: Kernel) -> list[bytes]:
    """Read the pipe: lines that nobody has read yet, which are gone from it then."""
    return Rings(kernel.storage).take(_TRACE, _MAIN)
