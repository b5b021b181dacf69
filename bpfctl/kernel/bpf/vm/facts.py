"""What is known of registers: intervals, alignment, and what a pointer points into.

A forward analysis of one function, sound by itself: it believes no verifier. The engines leave out
masks, checks and unaligned accesses where it allows.
"""

from __future__ import annotations

from heapq import heappop, heappush

from bpfctl.isa import insn as isa
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.cfg import Block, Flow
from bpfctl.kernel.bpf.vm.program import CODE_BASE, VmProgram, imm64

U64, U32 = sem.U64, sem.U32
NUM, STACK, CTX, VALUE, MAP = range(5)
"""What a register holds: a number; a pointer into the frame, the context, a value of map ``base``;
the map ``base`` itself. ``lo`` and ``hi`` of pointers are offsets."""
WIDEN_AFTER = 3
MAX_OFFSET = 1 << 29
MIN_OFFSET = -4096
"""No region begins below its negative: a pointer with a smaller offset could wrap."""
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}

Value = tuple[int, int, int, int, int, int]
"""kind, base, lo, hi, m, r: the number or address is ``r`` modulo ``m`` (1, 2, 4 or 8)."""
ANY: Value = (NUM, 0, 0, U64, 1, 0)
FRAME: Value = (STACK, 0, 0, 0, 8, 0)
CONTEXT: Value = (CTX, 0, 0, 0, 8, 0)
State = tuple[Value, ...]


def number(lo: int, hi: int, m: int = 1, r: int = 0) -> Value:
    """Return a number between two bounds."""
    if lo == hi:
        return (NUM, 0, lo, hi, 8, lo & 7)
    return (NUM, 0, lo, hi, m, r)


def sized(nbytes: int) -> Value:
    """Return any number of ``nbytes``."""
    return number(0, (1 << 8 * nbytes) - 1)


def join(a: Value, b: Value) -> Value:
    """Return what holds for both."""
    if a == b:
        return a
    m, r = _join_align(a, b)
    if a[:2] == b[:2] and a[0] != MAP:
        return (a[0], a[1], min(a[2], b[2]), max(a[3], b[3]), m, r)
    if a[0] == NUM and b[0] == NUM:
        return (NUM, 0, min(a[2], b[2]), max(a[3], b[3]), m, r)
    return (NUM, 0, 0, U64, m, r)


def _join_align(a: Value, b: Value) -> tuple[int, int]:
    m = min(a[4], b[4])
    while m > 1 and a[5] % m != b[5] % m:
        m >>= 1
    return m, a[5] % m


def widen(old: Value, new: Value, steps: list[int]) -> Value:
    """Return a bound of ``new`` that can only move a few times more."""
    if old[:2] != new[:2] or old[0] == MAP:
        return new
    lo, hi = new[2], new[3]
    if old[0] != NUM:
        if (lo, hi) == old[2:4]:
            return new
        return (NUM, 0, 0, U64, new[4], new[5])
    if lo < old[2]:
        lo = max((step for step in steps if step <= lo), default=0)
    if hi > old[3]:
        hi = min((step for step in steps if step >= hi), default=U64)
    return (NUM, 0, lo, hi, new[4], new[5])


# --- arithmetic ----------------------------------------------------------------


def _add(a: Value, b: Value) -> Value:
    m = min(a[4], b[4])
    r = (a[5] + b[5]) % m
    if a[0] == NUM and b[0] == NUM:
        if a[3] + b[3] <= U64:
            return number(a[2] + b[2], a[3] + b[3], m, r)
        if b[2] == b[3] and a[2] + b[2] > U64:
            return number(a[2] + b[2] - U64 - 1, a[3] + b[3] - U64 - 1, m, r)
        return number(0, U64, m, r)
    if b[0] != NUM:
        a, b = b, a
    if b[0] != NUM or a[0] == MAP:
        return number(0, U64, m, r)
    lo, hi = _signed(b)
    if lo is None or hi is None:
        return number(0, U64, m, r)
    return _moved(a, a[2] + lo, a[3] + hi, m, r)


def _signed(b: Value) -> tuple[int, int] | tuple[None, None]:
    """Return the interval of a number as an offset, None when it may be large."""
    if b[3] < MAX_OFFSET:
        return b[2], b[3]
    if b[2] > U64 - MAX_OFFSET:
        return b[2] - U64 - 1, b[3] - U64 - 1
    return None, None


