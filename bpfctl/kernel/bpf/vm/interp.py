"""The interpreter: one step a closure for each insn, every access checked against the regions.

It is the oracle of the other engines, and what ``prog trace`` steps through. A step takes the
registers of its frame and returns the index of the next insn; see the indexes below for what else
a frame holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.hookspecs import hookimpl
from bpfctl.isa import insn as isa
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.arena import READ, RW, WRITE, Arena, Fault
from bpfctl.kernel.bpf.vm.engine import Engine, Unit
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.runtime import STACK_BYTES, Runtime

if TYPE_CHECKING:
    from bpfctl.isa.insn import Insn
    from bpfctl.kernel.bpf.vm.vm import Vm

RT, LOOPS = 11, 12
"""Behind the registers: the runtime, and rounds of may_goto left."""
DONE, TAIL = -1, -2
"""Instead of an index: the function returned; a tail call takes its place."""
MAY_GOTO_ROUNDS = 1 << 23
TAIL_CALL = 12

Step = Callable[[list[Any]], int]
Trace = Callable[["InterpUnit", int, list[Any]], None]

SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}


class InterpUnit(Unit):
    """A decoded program. ``trace``, if set, is told before every insn."""

    def __init__(self, vm: Vm, program: VmProgram) -> None:
        self.program = program
        self.vm = vm
        self.trace: Trace | None = None
        self.executed = 0
        self.steps = [_decode(vm, program, pc) for pc in range(len(program))]

    def enter(
        self, rt: Runtime, pc: int, fp: int, r1: int, r2: int, r3: int, r4: int, r5: int
    ) -> int:
        rt.unit = self
        regs: list[Any] = [0, r1, r2, r3, r4, r5, 0, 0, 0, 0, fp, rt, MAY_GOTO_ROUNDS]
        unit = self
        while True:
            rt.fp = fp
            done = unit._loop(pc, regs)
            if done == DONE:
                return int(regs[0])
            following = rt.tail_unit
            assert following is not None
            rt.prog = following.program.id
            if not isinstance(following, InterpUnit):
                return following.enter(rt, 0, fp, rt.ctx.addr, 0, 0, 0, 0)
            following.trace = unit.trace
            unit, pc = following, 0
            regs[1:10] = [rt.ctx.addr, 0, 0, 0, 0, 0, 0, 0, 0]
            regs[LOOPS] = MAY_GOTO_ROUNDS

    def _loop(self, pc: int, regs: list[Any]) -> int:
        steps, trace, count = self.steps, self.trace, 0
        try:
            if trace is None:
                while pc >= 0:
                    count += 1
                    pc = steps[pc](regs)
            else:
                while pc >= 0:
                    count += 1
                    trace(self, pc, regs)
                    pc = steps[pc](regs)
        finally:
            self.executed += count
        return pc


class Interpreter(Engine):
    """The engine ``interp``."""

    name = "interp"

    def compile(self, vm: Vm, program: VmProgram) -> Unit:
        return InterpUnit(vm, program)


# --- decoding ----------------------------------------------------------------


def _decode(vm: Vm, program: VmProgram, pc: int) -> Step:
    """Return the step of an insn; what cannot be run is refused when it is reached."""
    insn = program.insns[pc]
    return _BY_CLASS[insn.code & 7](vm, program, pc, insn)


def _invalid(pc: int) -> Step:
    def step(regs: list[Any]) -> int:
        raise Fault(pc, 8, False)

    return step


def _alu(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    width = 64 if insn.code & 7 == isa.BPF_ALU64 else 32
    op, dst, src, following = insn.code & 0xF0, insn.dst, insn.src, pc + 1
    if op == 0xD0:
        return _end(insn, width, following)
    from_reg = insn.code & isa.BPF_X
    if op == 0xB0 and from_reg and insn.off:
        return _movsx(insn, width, following)
    if op not in sem.ALU:
        return _invalid(pc)
    fn = sem.alu_function(sem.alu_row(op, insn.off == 1), width)
    mask = sem.MASK[width]
    imm = insn.imm & mask

    if from_reg and width == 64:

        def step(regs: list[Any]) -> int:
            regs[dst] = fn(regs[dst], regs[src])
            return following

    elif from_reg:

        def step(regs: list[Any]) -> int:
            regs[dst] = fn(regs[dst] & mask, regs[src] & mask)
            return following

    else:

        def step(regs: list[Any]) -> int:
            regs[dst] = fn(regs[dst] & mask, imm)
            return following

    return step


def _movsx(insn: Insn, width: int, following: int) -> Step:
    dst, src, bits = insn.dst, insn.src, insn.off

    def step(regs: list[Any]) -> int:
        regs[dst] = sem.sign_extend(regs[src], bits, width)
        return following

    def cast(regs: list[Any]) -> int:
        # addr_space_cast: pointers into an arena map are arena offsets in both spaces.
        regs[dst] = regs[src]
        return following

    return step if bits > 1 else cast


def _end(insn: Insn, width: int, following: int) -> Step:
    dst, bits = insn.dst, insn.imm
    swap = width == 64 or insn.code & isa.BPF_X
    mask = sem.MASK[bits]

    def swapped(regs: list[Any]) -> int:
        regs[dst] = sem.bswap(regs[dst], bits)
        return following

    def truncated(regs: list[Any]) -> int:
        regs[dst] &= mask
        return following

    return swapped if swap else truncated


def _jump(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    op = insn.code & 0xF0
    width = 64 if insn.code & 7 == isa.BPF_JMP else 32
    if op == sem.JA:
        return _goto(pc, insn.off if width == 64 else insn.imm)
    if op == sem.CALL:
        return _call(vm, pc, insn)
    if op == sem.EXIT:
        return lambda regs: DONE
    if op == sem.JCOND:
        return _may_goto(pc, insn.off)
    return _branch(pc, insn, width)


def _goto(pc: int, offset: int) -> Step:
    target = pc + 1 + offset
    if offset >= 0:
        return lambda regs: target

    def step(regs: list[Any]) -> int:
        regs[RT].turn()
        return target

    return step


def _may_goto(pc: int, offset: int) -> Step:
    target, following = pc + 1 + offset, pc + 1

    def step(regs: list[Any]) -> int:
        if not regs[LOOPS]:
            return target
        regs[LOOPS] -= 1
        return following

    return step


def _branch(pc: int, insn: Insn, width: int) -> Step:
    dst, src = insn.dst, insn.src
    target, following, back = pc + 1 + insn.off, pc + 1, insn.off < 0
    row = sem.JUMPS.get(insn.code & 0xF0)
    if row is None:
        return _invalid(pc)
    fn, mask = sem.jump_function(row, width), sem.MASK[width]
    imm = insn.imm & mask

    def by_reg(regs: list[Any]) -> int:
        if not fn(regs[dst] & mask, regs[src] & mask):
            return following
        if back:
            regs[RT].turn()
        return target

    def by_imm(regs: list[Any]) -> int:
        if not fn(regs[dst] & mask, imm):
            return following
        if back:
            regs[RT].turn()
        return target

    return by_reg if insn.code & isa.BPF_X else by_imm


# --- calls -------------------------------------------------------------------


def _call(vm: Vm, pc: int, insn: Insn) -> Step:
    following = pc + 1
    if insn.src == isa.PSEUDO_CALL:
        return _call_function(vm, pc, pc + 1 + insn.imm)
    if insn.src == 0 and insn.imm == TAIL_CALL:
        return _tail_call(following)
    body, nr_args = vm.kfunc(insn) if insn.src else vm.helper(insn.imm)
    end = 1 + nr_args

    def step(regs: list[Any]) -> int:
        rt = regs[RT]
        rt.fp = regs[10]
        regs[0] = body(rt, *regs[1:end])
        return following

    return step


def _tail_call(following: int) -> Step:
    def step(regs: list[Any]) -> int:
        rt = regs[RT]
        found = rt.tail_call(regs[2], regs[3])
        if found is None:
            return following
        rt.tail_unit = found
        return TAIL

    return step


def _call_function(vm: Vm, pc: int, target: int) -> Step:
    following = pc + 1

    def step(regs: list[Any]) -> int:
        rt: Runtime = regs[RT]
        rt.turn()
        fp = regs[10] + STACK_BYTES
        if fp > rt.stack_end:
            raise Fault(fp, STACK_BYTES, True)
        unit = rt.unit
        assert unit is not None
        regs[0] = unit.enter(rt, target, fp, *regs[1:6])
        rt.unit = unit
        rt.prog = unit.program.id
        rt.fp = regs[10]
        return following

    return step


# --- memory ------------------------------------------------------------------


def _load_imm(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    mode = insn.code & 0xE0
    if insn.code == isa.LD_IMM64:
        return _ld_imm64(vm, program, pc, insn)
    if mode in (0x20, 0x40):
        return _legacy(pc, insn, mode)
    return _invalid(pc)


def _ld_imm64(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    if pc + 1 >= len(program):
        return _invalid(pc)
    dst, following = insn.dst, pc + 2
    value = vm.constant(program, pc)

    def step(regs: list[Any]) -> int:
        regs[dst] = value
        return following

    return step


def _legacy(pc: int, insn: Insn, mode: int) -> Step:
    size, src, following = SIZES[insn.code & 0x18], insn.src, pc + 1
    indirect, base = mode == 0x40, insn.imm

    def step(regs: list[Any]) -> int:
        offset = base + regs[src] if indirect else base
        value = regs[RT].legacy_load(offset, size)
        if value is None:
            regs[0] = 0
            return DONE
        regs[0] = value
        return following

    return step


def _load(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    size = SIZES[insn.code & 0x18]
    mode = insn.code & 0xE0
    if mode not in (0x60, 0x80):
        return _invalid(pc)
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1
    arena = vm.arena
    buf, check = arena.buf, arena.check
    half = 1 << (8 * size - 1) if mode == 0x80 else 0

    def step(regs: list[Any]) -> int:
        addr = regs[src] + off & sem.U64
        check(addr, size, READ)
        regs[dst] = int.from_bytes(buf[addr : addr + size], "little")
        return following

    def signed(regs: list[Any]) -> int:
        addr = regs[src] + off & sem.U64
        check(addr, size, READ)
        value = int.from_bytes(buf[addr : addr + size], "little")
        regs[dst] = (value ^ half) - half & sem.U64
        return following

    return signed if half else step


def _store_imm(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    if insn.code & 0xE0 != 0x60:
        return _invalid(pc)
    size = SIZES[insn.code & 0x18]
    dst, off, following = insn.dst, insn.off, pc + 1
    packed = (insn.imm & sem.MASK[8 * size]).to_bytes(size, "little")
    arena = vm.arena
    buf, check = arena.buf, arena.check

    def step(regs: list[Any]) -> int:
        addr = regs[dst] + off & sem.U64
        check(addr, size, WRITE)
        buf[addr : addr + size] = packed
        return following

    return step


def _store(vm: Vm, program: VmProgram, pc: int, insn: Insn) -> Step:
    size = SIZES[insn.code & 0x18]
    mode = insn.code & 0xE0
    if mode == 0xC0:
        return _atomic(vm.arena, pc, insn, size)
    if mode != 0x60:
        return _invalid(pc)
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1
    mask = sem.MASK[8 * size]
    arena = vm.arena
    buf, check = arena.buf, arena.check

    def step(regs: list[Any]) -> int:
        addr = regs[dst] + off & sem.U64
        check(addr, size, WRITE)
        buf[addr : addr + size] = (regs[src] & mask).to_bytes(size, "little")
        return following

    return step


# --- atomics -----------------------------------------------------------------


def _atomic(arena: Arena, pc: int, insn: Insn, size: int) -> Step:
    """Return an atomic operation; one thread runs, so that reading and writing is enough."""
    if insn.imm == sem.LOAD_ACQ:
        return _load_acquire(arena, pc, insn, size)
    if insn.imm == sem.STORE_REL:
        return _store_release(arena, pc, insn, size)
    if insn.imm == sem.CMPXCHG:
        return _cmpxchg(arena, pc, insn, size)
    row = sem.ATOMIC.get(insn.imm & ~sem.FETCH)
    if row is None:
        return _invalid(pc)
    fetch = insn.imm & sem.FETCH
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1
    mask = sem.MASK[8 * size]
    fn = sem.atomic_function(row, 8 * size)
    buf, check = arena.buf, arena.check

    def step(regs: list[Any]) -> int:
        addr = regs[dst] + off & sem.U64
        check(addr, size, RW)
        old = int.from_bytes(buf[addr : addr + size], "little")
        new = fn(old, regs[src] & mask)
        buf[addr : addr + size] = new.to_bytes(size, "little")
        if fetch:
            regs[src] = old
        return following

    return step


def _cmpxchg(arena: Arena, pc: int, insn: Insn, size: int) -> Step:
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1
    mask = sem.MASK[8 * size]
    buf, check = arena.buf, arena.check

    def step(regs: list[Any]) -> int:
        addr = regs[dst] + off & sem.U64
        check(addr, size, RW)
        old = int.from_bytes(buf[addr : addr + size], "little")
        if old == regs[0] & mask:
            buf[addr : addr + size] = (regs[src] & mask).to_bytes(size, "little")
        regs[0] = old
        return following

    return step


def _load_acquire(arena: Arena, pc: int, insn: Insn, size: int) -> Step:
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1

    def step(regs: list[Any]) -> int:
        regs[dst] = arena.load(regs[src] + off & sem.U64, size)
        return following

    return step


def _store_release(arena: Arena, pc: int, insn: Insn, size: int) -> Step:
    dst, src, off, following = insn.dst, insn.src, insn.off, pc + 1

    def step(regs: list[Any]) -> int:
        arena.store(regs[dst] + off & sem.U64, size, regs[src])
        return following

    return step


_BY_CLASS: tuple[Callable[[Any, VmProgram, int, Any], Step], ...] = (
    _load_imm,
    _load,
    _store_imm,
    _store,
    _alu,
    _jump,
    _jump,
    _alu,
)


@hookimpl
def bpf_engines() -> list[type[Engine]]:
    """Offer the engine of this file."""
    return [Interpreter]
