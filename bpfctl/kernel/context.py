"""Who runs: the one answer to "in whose name, on which CPU, and when"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpfctl.errors import E, KernelError
from bpfctl.kernel.clock import Clock
from bpfctl.kernel.records import Task


class Context:
    """What runs on the machine just now.

    ``task`` is the task in a system call, None outside of any. ``interrupts`` is how many
    interrupts deep its CPU is: above 0 nobody pays for the task (in_interrupt()).
    """

    __slots__ = ("_cpu", "clock", "interrupts", "task")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.task: Task | None = None
        self.interrupts = 0
        self._cpu: int | None = None

    @property
    def cpu(self) -> int:
        """The CPU that runs: the task's, unless :meth:`on_cpu` says another."""
        if self._cpu is not None:
            return self._cpu
        return self.task.cpu if self.task is not None else 0

    @property
    def in_interrupt(self) -> bool:
        """Whether an interrupt hit the task."""
        return self.interrupts > 0

    @property
    def in_task(self) -> Task:
        """The task in the system call, where there must be one.

        :raises KernelError: EINVAL: nobody is in a system call.
        """
        if self.task is None:
            raise KernelError(E.INVAL, "outside of any system call")
        return self.task

    def now(self) -> int:
        """Read the clock: ns since boot, later than any reading before."""
        return self.clock.now()

    @contextmanager
    def running(self, task: Task | None) -> Iterator[Task | None]:
        """Let a task run for the time of a block, on its own CPU."""
        before = self.task, self._cpu
        self.task, self._cpu = task, None
        try:
            yield task
        finally:
            self.task, self._cpu = before

    @contextmanager
    def interrupt(self) -> Iterator[None]:
        """Run a block in an interrupt that hit whatever runs."""
        self.interrupts += 1
        try:
            yield
        finally:
            self.interrupts -= 1

    @contextmanager
    def on_cpu(self, cpu: int) -> Iterator[None]:
        """Run a block on a CPU of its own choice."""
        before, self._cpu = self._cpu, cpu
        try:
            yield
        finally:
            self._cpu = before