def _moved(a: Value, lo: int, hi: int, m: int, r: int) -> Value:
    if lo > MIN_OFFSET and hi < MAX_OFFSET:
        return (a[0], a[1], lo, hi, m, r)
    return number(0, U64, m, r)


def _sub(a: Value, b: Value) -> Value:
    m = min(a[4], b[4])
    r = (a[5] - b[5]) % m
    if a[0] == NUM and b[0] == NUM:
        if a[2] >= b[3]:
            return number(a[2] - b[3], a[3] - b[2], m, r)
        return number(0, U64, m, r)
    if a[0] not in (NUM, MAP) and b[0] == NUM:
        lo, hi = _signed(b)
        if lo is not None and hi is not None:
            return _moved(a, a[2] - hi, a[3] - lo, m, r)
    return number(0, U64, m, r)


def _mul(a: Value, b: Value, top: int) -> Value:
    m, r = 1, 0
    if b[2] == b[3]:
        m = min(8, (b[2] & -b[2]) * a[4]) if b[2] else 8
        r = (a[5] * b[2]) % m
    if a[3] * b[3] <= top:
        return number(a[2] * b[2], a[3] * b[3], m, r)
    return number(0, top, m, r)


def _and(a: Value, b: Value) -> Value:
    hi = min(a[3], b[3])
    if b[2] == b[3] and b[2]:
        low = min(8, b[2] & -b[2])
        return number(0, hi, low, 0)
    return number(0, hi)


def _or(a: Value, b: Value) -> Value:
    bits = max(a[3].bit_length(), b[3].bit_length())
    m = min(a[4], b[4])
    return number(0, (1 << bits) - 1, m, (a[5] | b[5]) % m)


def _xor(a: Value, b: Value) -> Value:
    found = _or(a, b)
    return (*found[:5], (a[5] ^ b[5]) % found[4])


def _lsh(a: Value, b: Value, top: int) -> Value:
    if b[2] != b[3]:
        return number(0, top)
    shift = b[2] & (63 if top == U64 else 31)
    m = min(8, a[4] << shift)
    r = (a[5] << shift) % m
    if a[3] << shift <= top:
        return number(a[2] << shift, a[3] << shift, m, r)
    return number(0, top, m, r)


def _rsh(a: Value, b: Value, top: int) -> Value:
    if b[2] != b[3]:
        return number(0, a[3])
    shift = b[2] & (63 if top == U64 else 31)
    return number(a[2] >> shift, a[3] >> shift)


def _arsh(a: Value, b: Value, top: int) -> Value:
    return _rsh(a, b, top) if a[3] <= top >> 1 else number(0, top)


def _div(a: Value, b: Value) -> Value:
    return number(0, a[3])


def _mod(a: Value, b: Value) -> Value:
    return number(0, min(a[3], b[3] - 1) if b[2] > 0 else a[3])


def alu(insn: Insn, a: Value, b: Value) -> Value:
    """Return the result of an operation on what is known of its operands."""
    wide = insn.code & 7 == isa.BPF_ALU64
    op = insn.code & 0xF0
    top = U64 if wide else U32
    if op == 0xD0:
        return sized(insn.imm >> 3)
    if op == 0xB0:
        return _mov(insn, b, wide)
    if not wide:
        a, b = low(a), low(b)
    if insn.off == 1 and op in (0x30, 0x90):
        return number(0, top)
    if op == 0x00 and not wide and b[2] == b[3] and b[2] > top >> 1 and a[2] > top - b[2]:
        return _sub(a, number(top + 1 - b[2], top + 1 - b[2]))
    if wide and op in (0x00, 0x10):
        return _add(a, b) if op == 0 else _sub(a, b)
    if a[0] != NUM:
        a = (NUM, 0, 0, U64, a[4], a[5])
    if b[0] != NUM:
        b = (NUM, 0, 0, U64, b[4], b[5])
    found = _PLAIN[op](a, b, top) if op in _PLAIN else number(0, top)
    return found if found[3] <= top else number(0, top, found[4], found[5])


