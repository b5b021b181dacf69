"""Processes of a sample: simulated tasks that print, fork, run on a CPU and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from bpfctl.errors import KernelError, TaskKilled
from bpfctl.libbpf import rlimit
from bpfctl.libbpf.bpf import Bpf
from bpfctl.system import System
from bpfctl.uapi import MapCreateAttr, ProgLoadAttr

from .exits import ABORTED, KILLED, Exit

Body = Callable[["Process", int], Iterator[None]]


class Streams(Protocol):
    """Where a sample prints."""

    def out(self, text: str) -> None: ...

    def err(self, text: str) -> None: ...


class Collected:
    """Streams that keep what was printed."""

    def __init__(self) -> None:
        self.stdout = ""
        self.stderr = ""

    def out(self, text: str) -> None:
        self.stdout += text

    def err(self, text: str) -> None:
        self.stderr += text


class Meter:
    """The most that a sample has held at a time, above what there was before it.

    ``locked_pages`` is locked_vm of the sample's user, looked at whenever an object was made.
    """

    def __init__(self, kernel: System, pid: int) -> None:
        self._kernel = kernel
        task = kernel.task(pid)
        self._uid = task.uid
        self._memcg = kernel.memcg.get(task.cgroup)
        self._start = self._now()
        self._old_peak = self._memcg.peak_pages
        self.locked_pages = 0
        self._charged = 0

    def _now(self) -> tuple[int, int]:
        kernel = self._kernel
        return kernel.memlock.locked_pages(self._uid), kernel.memcg.current(self._memcg)

    def look(self) -> None:
        """Take notice of a new height."""
        locked, charged = self._now()
        self.locked_pages = max(self.locked_pages, locked - self._start[0])
        self._charged = max(self._charged, charged - self._start[1])

    @property
    def charged_bytes(self) -> int:
        """Return the highest charge to the sample's cgroup.

        That is its memory.peak; if that was higher before, the highest memory.current seen.
        """
        peak = self._memcg.peak_pages
        if peak <= self._old_peak:
            return self._charged
        return max(self._charged, peak * self._kernel.config.page_size - self._start[1])


@dataclass(slots=True)
class MeteredBpf(Bpf):
    """bpf(2) that looks at the meter after each new object."""

    meter: Meter

    def map_create(self, attr: MapCreateAttr) -> int:
        fd = Bpf.map_create(self, attr)
        self.meter.look()
        return fd

    def prog_load(self, attr: ProgLoadAttr) -> int:
        fd = Bpf.prog_load(self, attr)
        self.meter.look()
        return fd


@dataclass
class Process:
    """A running copy of sample ``name``: its task, its streams and its children."""

    name: str
    kernel: System
    pid: int
    streams: Streams
    meter: Meter
    children: list[Process] = field(default_factory=list)
    status: int = 0

    def __post_init__(self) -> None:
        self.bpf = MeteredBpf(self.kernel, self.pid, self.meter)

    def print(self, text: str) -> None:
        """Write to standard output, without adding a newline."""
        self.streams.out(text)

    def perror(self, text: str, exc: KernelError) -> None:
        """Write ``TEXT: reason`` to standard error."""
        self.streams.err(f"{text}: {exc.strerror}\n")

    def abort(self, function: str, wanted: str, cause: BaseException | None = None) -> NoReturn:
        """End as a failed assertion of ``wanted`` in ``function`` does.

        :raises Exit: always.
        """
        self.streams.err(f"{self.name}: {function}: Assertion `{wanted}' failed.\n")
        raise Exit(ABORTED, cause)

    def bump_memlock(self, function: str) -> None:
        """Raise RLIMIT_MEMLOCK to infinity, or abort."""
        try:
            rlimit.bump_memlock(self.bpf)
        except KernelError as exc:
            self.abort(function, "!setrlimit(RLIMIT_MEMLOCK, &r)", exc)

    @property
    def nr_cpus(self) -> int:
        """Number of possible CPUs."""
        return self.kernel.possible_cpus()

    def pin(self, cpu: int) -> None:
        """Run on ``cpu`` (modulo the number of CPUs) from now on."""
        self.kernel.task(self.pid).cpu = cpu % self.nr_cpus

    def fork(self) -> Process:
        """Start a child that has the same descriptors."""
        pid = self.kernel.fork(self.pid)
        child = Process(self.name, self.kernel, pid, self.streams, self.meter)
        self.children.append(child)
        return child

    def exit(self) -> None:
        """End this process and its children; their descriptors close."""
        for child in self.children:
            child.exit()
        self.children.clear()
        if self.kernel.tasks.get(self.pid) is not None:
            self.kernel.exit_task(self.pid)

    def run_parallel(self, function: str, nr_tasks: int, body: Body) -> None:
        """Run ``body`` in ``nr_tasks`` children on successive CPUs and wait for all of them.

        Bodies are generators. They take turns in order of birth, each up to its next ``yield``,
        so that the outcome does not depend on the machine that simulates.

        :raises Exit: a child could not be started, or ended badly.
        """
        running: list[tuple[Process, Iterator[None]]] = []
        for index in range(nr_tasks):
            try:
                child = self.fork()
            except KernelError as exc:
                self.print(f"couldn't spawn #{index} process\n")
                raise Exit(1, exc) from exc
            child.pin(index)
            running.append((child, body(child, index)))
        causes = take_turns(running)
        for child, _ in running:
            if child.status:
                self.abort(function, "status == 0", causes.get(child.pid))
        self.children.clear()


def take_turns(running: list[tuple[Process, Iterator[None]]]) -> dict[int, BaseException]:
    """Run processes to their end, one turn each a round; return why some failed, by pid."""
    causes: dict[int, BaseException] = {}
    waiting = list(running)
    while waiting:
        waiting = [pair for pair in waiting if _turn(*pair, causes)]
    return causes


def _turn(process: Process, body: Iterator[None], causes: dict[int, BaseException]) -> bool:
    """Run one turn; return whether the process is still alive."""
    try:
        next(body)
        return True
    except StopIteration:
        process.status = 0
    except Exit as exc:
        process.status = exc.status
        causes[process.pid] = exc.cause or exc
    except TaskKilled as exc:
        process.status = KILLED
        causes[process.pid] = exc
    process.exit()
    return False
