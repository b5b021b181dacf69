"""What a kernel has for running programs: the arena, maps in it, compiled programs, stacks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, EngineError, KernelError
from bpfctl.isa.insn import PSEUDO_FUNC, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, Insn
from bpfctl.kernel.bpf.vm.arena import Arena, Fault, Region
from bpfctl.kernel.bpf.vm.choose import engine_named
from bpfctl.kernel.bpf.vm.engine import Engine, Unit
from bpfctl.kernel.bpf.vm.maps import MapHandle
from bpfctl.kernel.bpf.vm.mirrors import Mirrors
from bpfctl.kernel.bpf.vm.program import CODE_BASE, VmProgram, imm64
from bpfctl.kernel.bpf.vm.runtime import (
    MAX_TAIL_CALLS,
    MAX_TURNS,
    STACK_BYTES,
    PlainContext,
    Runtime,
)

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.trace import Tracer
    from bpfctl.kernel.kernel import Kernel

Body = Callable[..., int]

MAX_NESTED = 8
"""Programs that may run at once, each started by what the one before did."""


class Vm:
    """One for each kernel that runs a program, made when the first one runs.

    Runs may nest (a program's helper fires an event that runs another program). What they changed
    in maps is written back when the outermost one ends.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.engine: Engine = engine_named(kernel.engine or kernel.config.engine)
        self.arena: Arena = self.engine.arena()
        self.tracer: Tracer | None = None
        self.running: list[Runtime] = []
        self._handles: dict[int, MapHandle] = {}
        self._at: dict[int, MapHandle] = {}
        self._units: dict[int, Unit] = {}
        self._stacks: list[Region] = []
        self._retired: list[Region] = []
        self.reserved: dict[int, Any] = {}
        """Ring buffer records that programs are filling in, by address."""
        self.mirrors = Mirrors(self.arena)
        self.frames: int = getattr(kernel.profile.progs, "call_frames", 8)

    # --- maps ------------------------------------------------------------------

    def handle(self, map_id: int) -> MapHandle:
        """Return a map by id, moving it into the arena.

        :raises KernelError: ENOENT.
        """
        found = self._handles.get(map_id)
        if found is None:
            found = MapHandle(self, self.kernel.maps.get(map_id))
            self._handles[map_id] = self._at[found.addr] = found
        return found

    def handle_at(self, addr: int) -> MapHandle:
        """Return the map that an address stands for.

        :raises KernelError: EFAULT.
        """
        found = self._at.get(addr)
        if found is None:
            raise KernelError(E.FAULT, f"no map at {addr:#x}")
        return found

    def map_gone(self, map_id: int) -> None:
        """Told that a map was freed."""
        found = self._handles.pop(map_id, None)
        if found is not None:
            del self._at[found.addr]
            found.release()

    def prog_gone(self, prog_id: int) -> None:
        """Told that a program was freed."""
        self._units.pop(prog_id, None)

    def retire(self, region: Region) -> None:
        """Unmap a region once nothing runs that may hold its address."""
        self._retired.append(region)

    # --- programs ----------------------------------------------------------------

    def unit(self, prog_id: int) -> Unit:
        """Return a loaded program, compiled.

        :raises KernelError: ENOENT.
        """
        if self.tracer is not None:
            return self._traced(prog_id)
        found = self._units.get(prog_id)
        if found is None:
            found = self._units[prog_id] = self.compiled(self.program(prog_id))
        return found

    def _traced(self, prog_id: int) -> Unit:
        from bpfctl.kernel.bpf.vm.interp import InterpUnit

        unit = InterpUnit(self, self.program(prog_id))
        if self.tracer is not None:
            unit.trace = self.tracer.before
        return unit

    def compiled(self, program: VmProgram) -> Unit:
        """Return any program, compiled."""
        return self.engine.compile(self, program)

    def program(self, prog_id: int) -> VmProgram:
        """Return a loaded program, decoded.

        :raises KernelError: ENOENT.
        """
        rec = self.kernel.progs.get(prog_id)
        source = getattr(rec, "source", b"") or rec.insns
        trusted = bool(rec.priv.get("verified"))
        return VmProgram(source, list(rec.priv.get("starts", ())), rec.id, rec.type, trusted)

    def constant(self, program: VmProgram, pc: int) -> int:
        """Return what the ``ld_imm64`` at ``pc`` loads: a number, or the address of something."""
        insn, low = program.insns[pc], program.insns[pc].imm
        if insn.src == PSEUDO_MAP_FD:
            return self.handle(low).addr
        if insn.src == PSEUDO_MAP_VALUE:
            return self.handle(low).values() + (program.insns[pc + 1].imm & 0xFFFFFFFF)
        if insn.src == PSEUDO_FUNC:
            return CODE_BASE + pc + 1 + low
        return imm64(program.insns, pc)

    def helper(self, number: int) -> tuple[Body, int]:
        """Return a helper as ``body(rt, ...)``, and how many arguments it takes.

        What has no implementation is refused when it is called: EOPNOTSUPP ends the run.
        """
        from bpfctl.kernel.bpf.vm.calls import helper_body

        return helper_body(number)

    def kfunc(self, insn: Insn) -> tuple[Body, int]:
        """Return a kernel function that an insn calls, as :meth:`helper` does."""
        from bpfctl.kernel.bpf.vm.calls import kfunc_body

        return kfunc_body(insn)

    def use_engine(self, name: str) -> None:
        """Run programs with another engine. Each has its memory, so none may have run before.

        :raises EngineError: there is no such engine, or it comes too late.
        """
        if self._handles or self._stacks:
            raise EngineError("programs have run: it is too late for another engine")
        self.engine = engine_named(name)
        self.arena = self.engine.arena()
        self.mirrors = Mirrors(self.arena)

    # --- runs ----------------------------------------------------------------------

    def begin(self, ctx: Any, cpu: int = 0) -> Runtime:
        """Start a run; :meth:`end` must follow.

        :raises KernelError: EBUSY, too many programs run inside each other.
        """
        level = len(self.running)
        if level >= MAX_NESTED:
            raise KernelError(E.BUSY, "nested programs")
        if level == len(self._stacks):
            # Each tail call out of a subprogram leaves the frames below it where they are.
            nbytes = self.frames * STACK_BYTES * (MAX_TAIL_CALLS + 1)
            self._stacks.append(self.arena.alloc(nbytes, "stack"))
        stack = self._stacks[level]
        usual = self.frames * STACK_BYTES
        self.arena.buf[stack.start : stack.start + usual] = bytes(usual)
        rt = Runtime(self, ctx, cpu, stack.start, stack.end)
        self.running.append(rt)
        return rt

    def end(self, rt: Runtime) -> None:
        """End a run; the outermost writes maps back."""
        popped = self.running.pop()
        assert popped is rt
        if not self.running:
            self.flush()

    def flush(self) -> None:
        """Write back what programs changed."""
        for handle in list(self._handles.values()):
            handle.flush()
        for region in self._retired:
            self.arena.free(region)
        self._retired.clear()

    def run(self, prog_id: int, ctx: Any, cpu: int = 0) -> int:
        """Run a program once on a context and return its r0, 64 bits.

        :raises KernelError: EINTR (stopped), EFAULT (it touched what it must not).
        """
        return self.repeat(prog_id, ctx, 1, cpu)

    def run_state(self, prog_id: int, ctx: Any, cpu: int = 0) -> tuple[int, dict[str, Any]]:
        """Run a program once; return its r0 and what its helpers left behind (redirects).

        :raises KernelError: as :meth:`run`.
        """
        rt = self.begin(ctx, cpu)
        try:
            unit = self.unit(prog_id)
            rt.turns = MAX_TURNS
            return unit.repeat(rt, 1), rt.state
        except Fault as fault:
            raise KernelError(E.FAULT, str(fault), hint=f"program {prog_id}: {fault}") from fault
        except RecursionError:
            raise KernelError(E.FAULT, "recursion") from None
        finally:
            self.end(rt)

    def call(self, prog_id: int, func: int, *args: int) -> int:
        """Call a function of a program, outside of any run of it; return its r0.

        :param func: the index of its first insn.
        :raises KernelError: as :meth:`run`.
        """
        rt = self.begin(PlainContext(0), self.kernel.ctx.cpu)
        try:
            with self.guarded(f"program {prog_id}"):
                rt.unit = unit = self.unit(prog_id)
                rt.prog = prog_id
                return unit.enter(rt, func, rt.fp, *(*args, 0, 0, 0, 0, 0)[:5])
        finally:
            self.end(rt)

    def repeat(self, prog_id: int, ctx: Any, count: int, cpu: int = 0) -> int:
        """Run a program ``count`` times on one context and return the last r0."""
        rt = self.begin(ctx, cpu)
        try:
            with self.guarded(f"program {prog_id}"):
                unit = self.unit(prog_id)
                rt.turns = MAX_TURNS * max(count, 1)
                return unit.repeat(rt, count)
        finally:
            self.end(rt)

    @contextmanager
    def guarded(self, who: str) -> Iterator[None]:
        """Turn what a program must not do into EFAULT: no such thing leaves the machine."""
        try:
            yield
        except Fault as fault:
            raise KernelError(E.FAULT, str(fault), hint=f"{who}: {fault}") from fault
        except (IndexError, struct.error) as exc:
            # An access beyond the arena: engines that check nothing notice no earlier.
            raise KernelError(E.FAULT, "invalid access", hint=f"{who}: invalid access") from exc
        except RecursionError:
            raise KernelError(E.FAULT, "too many frames", hint=f"{who}: too many frames") from None
