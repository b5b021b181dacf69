"""Ranges of numbers: deriving each of them from the others (reg_bounds_sync).

A register has unsigned and signed ranges of all 64 bits and of the low 32, and a tnum. Each
function here changes the register that it gets, which must not be in a state yet.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.verifier.state import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32_MAX,
    U64_MAX,
    Reg,
)

HIGH = U64_MAX & ~U32_MAX
HIGH_SIGNED = ~U32_MAX

Sync = Callable[[Reg], None]


def s32(value: int) -> int:
    """The low 32 bits as a signed number."""
    value &= U32_MAX
    return value - (1 << 32) if value > S32_MAX else value


def s64(value: int) -> int:
    """The low 64 bits as a signed number."""
    value &= U64_MAX
    return value - (1 << 64) if value > S64_MAX else value


def update_bounds(reg: Reg) -> None:
    """Narrow the ranges by what is known of the bits (__update_reg_bounds)."""
    value, mask = reg.value, reg.mask
    low_value, low_mask = value & U32_MAX, mask & U32_MAX
    low_max = low_value | low_mask
    if low_value > reg.u32_min:
        reg.u32_min = low_value
    if low_max < reg.u32_max:
        reg.u32_max = low_max
    smallest = s32(low_value | (low_mask & 0x80000000))
    if smallest > reg.s32_min:
        reg.s32_min = smallest
    largest = s32(low_value | (low_mask & S32_MAX))
    if largest < reg.s32_max:
        reg.s32_max = largest
    high = value | mask
    if value > reg.umin:
        reg.umin = value
    if high < reg.umax:
        reg.umax = high
    smallest = s64(value | (mask & (1 << 63)))
    if smallest > reg.smin:
        reg.smin = smallest
    largest = s64(value | (mask & S64_MAX))
    if largest < reg.smax:
        reg.smax = largest


def bound_offset(reg: Reg) -> None:
    """Narrow what is known of the bits by the ranges (__reg_bound_offset)."""
    low, high = reg.umin, reg.umax
    bits = (low ^ high).bit_length()
    if bits > 63:
        value, mask = reg.value, reg.mask
    else:
        delta = (1 << bits) - 1
        mask = reg.mask & delta
        value = (reg.value | (low & ~delta)) & ~mask
    low, high = reg.u32_min, reg.u32_max
    delta = (1 << (low ^ high).bit_length()) - 1
    low_mask = mask & U32_MAX & delta
    low_value = (value & U32_MAX | (low & ~delta)) & ~low_mask
    reg.value = value & HIGH | low_value
    reg.mask = mask & HIGH | low_mask


# --- up to 6.7: each width by itself -------------------------------------------


def _deduce32_simple(reg: Reg) -> None:
    if reg.s32_min >= 0 or reg.s32_max < 0:
        low = max(reg.s32_min & U32_MAX, reg.u32_min)
        high = min(reg.s32_max & U32_MAX, reg.u32_max)
        reg.u32_min, reg.s32_min = low, s32(low)
        reg.u32_max, reg.s32_max = high, s32(high)
    elif reg.u32_max <= S32_MAX:
        reg.s32_min = reg.u32_min
        reg.s32_max = reg.u32_max = min(reg.s32_max, reg.u32_max)
    elif reg.u32_min > S32_MAX:
        low = max(reg.s32_min & U32_MAX, reg.u32_min)
        reg.u32_min, reg.s32_min = low, s32(low)
        reg.s32_max = s32(reg.u32_max)


def _deduce64_simple(reg: Reg) -> None:
    if reg.smin >= 0 or reg.smax < 0:
        low = max(reg.smin & U64_MAX, reg.umin)
        high = min(reg.smax & U64_MAX, reg.umax)
        reg.umin, reg.smin = low, s64(low)
        reg.umax, reg.smax = high, s64(high)
    elif reg.umax <= S64_MAX:
        reg.smin = reg.umin
        reg.smax = reg.umax = min(reg.smax, reg.umax)
    elif reg.umin > S64_MAX:
        low = max(reg.smin & U64_MAX, reg.umin)
        reg.umin, reg.smin = low, s64(low)
        reg.smax = s64(reg.umax)


def sync_simple(reg: Reg) -> None:
    """reg_bounds_sync() up to 6.7: nothing passes between the widths but through the tnum."""
    update_bounds(reg)
    _deduce32_simple(reg)
    _deduce64_simple(reg)
    bound_offset(reg)
    update_bounds(reg)


def combine_64_into_32(reg: Reg) -> None:
    """Take the 32-bit ranges anew from the 64-bit ones (__reg_combine_64_into_32)."""
    reg.s32_min, reg.s32_max, reg.u32_min, reg.u32_max = S32_MIN, S32_MAX, 0, U32_MAX
    if reg.smin >= S32_MIN and reg.smax <= S32_MAX:
        reg.s32_min, reg.s32_max = reg.smin, reg.smax
    if reg.umax <= U32_MAX:
        reg.u32_min, reg.u32_max = reg.umin, reg.umax
    sync_simple(reg)


def assign_32_into_64(reg: Reg) -> None:
    """Take the 64-bit ranges from the 32-bit ones of a zero-extended value."""
    reg.umin, reg.umax = reg.u32_min, reg.u32_max
    if reg.s32_min >= 0 and reg.s32_max >= 0:
        reg.smin, reg.smax = reg.s32_min, reg.s32_max
    else:
        reg.smin, reg.smax = 0, U32_MAX


def combine_32_into_64(reg: Reg) -> None:
    """Take the 64-bit ranges anew from the 32-bit ones (__reg_combine_32_into_64)."""
    if not (reg.value | reg.mask) & HIGH:
        assign_32_into_64(reg)
    else:
        reg.smin, reg.smax, reg.umin, reg.umax = S64_MIN, S64_MAX, 0, U64_MAX
    sync_simple(reg)


# --- from 6.8: the widths inform each other ------------------------------------


def _deduce32(reg: Reg) -> None:
    umin, umax, smin, smax = reg.umin, reg.umax, reg.smin, reg.smax
    u32_min, u32_max, s32_min, s32_max = reg.u32_min, reg.u32_max, reg.s32_min, reg.s32_max
    umin_low, umax_low = umin & U32_MAX, umax & U32_MAX
    smin_low, smax_low = smin & U32_MAX, smax & U32_MAX
    umin_s, umax_s = s32(umin_low), s32(umax_low)
    smin_s, smax_s = s32(smin_low), s32(smax_low)
    if umin >> 32 == umax >> 32:
        u32_min, u32_max = max(u32_min, umin_low), min(u32_max, umax_low)
        if umin_s <= umax_s:
            s32_min, s32_max = max(s32_min, umin_s), min(s32_max, umax_s)
    if smin >> 32 == smax >> 32:
        if smin_low <= smax_low:
            u32_min, u32_max = max(u32_min, smin_low), min(u32_max, smax_low)
        if smin_s <= smax_s:
            s32_min, s32_max = max(s32_min, smin_s), min(s32_max, smax_s)
    if (umin >> 32) + 1 & U32_MAX == umax >> 32 and umin_s < 0 <= umax_s:
        s32_min, s32_max = max(s32_min, umin_s), min(s32_max, umax_s)
    if (smin >> 32) + 1 & U32_MAX == smax >> 32 & U32_MAX and smin_s < 0 <= smax_s:
        s32_min, s32_max = max(s32_min, smin_s), min(s32_max, smax_s)
    low, high = s32(u32_min), s32(u32_max)
    if low <= high:
        s32_min, s32_max = max(s32_min, low), min(s32_max, high)
    low, high = s32_min & U32_MAX, s32_max & U32_MAX
    if low <= high:
        u32_min, u32_max = max(u32_min, low), min(u32_max, high)
    reg.u32_min, reg.u32_max, reg.s32_min, reg.s32_max = u32_min, u32_max, s32_min, s32_max


def _deduce64(reg: Reg) -> None:
    low, high = s64(reg.umin), s64(reg.umax)
    if low <= high:
        if low > reg.smin:
            reg.smin = low
        if high < reg.smax:
            reg.smax = high
    low, high = reg.smin & U64_MAX, reg.smax & U64_MAX
    if low <= high:
        if low > reg.umin:
            reg.umin = low
        if high < reg.umax:
            reg.umax = high


def _deduce64_crossing(reg: Reg) -> None:
    """As :func:`_deduce64`, and where the signed range crosses zero (from 6.17)."""
    _deduce64(reg)
    low, high = reg.smin & U64_MAX, reg.smax & U64_MAX
    if low > high:
        if reg.umax < low:
            reg.smin = s64(reg.umin)
            reg.umax = min(reg.umax, high)
        elif high < reg.umin:
            reg.smax = s64(reg.umax)
            reg.umin = max(reg.umin, low)


def _deduce_mixed(reg: Reg) -> None:
    low, high = reg.u32_min, reg.u32_max
    umin = max(reg.umin, reg.umin & HIGH | low)
    umax = min(reg.umax, reg.umax & HIGH | high)
    smin = max(reg.smin, reg.smin & HIGH_SIGNED | low)
    smax = min(reg.smax, reg.smax & HIGH_SIGNED | high)
    low, high = reg.s32_min & U32_MAX, reg.s32_max & U32_MAX
    if low <= high:
        umin, umax = max(umin, umin & HIGH | low), min(umax, umax & HIGH | high)
        smin = max(smin, smin & HIGH_SIGNED | low)
        smax = min(smax, smax & HIGH_SIGNED | high)
    if reg.s32_min >= 0 and smin >= S32_MIN and smax <= S32_MAX:
        smin = umin = reg.s32_min
        smax = umax = reg.s32_max
        delta = (1 << (umin ^ umax).bit_length()) - 1
        mask = reg.mask & delta
        reg.value, reg.mask = (reg.value | (umin & ~delta)) & ~mask, mask
    reg.umin, reg.umax, reg.smin, reg.smax = umin, umax, smin, smax


def _ranges(reg: Reg) -> tuple[int, ...]:
    return (
        reg.smin, reg.smax, reg.umin, reg.umax, reg.s32_min, reg.s32_max, reg.u32_min, reg.u32_max,
    )  # fmt: skip


def _joint(reg: Reg, rounds: int, deduce64: Sync) -> None:
    update_bounds(reg)
    before = _ranges(reg)
    for _ in range(rounds):
        _deduce32(reg)
        deduce64(reg)
        _deduce_mixed(reg)
        after = _ranges(reg)
        if after == before:
            break
        before = after
    bound_offset(reg)
    update_bounds(reg)


def sync_joint(reg: Reg) -> None:
    """reg_bounds_sync() from 6.8: two rounds."""
    _joint(reg, 2, _deduce64)


def sync_crossing(reg: Reg) -> None:
    """reg_bounds_sync() from 6.17: three rounds, and signed ranges across zero."""
    _joint(reg, 3, _deduce64_crossing)


SYNC: dict[str, Sync] = {
    "simple": sync_simple,
    "joint": sync_joint,
    "crossing": sync_crossing,
}


# --- casts -----------------------------------------------------------------------


def zext_32_to_64(reg: Reg, sync: Sync) -> None:
    """Clear the upper half, keeping the 32-bit ranges (zext_32_to_64)."""
    reg.value &= U32_MAX
    reg.mask &= U32_MAX
    assign_32_into_64(reg)
    sync(reg)


def coerce_to_size(reg: Reg, size: int, sync: Sync, simple: bool) -> None:
    """Zero-extend from ``size`` bytes (coerce_reg_to_size)."""
    mask = (1 << size * 8) - 1
    reg.value &= mask
    reg.mask &= mask
    if reg.umin & ~mask == reg.umax & ~mask:
        reg.umin &= mask
        reg.umax &= mask
    else:
        reg.umin, reg.umax = 0, mask
    reg.smin, reg.smax = reg.umin, reg.umax
    if simple:
        if size < 4:
            combine_64_into_32(reg)
        return
    if size < 4:
        reg.s32_min, reg.s32_max, reg.u32_min, reg.u32_max = S32_MIN, S32_MAX, 0, U32_MAX
    sync(reg)


def coerce_to_size_sx(reg: Reg, size: int) -> None:
    """Sign-extend from ``size`` bytes (coerce_reg_to_size_sx)."""
    bits = size * 8
    sign = 1 << (bits - 1)
    low = (1 << bits) - 1
    if not reg.mask:
        value = reg.value & low
        reg.set_known(value - (1 << bits) if value & sign else value)
        return
    top_smax = reg.smax & ~low & U64_MAX
    top_smin = reg.smin & ~low & U64_MAX
    if top_smax == top_smin:
        high, lowest = _sext(reg.smax, bits), _sext(reg.smin, bits)
        largest, smallest = max(high, lowest), min(high, lowest)
        if (largest >= 0) == (smallest >= 0):
            reg.smin, reg.smax = smallest, largest
            reg.umin, reg.umax = smallest & U64_MAX, largest & U64_MAX
            reg.s32_min, reg.s32_max = s32(smallest), s32(largest)
            reg.u32_min, reg.u32_max = smallest & U32_MAX, largest & U32_MAX
            reg.value, reg.mask = _range(reg.umin, reg.umax)
            return
    reg.smin, reg.smax = -sign, sign - 1
    reg.s32_min, reg.s32_max = s32(-sign), s32(sign - 1)
    reg.umin, reg.umax = 0, U64_MAX
    reg.u32_min, reg.u32_max = 0, U32_MAX
    reg.value, reg.mask = 0, U64_MAX


def coerce_subreg_to_size_sx(reg: Reg, size: int, sync: Sync) -> None:
    """Sign-extend from ``size`` bytes into 32 bits (coerce_subreg_to_size_sx)."""
    bits = size * 8
    sign = 1 << (bits - 1)
    low = (1 << bits) - 1
    if not reg.mask & U32_MAX:
        value = reg.value & low
        value = value - (1 << bits) if value & sign else value
        known = value & U32_MAX
        reg.value = reg.value & HIGH | known
        reg.s32_min = reg.s32_max = s32(known)
        reg.u32_min = reg.u32_max = known
        return
    top_smax = reg.s32_max & ~low & U32_MAX
    top_smin = reg.s32_min & ~low & U32_MAX
    if top_smax == top_smin:
        high, lowest = _sext(reg.s32_max, bits), _sext(reg.s32_min, bits)
        largest, smallest = max(high, lowest), min(high, lowest)
        if (largest >= 0) == (smallest >= 0):
            reg.s32_min, reg.s32_max = smallest, largest
            reg.u32_min, reg.u32_max = smallest & U32_MAX, largest & U32_MAX
            value, mask = _range(reg.u32_min, reg.u32_max)
            reg.value = reg.value & HIGH | value
            reg.mask = reg.mask & HIGH | mask
            return
    reg.s32_min, reg.s32_max = -sign, sign - 1
    reg.u32_min, reg.u32_max = 0, U32_MAX
    reg.value &= HIGH
    reg.mask = reg.mask & HIGH | U32_MAX


def _sext(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _range(low: int, high: int) -> tuple[int, int]:
    bits = (low ^ high).bit_length()
    if bits > 63:
        return 0, U64_MAX
    delta = (1 << bits) - 1
    return low & ~delta, delta
