"""The engine ``wasm``: compiles programs to WebAssembly modules over the arena."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.vm.arena import Arena, Fault
from bpfctl.kernel.bpf.vm.engine import Engine, Unit
from bpfctl.kernel.bpf.vm.interp import InterpUnit
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.py.mapcalls import TABLE, MapShape, shape_of
from bpfctl.kernel.bpf.vm.runtime import BudgetSpent, Context, Runtime
from bpfctl.kernel.bpf.vm.wasm.host import Machine, WasmTrap
from bpfctl.kernel.bpf.vm.wasm.module import Module
from bpfctl.kernel.bpf.vm.wasm.translate import Places

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.vm import Vm

TURNS, TAILED, CPU, STACK_END = range(0, 32, 8)
BATCH = 1024
"""Contexts that one call runs on: Ctrl-C is seen between calls, and by :meth:`WasmUnit.tick`."""


class WasmUnit(Unit):
    """A program as a module."""

    def __init__(self, vm: Vm, engine: WasmEngine, program: VmProgram) -> None:
        self.program = program
        self._vm = vm
        self._cells = engine.cells(vm)
        self._rt: Runtime | None = None
        at = self._cells
        places = Places(at + TURNS, at + TAILED, at + CPU, at + STACK_END)
        module = Module(
            program,
            engine.machine.pages,
            places,
            lambda pc: vm.constant(program, pc),
            self._tables(),
        )
        code = module.encode()
        imports = [
            (self._host(kind, number), nr_args)
            for (kind, number), (_, nr_args) in module.imports.items()
        ]
        self._calls = engine.machine.instantiate(code, imports)
        self._in_module = not any(
            kind in ("helper", "kfunc", "tail", "legacy") for kind, _ in module.imports
        )

    def _tables(self) -> dict[int, tuple[MapShape, int]]:
        found = {}
        for map_id in self.program.map_ids:
            shape = shape_of(self._vm, map_id)
            if shape is not None and shape.kind == TABLE:
                found[map_id] = (shape, self._vm.handle(map_id).values())
        return found

    # --- what modules call -----------------------------------------------------------

    def _host(self, kind: str, number: int) -> Callable[..., int]:
        if kind in ("helper", "kfunc"):
            vm = self._vm
            insn = self.program.insns[number] if kind == "kfunc" else None
            body = vm.helper(number)[0] if insn is None else vm.kfunc(insn)[0]
            return self._helper(body)
        found: Callable[..., int] = getattr(self, f"_{kind}")
        return found

    def _helper(self, body: Callable[..., int]) -> Callable[..., int]:
        def call(fp: int, *args: int) -> int:
            rt = self._running()
            rt.fp = fp
            result = body(rt, *args)
            self._resume(rt)
            return result

        return call

    def _running(self) -> Runtime:
        rt = self._rt
        assert rt is not None
        rt.turns = self._vm.arena.m8[(self._cells + TURNS) >> 3]
        return rt

    def _resume(self, rt: Runtime) -> None:
        """Go on after Python, which may have run other programs meanwhile."""
        self._rt = rt
        self._fill_cells(rt)

    def _fill_cells(self, rt: Runtime) -> None:
        cells, at = self._vm.arena.m8, self._cells >> 3
        cells[at] = max(rt.turns, 0)
        cells[at + (CPU >> 3)] = rt.cpu
        cells[at + (STACK_END >> 3)] = rt.stack_end

    def _check(self, addr: int, what: int) -> int:
        self._vm.arena.check(addr, what >> 2, what & 3)
        return 0

    def _tick(self, turns: int) -> int:
        """Called now and then, so that Ctrl-C is seen, and when all turns are spent."""
        if turns == 0:
            raise BudgetSpent()
        return 0

    def _deep(self, fp: int) -> int:
        raise Fault(fp, 512, True)

    def _tail(self, fp: int, map_addr: int, index: int) -> int:
        rt = self._running()
        unit = rt.tail_call(map_addr, index)
        result, tailed = 0, unit is not None
        if unit is not None:
            number, caller = rt.prog, rt.caller
            rt.prog = unit.program.id
            try:
                result = unit.enter(rt, 0, fp, rt.ctx.addr, 0, 0, 0, 0)
            finally:
                rt.unit, rt.prog, rt.caller = self, number, caller
        self._resume(rt)
        self._vm.arena.m8[(self._cells + TAILED) >> 3] = int(tailed)
        return result

    def _legacy(self, offset: int, size: int) -> int:
        rt = self._running()
        found = rt.legacy_load(offset, size)
        self._resume(rt)
        return -1 if found is None else found

    # --- running -----------------------------------------------------------------------

    def _call(self, rt: Runtime, name: str, *args: int) -> int:
        before = self._rt
        rt.unit = rt.caller = self
        self._resume(rt)
        try:
            return self._calls[name](*args)
        except WasmTrap as trap:
            raise Fault(0, 0, False) from trap
        finally:
            rt.turns = self._vm.arena.m8[(self._cells + TURNS) >> 3]
            self._rt = before

    def enter(
        self, rt: Runtime, pc: int, fp: int, r1: int, r2: int, r3: int, r4: int, r5: int
    ) -> int:
        name = f"f{pc}"
        if name not in self._calls:
            raise Fault(pc, 8, False)
        return self._call(rt, name, r1, r2, r3, r4, r5, fp)

    def repeat(self, rt: Runtime, count: int) -> int:
        """Run the program ``count`` times on the same context, within the module if it can."""
        if not self._in_module or count <= 1:
            return super().repeat(rt, count)
        rt.prog = self.program.id
        return self._call(rt, "repeat", count, rt.ctx.addr, rt.fp)

    def run_batch(
        self, rt: Runtime, contexts: Iterable[Context], done: Callable[[Context, int], None]
    ) -> None:
        """Run the program on each context, many at a call where it needs nothing outside."""
        if not self._in_module:
            super().run_batch(rt, contexts, done)
            return
        waiting: list[Context] = []
        for ctx in contexts:
            waiting.append(ctx)
            if len(waiting) == BATCH:
                self._batch(rt, waiting, done)
                waiting = []
        if waiting:
            self._batch(rt, waiting, done)

    def _batch(
        self, rt: Runtime, waiting: list[Context], done: Callable[[Context, int], None]
    ) -> None:
        arena, count = self._vm.arena, len(waiting)
        region = arena.alloc(16 * count, "cell")
        try:
            start = region.start >> 3
            for at, ctx in enumerate(waiting):
                arena.m8[start + at] = ctx.addr
            rt.prog = self.program.id
            self._call(rt, "batch", count, region.start, rt.fp, region.start + 8 * count)
            results = arena.m8[start + count : start + 2 * count].tolist()
        finally:
            arena.free(region)
        for ctx, result in zip(waiting, results, strict=True):
            done(ctx, result)


class WasmEngine(Engine):
    """The engine ``wasm``."""

    name = "wasm"

    def __init__(self) -> None:
        self.machine = Machine()
        self._cells: Any = None

    def arena(self) -> Arena:
        return Arena(self.machine.view)

    def cells(self, vm: Vm) -> int:
        """Return where numbers that modules share with Python are."""
        if self._cells is None:
            self._cells = vm.arena.alloc(32, "cell")
        return int(self._cells.start)

    def compile(self, vm: Vm, program: VmProgram) -> Unit:
        try:
            return WasmUnit(vm, self, program)
        except ValueError:
            return InterpUnit(vm, program)


@hookimpl
def bpf_engines() -> list[type[Engine]]:
    """Offer the engine of this file."""
    return [WasmEngine]
