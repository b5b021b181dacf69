"""Runs of a sample: on a kernel that there is, or on one made for the run; and comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from bpfctl.errors import Hint, KernelError, TaskKilled, errno_name
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.rlimit import explain_eperm
from bpfctl.system import System
from bpfctl.system.machines import boot
from bpfctl.system.releases import LONG_TERM

from . import registry
from .process import Collected, Meter, Process, Streams
from .sample import KILLED, Exit, Request

CGROUP = "/sample"
FAILED = 1
DEFAULT_MEMLOCK = -1


@dataclass(frozen=True)
class Machine:
    """A machine in memory. Limits in bytes, None for none; ``memlock`` -1 is the kernel's default.

    The sample runs as the only task of its cgroup, which ``memory_max`` limits.
    """

    kernel: str = LONG_TERM
    patch: int | None = None
    cpus: int = 4
    memlock: int | None = DEFAULT_MEMLOCK
    memory_max: int | None = None
    uid: int | None = None
    caps: int | None = None

    def boot(self, comm: str) -> tuple[System, int]:
        """Return the running kernel and the pid of the sample's first process."""
        kernel = boot(self.kernel, patch=self.patch, possible_cpus=self.cpus)
        kernel.memcg.create(CGROUP)
        if self.memory_max is not None:
            kernel.set_memory_knob(CGROUP, "max", self.memory_max)
        pid = kernel.start_command(
            uid=self.uid, caps=self.caps, cgroup=CGROUP, memlock=self.memlock, comm=comm
        )
        return kernel, pid


@dataclass(frozen=True)
class Outcome:
    """How a run ended and the most it held at a time.

    ``errno`` is 0 unless a system call ended the run. ``hint`` says which limit was hit and what
    would do; ``explained`` is libbpf's sentence about EPERM.
    """

    status: int
    errno: int = 0
    locked_pages: int = 0
    charged_bytes: int = 0
    hint: Hint = ""
    explained: str = ""
    stdout: str = ""
    stderr: str = ""

    @property
    def word(self) -> str:
        """Return ``ok``, ``refused``, ``killed`` or ``failed``."""
        if self.status == 0:
            return "ok"
        if self.errno:
            return "refused"
        return "killed" if self.status == KILLED else "failed"

    @property
    def errno_name(self) -> str:
        """Return the symbol of ``errno``, "" for none."""
        return errno_name(self.errno) if self.errno else ""


def run(kernel: System, pid: int, name: str, request: Request, streams: Streams) -> Outcome:
    """Run sample ``name`` as task ``pid``; whatever it held is freed.

    :raises CommandError: the request makes no sense.
    """
    sample = registry.load(name)
    meter = Meter(kernel, pid)
    process = Process(name, kernel, pid, streams, meter)
    try:
        end = Exit(sample.run(process, request))
    except Exit as exc:
        end = exc
    except KernelError as exc:
        streams.err(f"{name}: {exc.strerror}\n")
        end = Exit(FAILED, exc)
    except TaskKilled as exc:
        streams.err("Killed\n")
        end = Exit(KILLED, exc)
    err, explained = 0, ""
    if isinstance(end.cause, KernelError):
        err, explained = end.cause.code, explain_eperm(Bpf(kernel, pid), end.cause)
    process.exit()
    return Outcome(end.status, err, meter.locked_pages, meter.charged_bytes, end.hint, explained)


def run_in_memory(machine: Machine, name: str, request: Request, streams: Streams) -> Outcome:
    """Run sample ``name`` on a machine of its own."""
    kernel, pid = machine.boot(name)
    return run(kernel, pid, name, request, streams)


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    machine: Machine
    bump: bool
    outcome: Outcome = Outcome(0)


def matrix(machines: Iterable[Machine]) -> list[Cell]:
    """Return the runs to do: each machine, without and with the bump of the limit."""
    return [Cell(machine, bump) for machine in machines for bump in (False, True)]


def compare(
    name: str, request: Request, cells: Iterable[Cell], started: Callable[[Cell], None]
) -> list[Cell]:
    """Run all ``cells`` and return them with their outcomes; ``started`` hears of each first."""
    done = []
    for cell in cells:
        started(cell)
        streams = Collected()
        asked = replace(request, bump=cell.bump)
        outcome = run_in_memory(cell.machine, name, asked, streams)
        outcome = replace(outcome, stdout=streams.stdout, stderr=streams.stderr)
        done.append(replace(cell, outcome=outcome))
    return done
