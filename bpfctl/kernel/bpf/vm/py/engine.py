"""The engine ``py``: binds a program's source to the memory of a kernel, and runs it."""

from __future__ import annotations

import struct
from types import CodeType
from typing import TYPE_CHECKING, Any

from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.arena import Fault
from bpfctl.kernel.bpf.vm.engine import Engine, Unit
from bpfctl.kernel.bpf.vm.interp import InterpUnit
from bpfctl.kernel.bpf.vm.maps import MapHandle
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.py import cache
from bpfctl.kernel.bpf.vm.py.mapcalls import MapShape, shape_of
from bpfctl.kernel.bpf.vm.py.source import write
from bpfctl.kernel.bpf.vm.resident import ResidentCells, ResidentTable
from bpfctl.kernel.bpf.vm.runtime import BudgetSpent, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from bpfctl.kernel.bpf.vm.vm import Vm

_STRUCTS = {2: struct.Struct("<H"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}


def _spent(rt: Runtime) -> None:
    raise BudgetSpent()


def _deep(fp: int) -> None:
    raise Fault(fp, 512, True)


def _invalid(pc: int) -> None:
    raise Fault(pc, 8, False)


def _tail(rt: Runtime, unit: Unit, fp: int) -> int:
    """Go on with another program in the place of the function that tail-calls."""
    before, number = rt.caller, rt.prog
    rt.prog = unit.program.id
    try:
        return unit.enter(rt, 0, fp, rt.ctx.addr, 0, 0, 0, 0)
    finally:
        rt.unit = before
        rt.prog = number


PLAIN: dict[str, Any] = {
    "spent": _spent,
    "deep": _deep,
    "invalid": _invalid,
    "tail": _tail,
    "sdiv": sem.sdiv,
    "smod": sem.smod,
    "from_bytes": int.from_bytes,
    **{f"u{size}": packed.unpack_from for size, packed in _STRUCTS.items()},
    **{f"p{size}": packed.pack_into for size, packed in _STRUCTS.items()},
}


class PyUnit(Unit):
    """A program as Python functions."""

    def __init__(self, vm: Vm, program: VmProgram) -> None:
        self.program = program
        self._vm = vm
        shapes: dict[int, MapShape] = {}
        for map_id in program.map_ids:
            shape = shape_of(vm, map_id)
            if shape is not None:
                shapes[map_id] = shape
        code, binds = _compiled(program, shapes)
        names = {name: self._bound(kind, number) for name, (kind, number) in binds.items()}
        exec(code, names)
        self._functions: dict[int, Callable[..., int]] = {
            start: names[f"f{start}"] for start in program.starts
        }
        self._main = self._functions[0]

    def _bound(self, kind: str, number: int) -> Any:
        vm, arena = self._vm, self._vm.arena
        if kind in PLAIN:
            return PLAIN[kind]
        if kind in ("m1", "m2", "m4", "m8"):
            return {"m1": arena.buf, "m2": arena.m2, "m4": arena.m4, "m8": arena.m8}[kind]
        if kind == "check":
            return arena.check
        if kind == "helper":
            return vm.helper(number)[0]
        if kind == "kfunc":
            return vm.kfunc(self.program.insns[number])[0]
        if kind == "constant":
            return vm.constant(self.program, number)
        if kind == "value":
            return vm.handle(number >> 2).values() >> (number & 3)
        return _map_part(vm.handle(number), kind)

    def enter(
        self, rt: Runtime, pc: int, fp: int, r1: int, r2: int, r3: int, r4: int, r5: int
    ) -> int:
        function = self._functions.get(pc)
        if function is None:
            raise Fault(pc, 8, False)
        before = rt.caller
        rt.unit = rt.caller = self
        try:
            return function(rt, r1, r2, r3, r4, r5, fp)
        finally:
            rt.caller = before

    def repeat(self, rt: Runtime, count: int) -> int:
        """Run the program ``count`` times on the same context."""
        rt.unit = rt.caller = self
        rt.prog = self.program.id
        main, fp, ctx, result = self._main, rt.fp, rt.ctx, 0
        for _ in range(count):
            rt.tail_calls = 0
            result = main(rt, ctx.addr, 0, 0, 0, 0, fp)
            rt.fp = fp
        return result

    def run(self, rt: Runtime) -> int:
        return self.repeat(rt, 1)


def _map_part(handle: MapHandle, kind: str) -> Any:
    resident = handle.resident
    if kind == "table" and isinstance(resident, ResidentTable):
        return resident.region.start
    assert isinstance(resident, ResidentCells)
    if kind == "cells":
        return resident.table.get
    size = handle.rec.key_size
    address = resident.address
    return lambda key: address(key.to_bytes(size, "little"))


def _compiled(
    program: VmProgram, shapes: dict[int, MapShape]
) -> tuple[CodeType, dict[str, tuple[str, int]]]:
    key = cache.key_of(program, sorted(shapes.items()))
    found = cache.load(key) if key else None
    if found is not None:
        return found
    source = write(program, program.trusted, shapes)
    code = compile(source.text, f"<program {program.id}>", "exec")
    if key:
        cache.store(key, code, source.binds)
    return code, source.binds


class PyEngine(Engine):
    """The engine ``py``."""

    name = "py"

    def compile(self, vm: Vm, program: VmProgram) -> Unit:
        try:
            return PyUnit(vm, program)
        except ValueError:
            # Control leaves a function: only the interpreter runs up to there.
            return InterpUnit(vm, program)


@hookimpl
def bpf_engines() -> list[type[Engine]]:
    """Offer the engine of this file."""
    return [PyEngine]
