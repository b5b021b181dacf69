"""Loading objects into booted kernels, and what became of every program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product

from bpfctl.check.log import Trouble, explain, read_statistics
from bpfctl.errors import Failure, KernelError, errno_name
from bpfctl.kernel import profile as profiles
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.charge import OomKill
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.load import LoadedProgram, Loader, LoadError
from bpfctl.libbpf.object import BpfObject, open_object
from bpfctl.libbpf.options import LoadOptions
from bpfctl.testbed import Bed
from bpfctl.uapi import ProgLoadAttr

INSN_LIMIT = 1_000_000
STACK_LIMIT = 512
_STATISTICS = 4


@dataclass(frozen=True, slots=True)
class Machine:
    """A kernel to ask: a release, or with ``patch`` 5.10 and that many patches of the series."""

    kernel: str
    cpus: int = 4
    patch: int | None = None

    @property
    def name(self) -> str:
        """The kernel as it is spelt on the command line."""
        return self.kernel if self.patch is None else f"{self.kernel}+{self.patch}"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to look at, and how.

    ``programs`` are patterns of function names; none is all that load by default. ``log_level``:
    bits of the verifier's log that reports keep (1, 2); 0 keeps the log of refusals.
    """

    programs: tuple[str, ...] = ()
    log_level: int = 0
    kernel_btf: str = ""
    kconfig: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ProgramReport:
    """One program on one kernel.

    ``errno`` is a symbol, empty if the program was accepted; ``reason`` the decisive line of the
    verifier, of libbpf, or of the kernel. ``processed`` and ``stack`` (bytes) are None where the
    kernel did not say; ``memlock`` is bytes. ``trouble`` says where in the source.
    """

    file: str
    name: str
    section: str
    type: str
    kernel: str
    cpus: int
    measured: bool
    insns: int
    ok: bool = False
    errno: str = ""
    reason: str = ""
    processed: int | None = None
    stack: int | None = None
    memlock: int = 0
    log: str = ""
    trouble: Trouble | None = None

    @property
    def complexity(self) -> float | None:
        """Share of the million instructions that the verifier may look at."""
        return None if self.processed is None else self.processed / INSN_LIMIT

    @property
    def stack_share(self) -> float | None:
        """Share of the 512 bytes of stack."""
        return None if self.stack is None else self.stack / STACK_LIMIT


@dataclass(slots=True)
class ObjectReport:
    """One object on one kernel.

    ``refused``: why none of its programs was tried, empty if they were. ``skipped`` programs are
    not loaded by default.
    """

    file: str
    kernel: str
    cpus: int
    measured: bool
    programs: list[ProgramReport] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: str = ""
    map_memlock: int = 0

    @property
    def ok(self) -> bool:
        """Tell whether everything loads."""
        return not self.refused and all(program.ok for program in self.programs)


def check(
    files: Iterable[str],
    machines: Iterable[Machine],
    wish: Wish = Wish(),
    executor: Executor | None = None,
) -> Iterator[ObjectReport]:
    """Yield what becomes of every file on every machine, in that order.

    ``executor`` runs the pairs in parallel; any of concurrent.futures or like it will do.
    """
    pairs = list(product(files, machines))
    if executor is None:
        for path, machine in pairs:
            yield check_object(path, machine, wish)
        return
    yield from executor.map(
        check_object, [path for path, _ in pairs], [m for _, m in pairs], [wish] * len(pairs)
    )


def check_object(path: str, machine: Machine, wish: Wish = Wish()) -> ObjectReport:
    """Load one object into a new kernel and return what became of it.

    :raises ProfileError: there is no such kernel.
    """
    profile = profiles.load(machine.kernel, machine.patch)
    report = ObjectReport(path, machine.name, machine.cpus, profile.measured)
    try:
        obj = open_object(path)
    except Failure as exc:
        report.refused = exc.text
        return report
    _choose(obj, wish.programs, report)
    kernel = Bed.boot(machine.kernel, machine.patch, cpus=machine.cpus).kernel
    _Trial(kernel, obj, report, wish).run()
    return report


def _choose(obj: BpfObject, patterns: tuple[str, ...], report: ObjectReport) -> None:
    for spec in obj.programs:
        if patterns:
            spec.autoload = any(fnmatchcase(spec.name, pattern) for pattern in patterns)
        elif not spec.autoload:
            report.skipped.append(spec.name)


class _Trial:
    """One object on one kernel."""

    def __init__(self, kernel: Kernel, obj: BpfObject, report: ObjectReport, wish: Wish) -> None:
        self.obj = obj
        self.report = report
        self.wish = wish
        self.said: list[str] = []
        self.tried: dict[str, tuple[ProgLoadAttr, KernelError | None]] = {}
        self.bpf = Bpf(kernel, kernel.spawn("check").pid)
        kernel.setrlimit_memlock(self.bpf.pid, None, None)  # as bpftool does before it loads
        options = LoadOptions(
            wish.kernel_btf,
            wish.kconfig,
            wish.log_level | _STATISTICS,
            each=True,
            tried=self._note,
        )
        release = kernel.profile.release
        self.loader = Loader(self.bpf, obj, self.said.append, release, options)

    def _note(self, name: str, attr: ProgLoadAttr, error: KernelError | None) -> None:
        self.tried[name] = attr, error

    def run(self) -> None:
        """Load, and fill in the report."""
        try:
            self.loader.load()
        except LoadError as exc:
            self.report.refused = self.said[0] if self.said else errno_name(exc.errno)
        except (Failure, OomKill) as exc:
            self.report.refused = str(exc)
        for program in self.loader.programs:
            if program.spec.autoload:
                self.report.programs.append(self._program(program))
        self.report.map_memlock = sum(self._memlock(made.fd) for made in self.loader.maps)
        self.loader.close()

    def _memlock(self, fd: int) -> int:
        return int(self.bpf.fdinfo(fd).get("memlock", 0)) if fd >= 0 else 0

    def _program(self, program: LoadedProgram) -> ProgramReport:
        spec, whole = program.spec, self.report
        found = ProgramReport(
            whole.file,
            spec.name,
            spec.section.removeprefix("?"),
            spec.type_name,
            whole.kernel,
            whole.cpus,
            whole.measured,
            spec.insn_cnt,
        )
        attr, error = self.tried.get(spec.name, (None, None))
        if attr is not None:
            found.processed, found.stack = read_statistics(attr.log)
            if attr.verified is not None:
                found.processed = attr.verified.processed
        if attr is not None and error is None:
            found.ok = not whole.refused
            found.reason = whole.refused
            found.memlock = self._memlock(program.fd)
            found.log = attr.log if self.wish.log_level else ""
            return found
        if attr is None or error is None:
            found.reason = self._said_of(spec.name) or whole.refused
            return found
        found.errno = errno_name(error.code)
        found.log = attr.log
        found.trouble = explain(attr, spec, self.obj.btf)
        said = attr.last_line or found.trouble.reason
        found.reason = said or str(error.detail or error.strerror)
        return found

    def _said_of(self, name: str) -> str:
        start = f"prog '{name}': "
        return next((text for text in self.said if text.startswith(start)), "")
