"""Arithmetic on numbers: what an operation does to ranges (adjust_scalar_min_max_vals).

An operation is a function of the destination, which it changes, and the source. Each release has
a table of them (:func:`operations`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.bounds import s32, s64, update_bounds
from bpfctl.kernel.bpf.verifier.rules import Rules
from bpfctl.kernel.bpf.verifier.state import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32_MAX,
    U64_MAX,
    Reg,
)

Op = Callable[[Reg, Reg], None]

ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(0x00, 0xE0, 0x10)

TNUM_MUL = {"half": tnum.mul_half, "long": tnum.mul, "union": tnum.mul_union}


def mark64_unbounded(reg: Reg) -> None:
    """Forget the 64-bit ranges."""
    reg.smin, reg.smax, reg.umin, reg.umax = S64_MIN, S64_MAX, 0, U64_MAX


def mark32_unbounded(reg: Reg) -> None:
    """Forget the 32-bit ranges."""
    reg.s32_min, reg.s32_max, reg.u32_min, reg.u32_max = S32_MIN, S32_MAX, 0, U32_MAX


def mark32_known(reg: Reg, value: int) -> None:
    """Set the low half (__mark_reg32_known)."""
    value &= U32_MAX
    reg.value = reg.value & ~U32_MAX | value
    reg.mask &= ~U32_MAX
    reg.u32_min = reg.u32_max = value
    reg.s32_min = reg.s32_max = s32(value)


# --- addition, subtraction -----------------------------------------------------


def _signed(reg: Reg, low: int, high: int) -> None:
    if low < S64_MIN or high > S64_MAX or low > S64_MAX or high < S64_MIN:
        low, high = S64_MIN, S64_MAX
    reg.smin, reg.smax = low, high


def _signed32(reg: Reg, low: int, high: int) -> None:
    if low < S32_MIN or high > S32_MAX or low > S32_MAX or high < S32_MIN:
        low, high = S32_MIN, S32_MAX
    reg.s32_min, reg.s32_max = low, high


def _unsigned_any(low: int, high: int, top: int) -> tuple[int, int]:
    """Any value over the top: nothing is known."""
    return (low, high) if low >= 0 and high <= top else (0, top)


def _unsigned_all(low: int, high: int, top: int) -> tuple[int, int]:
    """Only when some but not all values go over the top is nothing known (from 6.17)."""
    if (low < 0) != (high < 0) or (low > top) != (high > top):
        return 0, top
    return low & top, high & top


Wrap = Callable[[int, int, int], tuple[int, int]]
WRAPS: dict[str, Wrap] = {"any": _unsigned_any, "all": _unsigned_all}


def _add(wrap: Wrap) -> Op:
    def add(dst: Reg, src: Reg) -> None:
        _signed32(dst, dst.s32_min + src.s32_min, dst.s32_max + src.s32_max)
        dst.u32_min, dst.u32_max = wrap(
            dst.u32_min + src.u32_min, dst.u32_max + src.u32_max, U32_MAX
        )
        _signed(dst, dst.smin + src.smin, dst.smax + src.smax)
        dst.umin, dst.umax = wrap(dst.umin + src.umin, dst.umax + src.umax, U64_MAX)
        dst.value, dst.mask = tnum.add((dst.value, dst.mask), (src.value, src.mask))

    return add


def _sub(wrap: Wrap) -> Op:
    def sub(dst: Reg, src: Reg) -> None:
        _signed32(dst, dst.s32_min - src.s32_max, dst.s32_max - src.s32_min)
        dst.u32_min, dst.u32_max = wrap(
            dst.u32_min - src.u32_max, dst.u32_max - src.u32_min, U32_MAX
        )
        _signed(dst, dst.smin - src.smax, dst.smax - src.smin)
        dst.umin, dst.umax = wrap(dst.umin - src.umax, dst.umax - src.umin, U64_MAX)
        dst.value, dst.mask = tnum.sub((dst.value, dst.mask), (src.value, src.mask))

    return sub


# --- multiplication --------------------------------------------------------------


def _mul_positive(mul: Callable[[tnum.Tnum, tnum.Tnum], tnum.Tnum]) -> Op:
    """Up to 6.14: only two positive numbers of half the width."""

    def multiply(dst: Reg, src: Reg) -> None:
        dst.value, dst.mask = mul((dst.value, dst.mask), (src.value, src.mask))
        if src.s32_min < 0 or dst.s32_min < 0 or max(src.u32_max, dst.u32_max) > 0xFFFF:
            mark32_unbounded(dst)
        else:
            dst.u32_min *= src.u32_min
            dst.u32_max *= src.u32_max
            if dst.u32_max > S32_MAX:
                dst.s32_min, dst.s32_max = S32_MIN, S32_MAX
            else:
                dst.s32_min, dst.s32_max = dst.u32_min, dst.u32_max
        if src.smin < 0 or dst.smin < 0 or max(src.umax, dst.umax) > U32_MAX:
            mark64_unbounded(dst)
        else:
            dst.umin *= src.umin
            dst.umax *= src.umax
            if dst.umax > S64_MAX:
                dst.smin, dst.smax = S64_MIN, S64_MAX
            else:
                dst.smin, dst.smax = dst.umin, dst.umax

    return multiply


def _mul_signed(mul: Callable[[tnum.Tnum, tnum.Tnum], tnum.Tnum]) -> Op:
    """From 6.15: the products of the ends, where they fit."""

    def multiply(dst: Reg, src: Reg) -> None:
        dst.value, dst.mask = mul((dst.value, dst.mask), (src.value, src.mask))
        low, high = dst.u32_min * src.u32_min, dst.u32_max * src.u32_max
        dst.u32_min, dst.u32_max = (low, high) if high <= U32_MAX else (0, U32_MAX)
        ends = [a * b for a in (dst.s32_min, dst.s32_max) for b in (src.s32_min, src.s32_max)]
        fits = min(ends) >= S32_MIN and max(ends) <= S32_MAX
        dst.s32_min, dst.s32_max = (min(ends), max(ends)) if fits else (S32_MIN, S32_MAX)
        low, high = dst.umin * src.umin, dst.umax * src.umax
        dst.umin, dst.umax = (low, high) if high <= U64_MAX else (0, U64_MAX)
        ends = [a * b for a in (dst.smin, dst.smax) for b in (src.smin, src.smax)]
        fits = min(ends) >= S64_MIN and max(ends) <= S64_MAX
        dst.smin, dst.smax = (min(ends), max(ends)) if fits else (S64_MIN, S64_MAX)

    return multiply


MULS = {"positive": _mul_positive, "signed": _mul_signed}


# --- bits ------------------------------------------------------------------------

# What signed ranges follow from the unsigned ones of a bitwise result: "sign" looks at the
# operands (up to 6.9), "cast" at the result.


def _signed_from_unsigned(dst: Reg, positive: bool, cast: bool) -> None:
    if s64(dst.umin) <= s64(dst.umax) if cast else positive:
        dst.smin, dst.smax = s64(dst.umin), s64(dst.umax)
    else:
        dst.smin, dst.smax = S64_MIN, S64_MAX


def _signed32_from_unsigned(dst: Reg, positive: bool, cast: bool) -> None:
    if s32(dst.u32_min) <= s32(dst.u32_max) if cast else positive:
        dst.s32_min, dst.s32_max = s32(dst.u32_min), s32(dst.u32_max)
    else:
        dst.s32_min, dst.s32_max = S32_MIN, S32_MAX


def _bitwise(
    bits: Callable[[tnum.Tnum, tnum.Tnum], tnum.Tnum],
    ends: Callable[[int, int, int, int, int, int], tuple[int, int]],
    cast: bool,
) -> Op:
    """An operation on bits; ``ends(value, mask, dst min, dst max, src min, src max)``."""

    def bitwise(dst: Reg, src: Reg) -> None:
        dst.value, dst.mask = bits((dst.value, dst.mask), (src.value, src.mask))
        known32 = not (src.mask | dst.mask) & U32_MAX
        known = not (src.mask | dst.mask)
        if known32:
            mark32_known(dst, dst.value)
        else:
            positive = dst.s32_min >= 0 and src.s32_min >= 0
            dst.u32_min, dst.u32_max = ends(
                dst.value & U32_MAX,
                dst.mask & U32_MAX,
                dst.u32_min,
                dst.u32_max,
                src.u32_min,
                src.u32_max,
            )
            _signed32_from_unsigned(dst, positive, cast)
        if known:
            dst.set_known(dst.value)
            return
        positive = dst.smin >= 0 and src.smin >= 0
        dst.umin, dst.umax = ends(dst.value, dst.mask, dst.umin, dst.umax, src.umin, src.umax)
        _signed_from_unsigned(dst, positive, cast)
        update_bounds(dst)

    return bitwise


def _and_ends(value: int, mask: int, dmin: int, dmax: int, smin: int, smax: int) -> tuple[int, int]:
    return value, min(dmax, smax)


def _or_ends(value: int, mask: int, dmin: int, dmax: int, smin: int, smax: int) -> tuple[int, int]:
    return max(dmin, smin), value | mask


def _xor_ends(value: int, mask: int, dmin: int, dmax: int, smin: int, smax: int) -> tuple[int, int]:
    return value, value | mask


# --- shifts ----------------------------------------------------------------------


def _lsh32_ranges(dst: Reg, low: int, high: int) -> None:
    dst.s32_min, dst.s32_max = S32_MIN, S32_MAX
    if high > 31 or dst.u32_max > 1 << (31 - high):
        dst.u32_min, dst.u32_max = 0, U32_MAX
    else:
        dst.u32_min <<= low
        dst.u32_max <<= high


def _lsh64(any_sign: bool) -> Op:
    def lsh(dst: Reg, src: Reg) -> None:
        low, high = src.umin, src.umax
        by32 = low == 32 and high == 32
        dst.smax = dst.s32_max << 32 if by32 and (any_sign or dst.s32_max >= 0) else S64_MAX
        dst.smin = dst.s32_min << 32 if by32 and (any_sign or dst.s32_min >= 0) else S64_MIN
        if dst.umax > 1 << (63 - high):
            dst.umin, dst.umax = 0, U64_MAX
        else:
            dst.umin <<= low
            dst.umax <<= high
        _lsh32_ranges(dst, low, high)
        dst.value, dst.mask = tnum.lshift((dst.value, dst.mask), low)
        update_bounds(dst)

    return lsh


def _lsh32(dst: Reg, src: Reg) -> None:
    low = src.u32_min
    _lsh32_ranges(dst, low, src.u32_max)
    dst.value = dst.value << low & U32_MAX
    dst.mask = dst.mask << low & U32_MAX
    _from_low_half(dst)


def _from_low_half(dst: Reg) -> None:
    """Leave the upper half to the zero extension that follows (__update_reg32_bounds)."""
    mark64_unbounded(dst)
    update_bounds(dst)
    mark64_unbounded(dst)


def _rsh32(dst: Reg, src: Reg) -> None:
    low, high = src.u32_min, src.u32_max
    dst.s32_min, dst.s32_max = S32_MIN, S32_MAX
    dst.value = (dst.value & U32_MAX) >> low
    dst.mask = (dst.mask & U32_MAX) >> low
    dst.u32_min >>= high
    dst.u32_max >>= low
    _from_low_half(dst)


def _rsh64(dst: Reg, src: Reg) -> None:
    low, high = src.umin, src.umax
    dst.smin, dst.smax = S64_MIN, S64_MAX
    dst.value >>= low
    dst.mask >>= low
    dst.umin >>= high
    dst.umax >>= low
    mark32_unbounded(dst)
    update_bounds(dst)


def _arsh32(dst: Reg, src: Reg) -> None:
    shift = src.u32_min
    dst.s32_min >>= shift
    dst.s32_max >>= shift
    dst.value, dst.mask = tnum.arshift((dst.value, dst.mask), shift, 32)
    dst.u32_min, dst.u32_max = 0, U32_MAX
    _from_low_half(dst)


def _arsh64(dst: Reg, src: Reg) -> None:
    shift = src.umin
    dst.smin >>= shift
    dst.smax >>= shift
    dst.value, dst.mask = tnum.arshift((dst.value, dst.mask), shift, 64)
    dst.umin, dst.umax = 0, U64_MAX
    mark32_unbounded(dst)
    update_bounds(dst)


def _neg(wrap: Wrap) -> Op:
    subtract = _sub(wrap)

    def neg(dst: Reg, _src: Reg) -> None:
        before = dst.copy()
        dst.set_known(0)
        subtract(dst, before)

    return neg


# --- division (from 7.1) -----------------------------------------------------------


def _forget32_and_bits(dst: Reg) -> None:
    mark32_unbounded(dst)
    dst.value, dst.mask = 0, U64_MAX


def _forget64_and_bits(dst: Reg) -> None:
    mark64_unbounded(dst)
    dst.value, dst.mask = 0, U64_MAX


def _truncated_div(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def _sdiv_ends(low: int, high: int, by: int, least: int, most: int) -> tuple[int, int]:
    if low == least and by == -1:
        return (low, high) if high == least else (least, most)
    ends = (_truncated_div(low, by), _truncated_div(high, by))
    return min(ends), max(ends)


def _smod_ends(low: int, high: int, by: int) -> tuple[int, int] | None:
    """Ranges of a signed remainder, None where it is the dividend."""
    most = abs(by) - 1
    if low >= -most and high <= most:
        return None
    if low >= 0:
        return 0, min(high, most)
    if high <= 0:
        return max(low, -most), 0
    return -most, most


def udiv64(dst: Reg, by: int) -> None:
    """scalar_min_max_udiv()."""
    dst.umin //= by
    dst.umax //= by
    dst.smin, dst.smax = S64_MIN, S64_MAX
    _forget32_and_bits(dst)


def udiv32(dst: Reg, by: int) -> None:
    """scalar32_min_max_udiv()."""
    dst.u32_min //= by
    dst.u32_max //= by
    dst.s32_min, dst.s32_max = S32_MIN, S32_MAX
    _forget64_and_bits(dst)


def sdiv64(dst: Reg, by: int) -> None:
    """scalar_min_max_sdiv()."""
    dst.smin, dst.smax = _sdiv_ends(dst.smin, dst.smax, s64(by), S64_MIN, S64_MAX)
    dst.umin, dst.umax = 0, U64_MAX
    _forget32_and_bits(dst)


def sdiv32(dst: Reg, by: int) -> None:
    """scalar32_min_max_sdiv()."""
    dst.s32_min, dst.s32_max = _sdiv_ends(dst.s32_min, dst.s32_max, s32(by), S32_MIN, S32_MAX)
    dst.u32_min, dst.u32_max = 0, U32_MAX
    _forget64_and_bits(dst)


def umod64(dst: Reg, by: int) -> None:
    """scalar_min_max_umod()."""
    if dst.umax <= by - 1:
        return
    dst.umin, dst.umax = 0, min(dst.umax, by - 1)
    dst.smin, dst.smax = S64_MIN, S64_MAX
    _forget32_and_bits(dst)


def umod32(dst: Reg, by: int) -> None:
    """scalar32_min_max_umod()."""
    if dst.u32_max <= by - 1:
        return
    dst.u32_min, dst.u32_max = 0, min(dst.u32_max, by - 1)
    dst.s32_min, dst.s32_max = S32_MIN, S32_MAX
    _forget64_and_bits(dst)


def smod64(dst: Reg, by: int) -> None:
    """scalar_min_max_smod()."""
    ends = _smod_ends(dst.smin, dst.smax, s64(by))
    if ends is None:
        return
    dst.smin, dst.smax = ends
    dst.umin, dst.umax = 0, U64_MAX
    _forget32_and_bits(dst)


def smod32(dst: Reg, by: int) -> None:
    """scalar32_min_max_smod()."""
    ends = _smod_ends(dst.s32_min, dst.s32_max, s32(by))
    if ends is None:
        return
    dst.s32_min, dst.s32_max = ends
    dst.u32_min, dst.u32_max = 0, U32_MAX
    _forget64_and_bits(dst)


DIVISIONS: dict[tuple[int, bool, bool], Callable[[Reg, int], None]] = {
    (DIV, False, False): udiv64,
    (DIV, False, True): udiv32,
    (DIV, True, False): sdiv64,
    (DIV, True, True): sdiv32,
    (MOD, False, False): umod64,
    (MOD, False, True): umod32,
    (MOD, True, False): smod64,
    (MOD, True, True): smod32,
}
"""By (operation, signed, 32 bits)."""


@cache
def operations(rules: Rules) -> dict[tuple[int, bool], Op]:
    """Return a release's operations by (operation, 32 bits)."""
    wrap = WRAPS[rules.add_overflow]
    cast = rules.bitwise_signed == "cast"
    common: dict[int, Op] = {
        ADD: _add(wrap),
        SUB: _sub(wrap),
        MUL: MULS[rules.mul](TNUM_MUL[rules.tnum_mul]),
        AND: _bitwise(tnum.and_, _and_ends, cast),
        OR: _bitwise(tnum.or_, _or_ends, cast),
        XOR: _bitwise(tnum.xor, _xor_ends, cast),
        NEG: _neg(wrap),
    }
    table = {(op, is32): fn for op, fn in common.items() for is32 in (False, True)}
    table[LSH, False], table[LSH, True] = _lsh64(rules.lsh32_any_sign), _lsh32
    table[RSH, False], table[RSH, True] = _rsh64, _rsh32
    table[ARSH, False], table[ARSH, True] = _arsh64, _arsh32
    return table
