"""Running a loaded program: what every event source and BPF_PROG_TEST_RUN go through.

Time is the machine's: a run takes as many nanoseconds as the program has instructions, and a
call's worth on top, whichever engine runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.vm.vm import Vm
from bpfctl.kernel.records import Counter

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Context
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import ProgRecord

CALL_NS = 20
INSN_BYTES = 8
STATS = "bpf_stats"
"""Counter: who asked for statistics."""


def run_time_ns(prog: ProgRecord) -> int:
    """Nanoseconds that one run of ``prog`` takes."""
    return CALL_NS + len(prog.insns) // INSN_BYTES


def run_prog(kernel: Kernel, prog: ProgRecord, ctx: Context, times: int = 1) -> int:
    """Run ``prog`` on ``ctx`` and return the r0 of the last round, 64 bits.

    :raises KernelError: EINTR (stopped), EFAULT (a bug of the verifier), EBUSY (nested too deep).
    """
    try:
        return kernel.part(Vm).repeat(prog.id, ctx, times, kernel.ctx.cpu)
    finally:
        spent = run_time_ns(prog) * times
        kernel.clock.advance(spent)
        if stats_enabled(kernel):
            prog.priv["run_cnt"] = prog.priv.get("run_cnt", 0) + times
            prog.priv["run_time_ns"] = prog.priv.get("run_time_ns", 0) + spent


def stats_enabled(kernel: Kernel) -> bool:
    """Tell whether anybody asked for run time statistics."""
    found = kernel.storage.registry(Counter).get(STATS)
    return found is not None and found.value > 0