def low(a: Value) -> Value:
    """Return the low 32 bits of what is known."""
    if a[0] == NUM and a[3] <= U32:
        return a
    return (NUM, 0, 0, U32, a[4], a[5])


def _mov(insn: Insn, b: Value, wide: bool) -> Value:
    if insn.off and insn.code & isa.BPF_X:
        if insn.off in (1, -1):
            return ANY
        half = 1 << (insn.off - 1)
        if b[0] == NUM and b[3] < half:
            return b
        return number(0, U64 if wide else U32)
    return b if wide else low(b)


_PLAIN = {
    0x00: lambda a, b, top: _add(a, b),
    0x10: lambda a, b, top: _sub(a, b),
    0x20: _mul,
    0x30: lambda a, b, top: _div(a, b),
    0x40: lambda a, b, top: _or(a, b),
    0x50: lambda a, b, top: _and(a, b),
    0x60: _lsh,
    0x70: _rsh,
    0x80: lambda a, b, top: number(0, top),
    0x90: lambda a, b, top: _mod(a, b),
    0xA0: lambda a, b, top: _xor(a, b),
    0xC0: _arsh,
}


# --- instructions ----------------------------------------------------------------


def operand(insn: Insn, state: State) -> Value:
    """Return what is known of the second operand of an ALU or jump insn."""
    if insn.code & isa.BPF_X:
        return state[insn.src]
    wide = insn.code & 7 in (isa.BPF_ALU64, isa.BPF_JMP)
    imm = insn.imm & (U64 if wide else U32)
    return number(imm, imm)


def after(program: VmProgram, pc: int, state: State) -> State:
    """Return what is known behind an insn that goes on."""
    insn = program.insns[pc]
    cls = insn.code & 7
    if cls in (isa.BPF_ALU, isa.BPF_ALU64):
        return _set(state, insn.dst, alu(insn, state[insn.dst], operand(insn, state)))
    if cls == isa.BPF_LDX:
        size = SIZES[insn.code & 0x18]
        return _set(state, insn.dst, ANY if insn.code & 0xE0 == 0x80 else sized(size))
    if insn.code == isa.LD_IMM64:
        return _set(state, insn.dst, constant(program, pc))
    if cls == isa.BPF_LD:
        return _called(state, sized(SIZES[insn.code & 0x18]))
    if cls == isa.BPF_STX and insn.code & 0xE0 == 0xC0:
        return _atomic(insn, state)
    if insn.code == isa.CALL:
        return _called(state, _result(insn, state))
    return state


def constant(program: VmProgram, pc: int) -> Value:
    """Return what an ``ld_imm64`` loads."""
    insn = program.insns[pc]
    if insn.src == isa.PSEUDO_MAP_FD:
        return (MAP, insn.imm, 0, 0, 8, 0)
    if insn.src == isa.PSEUDO_MAP_VALUE:
        at = program.insns[pc + 1].imm & U32
        return (VALUE, insn.imm, at, at, 8, at & 7) if at < MAX_OFFSET else ANY
    if insn.src == isa.PSEUDO_FUNC:
        value = CODE_BASE + pc + 1 + insn.imm
        return number(value, value)
    if insn.src:
        return ANY
    value = imm64(program.insns, pc)
    return number(value, value)


def _result(insn: Insn, state: State) -> Value:
    if insn.src == 0 and insn.imm == 1 and state[1][0] == MAP:
        # NULL is 0: aligned as well, and at no offset that an access could use.
        return (NUM, 0, 0, U32, 8, 0)
    return ANY


def _called(state: State, result: Value) -> State:
    return (result, *state[1:])


def _atomic(insn: Insn, state: State) -> State:
    size = SIZES[insn.code & 0x18]
    if insn.imm == sem.CMPXCHG:
        return _set(state, 0, sized(size))
    if insn.imm == sem.LOAD_ACQ:
        return _set(state, insn.dst, sized(size))
    if insn.imm & sem.FETCH:
        return _set(state, insn.src, sized(size))
    return state


def _set(state: State, reg: int, value: Value) -> State:
    return (*state[:reg], value, *state[reg + 1 :])


# --- branches ----------------------------------------------------------------------


