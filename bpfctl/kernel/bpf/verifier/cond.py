"""What a comparison of numbers decides, and what each outcome tells about them."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.bounds import (
    Sync,
    combine_32_into_64,
    combine_64_into_32,
    s32,
    s64,
    sync_simple,
)
from bpfctl.kernel.bpf.verifier.rules import Rules
from bpfctl.kernel.bpf.verifier.scalar import mark32_known
from bpfctl.kernel.bpf.verifier.state import U32_MAX, U64_MAX, Reg

JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE = 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
JLT, JLE, JSLT, JSLE = 0xA0, 0xB0, 0xC0, 0xD0
NOT_JSET = JSET | 0x08

FLIPPED = {JGE: JLE, JGT: JLT, JLE: JGE, JLT: JGT, JSGE: JSLE, JSGT: JSLT, JSLE: JSGE, JSLT: JSGT}
"""The same comparison with its operands swapped; what is not there stays."""

REVERSED = {
    JEQ: JNE, JNE: JEQ, JSET: NOT_JSET, JGE: JLT, JGT: JLE, JLE: JGT, JLT: JGE,
    JSGE: JSLT, JSGT: JSLE, JSLE: JSGT, JSLT: JSGE,
}  # fmt: skip
"""What holds when the branch is not taken."""


def flip(opcode: int) -> int:
    """Swap the operands of a comparison."""
    return FLIPPED.get(opcode, opcode)


def is_const(reg: Reg, is32: bool) -> bool:
    """Whether all (low) bits of a number are known."""
    return not (reg.mask & U32_MAX if is32 else reg.mask)


# --- is it taken? --------------------------------------------------------------------


def _ordered(opcode: int, low1: int, high1: int, low2: int, high2: int) -> int:
    """Decide <, <=, >, >= (given as unsigned opcodes) between two ranges."""
    if opcode == JGT:
        return 1 if low1 > high2 else 0 if high1 <= low2 else -1
    if opcode == JGE:
        return 1 if low1 >= high2 else 0 if high1 < low2 else -1
    if opcode == JLT:
        return 1 if high1 < low2 else 0 if low1 >= high2 else -1
    return 1 if high1 <= low2 else 0 if low1 > high2 else -1


_SIGNED = {JSGT: JGT, JSGE: JGE, JSLT: JLT, JSLE: JLE}


def _jset(v1: int, m1: int, val: int) -> int:
    if ~m1 & v1 & val:
        return 1
    return -1 if (m1 | v1) & val else 0


def taken_by_const(reg: Reg, val: int, opcode: int, is32: bool, jeq_ranges: bool) -> int:
    """Compare with a constant: 1 taken, 0 not, -1 unknown (is_branch_taken up to 6.7)."""
    if is32:
        val &= U32_MAX
        value, mask, sval = reg.value & U32_MAX, reg.mask & U32_MAX, s32(val)
        low, high, slow, shigh = reg.u32_min, reg.u32_max, reg.s32_min, reg.s32_max
    else:
        val &= U64_MAX
        value, mask, sval = reg.value, reg.mask, s64(val)
        low, high, slow, shigh = reg.umin, reg.umax, reg.smin, reg.smax
    if opcode in (JEQ, JNE):
        if not mask:
            return int((value == val) == (opcode == JEQ))
        if jeq_ranges and (val < low or val > high or sval < slow or sval > shigh):
            return int(opcode == JNE)
        return -1
    if opcode == JSET:
        return _jset(value, mask, val)
    if opcode in _SIGNED:
        return _ordered(_SIGNED[opcode], slow, shigh, sval, sval)
    return _ordered(opcode, low, high, val, val)


def _apart(a: Reg, b: Reg, is32: bool) -> bool:
    """Whether two ranges have no number in common."""
    if a.u32_min > b.u32_max or a.u32_max < b.u32_min:
        return True
    if a.s32_min > b.s32_max or a.s32_max < b.s32_min:
        return True
    if is32:
        return False
    return a.umin > b.umax or a.umax < b.umin or a.smin > b.smax or a.smax < b.smin


def taken_same(reg: Reg, opcode: int, is32: bool) -> int:
    """Compare a register with itself (from 7.0)."""
    if opcode in (JGE, JLE, JSGE, JSLE, JEQ):
        return 1
    if opcode in (JGT, JLT, JSGT, JSLT, JNE):
        return 0
    value, mask = (reg.value & U32_MAX, reg.mask & U32_MAX) if is32 else (reg.value, reg.mask)
    low, high = (reg.s32_min, reg.s32_max) if is32 else (reg.smin, reg.smax)
    if not mask:
        return int(value != 0)
    return 1 if low > 0 or high < 0 else -1


def taken_by_ranges(a: Reg, b: Reg, opcode: int, is32: bool, rules: Rules) -> int:
    """Compare two numbers: 1 taken, 0 not, -1 unknown (is_scalar_branch_taken, from 6.8)."""
    if opcode in (JEQ, JNE):
        a_tnum, b_tnum = (a.value, a.mask), (b.value, b.mask)
        if is32:
            a_tnum, b_tnum = tnum.subreg(a_tnum), tnum.subreg(b_tnum)
        if not (a_tnum[1] or b_tnum[1]):
            return int((a_tnum[0] == b_tnum[0]) == (opcode == JEQ))
        if rules.branch_tnum_overlap and not tnum.overlap(a_tnum, b_tnum):
            return int(opcode == JNE)
        return int(opcode == JNE) if _apart(a, b, is32) else -1
    if opcode == JSET:
        if not is_const(b, is32):
            a, b = b, a
        if not is_const(b, is32):
            return -1
        low = U32_MAX if is32 else U64_MAX
        return _jset(a.value & low, a.mask & low, b.value & low)
    if opcode in _SIGNED:
        if is32:
            return _ordered(_SIGNED[opcode], a.s32_min, a.s32_max, b.s32_min, b.s32_max)
        return _ordered(_SIGNED[opcode], a.smin, a.smax, b.smin, b.smax)
    if is32:
        return _ordered(opcode, a.u32_min, a.u32_max, b.u32_min, b.u32_max)
    return _ordered(opcode, a.umin, a.umax, b.umin, b.umax)


# --- what follows, from 6.8 ------------------------------------------------------------


def refine(a: Reg, b: Reg, opcode: int, is32: bool, rules: Rules) -> None:
    """Narrow two numbers for which the comparison holds (regs_refine_cond_op)."""
    if opcode in (JGE, JGT, JSGE, JSGT):
        a, b, opcode = b, a, flip(opcode)
    if opcode == JEQ:
        _refine_equal(a, b, is32)
    elif opcode == JNE:
        _refine_unequal(a, b, is32)
    elif opcode in (JSET, NOT_JSET):
        _refine_bits(a, b, opcode, is32, rules)
    elif opcode in (JLE, JLT):
        less = opcode == JLT
        if is32:
            a.u32_max, b.u32_min = (
                min(a.u32_max, (b.u32_max - less) & U32_MAX),
                max((a.u32_min + less) & U32_MAX, b.u32_min),
            )
        else:
            a.umax, b.umin = (
                min(a.umax, (b.umax - less) & U64_MAX),
                max((a.umin + less) & U64_MAX, b.umin),
            )
    else:
        less = opcode == JSLT
        if is32:
            a.s32_max, b.s32_min = (
                min(a.s32_max, s32(b.s32_max - less)),
                max(s32(a.s32_min + less), b.s32_min),
            )
        else:
            a.smax, b.smin = (
                min(a.smax, s64(b.smax - less)),
                max(s64(a.smin + less), b.smin),
            )


def _refine_equal(a: Reg, b: Reg, is32: bool) -> None:
    if is32:
        a.u32_min = b.u32_min = max(a.u32_min, b.u32_min)
        a.u32_max = b.u32_max = min(a.u32_max, b.u32_max)
        a.s32_min = b.s32_min = max(a.s32_min, b.s32_min)
        a.s32_max = b.s32_max = min(a.s32_max, b.s32_max)
        both = tnum.intersect(tnum.subreg(a.var_off), tnum.subreg(b.var_off))
        a.var_off = tnum.with_subreg(a.var_off, both)
        b.var_off = tnum.with_subreg(b.var_off, both)
        return
    a.umin = b.umin = max(a.umin, b.umin)
    a.umax = b.umax = min(a.umax, b.umax)
    a.smin = b.smin = max(a.smin, b.smin)
    a.smax = b.smax = min(a.smax, b.smax)
    a.var_off = b.var_off = tnum.intersect(a.var_off, b.var_off)


def _refine_unequal(a: Reg, b: Reg, is32: bool) -> None:
    if not is_const(b, is32):
        a, b = b, a
    if not is_const(b, is32):
        return
    if is32:
        val = b.value & U32_MAX
        if a.u32_min == val:
            a.u32_min += 1
        if a.u32_max == val:
            a.u32_max -= 1
        if a.s32_min == s32(val):
            a.s32_min += 1
        if a.s32_max == s32(val):
            a.s32_max -= 1
        return
    val = b.value
    if a.umin == val:
        a.umin += 1
    if a.umax == val:
        a.umax -= 1
    if a.smin == s64(val):
        a.smin += 1
    if a.smax == s64(val):
        a.smax -= 1


def _refine_bits(a: Reg, b: Reg, opcode: int, is32: bool, rules: Rules) -> None:
    if not is_const(b, is32):
        a, b = b, a
    if not is_const(b, is32):
        return
    val = b.value & U32_MAX if is32 else b.value
    if opcode == JSET:
        if val == 0 or val & (val - 1):
            return
        new = tnum.or_(tnum.subreg(a.var_off) if is32 else a.var_off, (val, 0))
    else:
        if rules.jset_forgets:
            a.mark_unbounded()
        keep = (~val & U64_MAX, 0)
        new = tnum.and_(tnum.subreg(a.var_off) if is32 else a.var_off, keep)
    a.var_off = tnum.with_subreg(a.var_off, new) if is32 else new


# --- what follows, up to 6.7 -----------------------------------------------------------


def set_min_max(true: Reg, false: Reg, val: int, opcode: int, is32: bool) -> None:
    """Narrow a number in both outcomes of a comparison with ``val`` (reg_set_min_max)."""
    if is32:
        val &= U32_MAX
        _set_min_max32(true, false, val, opcode)
        combine_32_into_64(false)
        combine_32_into_64(true)
    else:
        val &= U64_MAX
        _set_min_max64(true, false, val, opcode)
        combine_64_into_32(false)
        combine_64_into_32(true)


def _set_min_max32(true: Reg, false: Reg, val: int, opcode: int) -> None:
    sval = s32(val)
    if opcode == JEQ:
        mark32_known(true, val)
    elif opcode == JNE:
        mark32_known(false, val)
    elif opcode == JSET:
        low = tnum.and_(tnum.subreg(false.var_off), (~val & U32_MAX, 0))
        false.var_off = tnum.with_subreg(false.var_off, low)
        if val and not val & (val - 1):
            low = tnum.or_(tnum.subreg(true.var_off), (val, 0))
            true.var_off = tnum.with_subreg(true.var_off, low)
    elif opcode in (JGE, JGT):
        gt = opcode == JGT
        false.u32_max = min(false.u32_max, val if gt else (val - 1) & U32_MAX)
        true.u32_min = max(true.u32_min, (val + 1) & U32_MAX if gt else val)
    elif opcode in (JSGE, JSGT):
        gt = opcode == JSGT
        false.s32_max = min(false.s32_max, sval if gt else s32(sval - 1))
        true.s32_min = max(true.s32_min, s32(sval + 1) if gt else sval)
    elif opcode in (JLE, JLT):
        lt = opcode == JLT
        false.u32_min = max(false.u32_min, val if lt else (val + 1) & U32_MAX)
        true.u32_max = min(true.u32_max, (val - 1) & U32_MAX if lt else val)
    else:
        lt = opcode == JSLT
        false.s32_min = max(false.s32_min, sval if lt else s32(sval + 1))
        true.s32_max = min(true.s32_max, s32(sval - 1) if lt else sval)


def _set_min_max64(true: Reg, false: Reg, val: int, opcode: int) -> None:
    sval = s64(val)
    if opcode == JEQ:
        true.set_known(val)
    elif opcode == JNE:
        false.set_known(val)
    elif opcode == JSET:
        false.var_off = tnum.and_(false.var_off, (~val & U64_MAX, 0))
        if val and not val & (val - 1):
            true.var_off = tnum.or_(true.var_off, (val, 0))
    elif opcode in (JGE, JGT):
        gt = opcode == JGT
        false.umax = min(false.umax, val if gt else (val - 1) & U64_MAX)
        true.umin = max(true.umin, (val + 1) & U64_MAX if gt else val)
    elif opcode in (JSGE, JSGT):
        gt = opcode == JSGT
        false.smax = min(false.smax, sval if gt else s64(sval - 1))
        true.smin = max(true.smin, s64(sval + 1) if gt else sval)
    elif opcode in (JLE, JLT):
        lt = opcode == JLT
        false.umin = max(false.umin, val if lt else (val + 1) & U64_MAX)
        true.umax = min(true.umax, (val - 1) & U64_MAX if lt else val)
    else:
        lt = opcode == JSLT
        false.smin = max(false.smin, sval if lt else s64(sval + 1))
        true.smax = min(true.smax, s64(sval - 1) if lt else sval)


def combine_equal(a: Reg, b: Reg) -> None:
    """Two numbers are the same (__reg_combine_min_max)."""
    a.umin = b.umin = max(a.umin, b.umin)
    a.umax = b.umax = min(a.umax, b.umax)
    a.smin = b.smin = max(a.smin, b.smin)
    a.smax = b.smax = min(a.smax, b.smax)
    a.var_off = b.var_off = tnum.intersect(a.var_off, b.var_off)
    sync_simple(a)
    sync_simple(b)


def learn(
    true: tuple[Reg, Reg],
    false: tuple[Reg, Reg],
    opcode: int,
    is32: bool,
    rules: Rules,
    sync: Sync,
) -> None:
    """Narrow both numbers in both outcomes (reg_set_min_max, from 6.8)."""
    refine(false[0], false[1], REVERSED[opcode], is32, rules)
    sync(false[0])
    sync(false[1])
    refine(true[0], true[1], opcode, is32, rules)
    sync(true[0])
    sync(true[1])
