"""The protocol of execution engines.

An engine compiles a program once; the unit runs it as often as wanted. Which engine runs never
shows in any output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena
    from bpfctl.kernel.bpf.vm.program import VmProgram
    from bpfctl.kernel.bpf.vm.runtime import Context, Runtime
    from bpfctl.kernel.bpf.vm.vm import Vm


class Unit(ABC):
    """A program compiled by an engine, bound to the memory of one kernel."""

    program: VmProgram

    @abstractmethod
    def enter(
        self, rt: Runtime, pc: int, fp: int, r1: int, r2: int, r3: int, r4: int, r5: int
    ) -> int:
        """Run the function that begins at insn ``pc``, with ``fp`` in r10, and return its r0."""

    def run(self, rt: Runtime) -> int:
        """Run the program on ``rt.ctx`` and return r0."""
        rt.unit = self
        rt.prog = self.program.id
        rt.tail_calls = 0
        return self.enter(rt, 0, rt.fp, rt.ctx.addr, 0, 0, 0, 0)

    def repeat(self, rt: Runtime, count: int) -> int:
        """Run the program ``count`` times on the same context; return the last r0."""
        result = 0
        for _ in range(count):
            result = self.run(rt)
        return result

    def run_batch(
        self, rt: Runtime, contexts: Iterable[Context], done: Callable[[Context, int], None]
    ) -> None:
        """Run the program on each context; tell ``done`` of each with its r0."""
        for ctx in contexts:
            rt.ctx = ctx
            done(ctx, self.run(rt))


class Engine(ABC):
    """Makes units. Offered through the ``bpf_engines`` hook."""

    name: ClassVar[str]
    """By what ``--engine`` knows it."""

    def arena(self) -> Arena:
        """Return the memory of programs: a new one, laid out as the engine needs it."""
        from bpfctl.kernel.bpf.vm.arena import Arena

        return Arena()

    @abstractmethod
    def compile(self, vm: Vm, program: VmProgram) -> Unit:
        """Return the program, ready to run."""
