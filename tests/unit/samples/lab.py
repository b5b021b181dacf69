"""A sample's process on a kernel in memory, for tests of its parts."""

from collections.abc import Sequence

from bpfctl_samples.process import Collected, Meter, Process
from bpfctl_samples.test_lru_dist.main import Run

from bpfctl.kernel.kernel import Kernel

UNLIMITED = None


def process(kernel: str = "5.10", memlock: int | None = UNLIMITED, **settings: int) -> Process:
    booted = Kernel.in_memory(kernel, **settings)
    booted.memcg.create("/sample")
    pid = booted.start_command(cgroup="/sample", memlock=memlock)
    return Process("test_lru_dist", booted, pid, Collected(), Meter(booted, pid))


def run_of(
    at: Process,
    keys: Sequence[int] = (1,),
    lru_size: int = 100,
    nr_tasks: int = 1,
    by_program: bool = False,
    seed: int = 0,
) -> Run:
    return Run(at, keys, lru_size, nr_tasks, by_program, seed)


def printed(at: Process) -> str:
    """Return what a process has printed to standard output."""
    return at.streams.stdout