def refine(insn: Insn, state: State, taken: bool) -> State:
    """Return what is known on one side of a branch on a constant."""
    op = insn.code & 0xF0
    a, b = state[insn.dst], operand(insn, state)
    if insn.dst == 10 or a[0] != NUM or b[0] != NUM or b[2] != b[3]:
        return state
    wide = insn.code & 7 == isa.BPF_JMP
    if not wide and a[3] > U32:
        return state
    k = b[2] & (U64 if wide else U32)
    if op in _SIGNED:
        if a[3] > (U64 if wide else U32) >> 1 or k > (U64 if wide else U32) >> 1:
            return state
        op = _SIGNED[op]
    lo, hi = _bounds(op, a[2], a[3], k, taken)
    if lo > hi:
        return state  # this side is never reached
    return _set(state, insn.dst, number(lo, hi, a[4], a[5]))


_SIGNED = {0x60: 0x20, 0x70: 0x30, 0xC0: 0xA0, 0xD0: 0xB0}
_NOT = {0x10: 0x50, 0x50: 0x10, 0x20: 0xB0, 0xB0: 0x20, 0x30: 0xA0, 0xA0: 0x30}


def _bounds(op: int, lo: int, hi: int, k: int, taken: bool) -> tuple[int, int]:
    if not taken:
        op = _NOT.get(op, 0)
    if op == 0x10:
        return max(lo, k), min(hi, k)
    if op == 0x50:
        return lo + (lo == k), hi - (hi == k)
    if op == 0x20:
        return max(lo, k + 1), hi
    if op == 0x30:
        return max(lo, k), hi
    if op == 0xA0:
        return lo, min(hi, k - 1)
    if op == 0xB0:
        return lo, min(hi, k)
    return lo, hi


# --- the fixpoint --------------------------------------------------------------------


class Facts:
    """What is known at the start of every block of a function.

    ``main``: r1 is the context and the other registers are zero.
    """

    def __init__(self, flow: Flow, main: bool) -> None:
        self.flow = flow
        zero = number(0, 0)
        first = CONTEXT if main else ANY
        others = zero if main else ANY
        self._entry: State = (zero, first, *[others] * 4, *[zero] * 4, FRAME)
        self.at: dict[int, State] = {flow.blocks[0].index: self._entry}
        self._steps = self._thresholds()
        self._run()

    def _thresholds(self) -> list[int]:
        found = {0, 1, 0xFF, 0xFFFF, U32, U64}
        for insn in self.flow.insns[self.flow.start : self.flow.end]:
            if insn.code & 7 in (isa.BPF_JMP, isa.BPF_JMP32) and insn.imm > 0:
                found.update((insn.imm - 1, insn.imm, insn.imm + 1))
        return sorted(found)

    def _run(self) -> None:
        visits: dict[int, int] = {}
        todo = [0]
        queued = {0}
        while todo:
            index = heappop(todo)
            queued.discard(index)
            block = self.flow.blocks[index]
            for succ, state in self.leaving(block):
                changed = self._merge(succ.index, state, succ.index <= index, visits)
                if changed and succ.index not in queued:
                    queued.add(succ.index)
                    heappush(todo, succ.index)

    def _merge(self, index: int, state: State, back: bool, visits: dict[int, int]) -> bool:
        old = self.at.get(index)
        if old is None:
            self.at[index] = state
            return True
        new = tuple([join(a, b) for a, b in zip(old, state, strict=True)])
        if new == old:
            return False
        visits[index] = visits.get(index, 0) + 1
        if (back and visits[index] > WIDEN_AFTER) or visits[index] > 4 * WIDEN_AFTER:
            new = tuple([widen(a, b, self._steps) for a, b in zip(old, new, strict=True)])
        self.at[index] = new
        return True

    def leaving(self, block: Block) -> list[tuple[Block, State]]:
        """Return what is known on each way out of a block."""
        state = self.at[block.index]
        program = self.flow.program
        last = self.flow.last(block)
        pc = block.start
        while pc < last:
            state = after(program, pc, state)
            pc += 2 if program.insns[pc].code == isa.LD_IMM64 else 1
        insn = program.insns[last]
        if len(block.succs) == 2 and insn.code & 0xF0 != sem.JCOND:
            return [
                (block.succs[0], refine(insn, state, False)),
                (block.succs[1], refine(insn, state, True)),
            ]
        state = after(program, last, state)
        return [(succ, state) for succ in block.succs]
