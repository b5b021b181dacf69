"""BPF_ENABLE_STATS: run time statistics, for as long as somebody holds the descriptor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.prog_run import STATS
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.records import Counter, Task
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable
from bpfctl.uapi import BPF_STATS_RUN_TIME, EnableStatsAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

STATS_KIND = "bpf_stats"


class StatsHolder:
    """Descriptors that keep the statistics on."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def _counter(self) -> Counter:
        counters = self._kernel.storage.registry(Counter)
        found = counters.get(STATS)
        if found is None:
            found = Counter(STATS, 0)
            counters.add(found)
        return found

    def inc(self, obj_id: int) -> None:
        """Take a reference."""
        self._counter().value += 1

    def put(self, obj_id: int) -> None:
        """Drop one; the last switches the statistics off."""
        self._counter().value -= 1


def enable_stats(kernel: Kernel, task: Task, attr: EnableStatsAttr) -> int:
    """BPF_ENABLE_STATS: return a descriptor.

    :raises KernelError: EPERM; EINVAL for other statistics than run time.
    """
    if not capable(task, CAP_SYS_ADMIN):
        raise KernelError(E.PERM, "CAP_SYS_ADMIN")
    if attr.type != BPF_STATS_RUN_TIME:
        raise KernelError(E.INVAL, f"statistics {attr.type}")
    fd = kernel.files.open(task, STATS_KIND, 0, FMODE_READ | FMODE_WRITE)
    kernel.take_object(STATS_KIND, 0)
    return fd
