"""Tristate numbers: what is known of each bit of a value (kernel/bpf/tnum.c).

A tnum is a pair ``(value, mask)`` of 64-bit unsigned ints; a bit of ``mask`` says "unknown", and
the bit of ``value`` is then 0.
"""

from __future__ import annotations

Tnum = tuple[int, int]

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1
UNKNOWN: Tnum = (0, U64)


def const(value: int) -> Tnum:
    """A known value."""
    return value & U64, 0


def range_(low: int, high: int) -> Tnum:
    """The smallest tnum that holds every value from ``low`` to ``high`` (unsigned)."""
    bits = (low ^ high).bit_length()
    if bits > 63:
        return UNKNOWN
    delta = (1 << bits) - 1
    return low & ~delta, delta


def add(a: Tnum, b: Tnum) -> Tnum:
    """``a + b``."""
    masks = a[1] + b[1] & U64
    values = a[0] + b[0] & U64
    sigma = masks + values & U64
    mu = (sigma ^ values) | a[1] | b[1]
    return values & ~mu & U64, mu


def sub(a: Tnum, b: Tnum) -> Tnum:
    """``a - b``."""
    delta = a[0] - b[0] & U64
    alpha = delta + a[1] & U64
    beta = delta - b[1] & U64
    mu = (alpha ^ beta) | a[1] | b[1]
    return delta & ~mu & U64, mu


def neg(a: Tnum) -> Tnum:
    """``-a``."""
    return sub((0, 0), a)


def and_(a: Tnum, b: Tnum) -> Tnum:
    """``a & b``."""
    alpha = a[0] | a[1]
    beta = b[0] | b[1]
    value = a[0] & b[0]
    return value, alpha & beta & ~value


def or_(a: Tnum, b: Tnum) -> Tnum:
    """``a | b``."""
    value = a[0] | b[0]
    mu = a[1] | b[1]
    return value, mu & ~value


def xor(a: Tnum, b: Tnum) -> Tnum:
    """``a ^ b``."""
    value = a[0] ^ b[0]
    mu = a[1] | b[1]
    return value & ~mu, mu


def lshift(a: Tnum, shift: int) -> Tnum:
    """``a << shift``."""
    return a[0] << shift & U64, a[1] << shift & U64


def rshift(a: Tnum, shift: int) -> Tnum:
    """``a >> shift``, unsigned."""
    return a[0] >> shift, a[1] >> shift


def _sar(value: int, shift: int, bits: int) -> int:
    if value >> (bits - 1):
        value -= 1 << bits
    return (value >> shift) & ((1 << bits) - 1)


def arshift(a: Tnum, shift: int, bits: int) -> Tnum:
    """``a >> shift``, signed, of 32 or 64 bits."""
    low = (1 << bits) - 1
    return _sar(a[0] & low, shift, bits), _sar(a[1] & low, shift, bits)


def _hma(acc: Tnum, value: int, mask: int) -> Tnum:
    while mask:
        if mask & 1:
            acc = add(acc, (0, value))
        mask >>= 1
        value = value << 1 & U64
    return acc


def mul_half(a: Tnum, b: Tnum) -> Tnum:
    """``a * b`` as up to 5.13: half-multiply and add."""
    pi = a[0] * b[0] & U64
    acc = _hma((pi, 0), a[1], b[1] | b[0])
    return _hma(acc, b[1], a[0])


def mul(a: Tnum, b: Tnum) -> Tnum:
    """``a * b`` as from 5.14: long multiplication with the certain part apart."""
    acc_v = a[0] * b[0] & U64
    acc_m: Tnum = (0, 0)
    while a[0] or a[1]:
        if a[0] & 1:
            acc_m = add(acc_m, (0, b[1]))
        elif a[1] & 1:
            acc_m = add(acc_m, (0, b[0] | b[1]))
        a = rshift(a, 1)
        b = lshift(b, 1)
    return add((acc_v, 0), acc_m)


def union(a: Tnum, b: Tnum) -> Tnum:
    """The smallest tnum that holds both."""
    mu = a[1] | b[1] | (a[0] ^ b[0])
    return a[0] & b[0] & ~mu, mu


def mul_union(a: Tnum, b: Tnum) -> Tnum:
    """``a * b`` as from 6.18: of each uncertain bit both outcomes are joined."""
    acc: Tnum = (0, 0)
    while a[0] or a[1]:
        if a[0] & 1:
            acc = add(acc, b)
        elif a[1] & 1:
            acc = union(acc, add(acc, b))
        a = rshift(a, 1)
        b = lshift(b, 1)
    return acc


def overlap(a: Tnum, b: Tnum) -> bool:
    """Tell whether some value is in both."""
    mu = ~a[1] & ~b[1]
    return a[0] & mu == b[0] & mu


def intersect(a: Tnum, b: Tnum) -> Tnum:
    """What is known of a value that is in both."""
    value = a[0] | b[0]
    mu = a[1] & b[1]
    return value & ~mu, mu


def cast(a: Tnum, size: int) -> Tnum:
    """Cut to ``size`` bytes."""
    if size == 8:
        return a
    low = (1 << size * 8) - 1
    return a[0] & low, a[1] & low


def in_(a: Tnum, b: Tnum) -> bool:
    """Tell whether every value of ``b`` is in ``a``."""
    if b[1] & ~a[1]:
        return False
    return a[0] == b[0] & ~a[1]


def is_aligned(a: Tnum, size: int) -> bool:
    """Tell whether every value is a multiple of ``size``."""
    return not size or not (a[0] | a[1]) & (size - 1)


def subreg(a: Tnum) -> Tnum:
    """The low 32 bits."""
    return a[0] & U32, a[1] & U32


def clear_subreg(a: Tnum) -> Tnum:
    """With the low 32 bits 0."""
    return a[0] & ~U32, a[1] & ~U32


def with_subreg(a: Tnum, low: Tnum) -> Tnum:
    """The high half of ``a`` and the low half of ``low``."""
    return a[0] & ~U32 | low[0] & U32, a[1] & ~U32 | low[1] & U32


def text(a: Tnum) -> str:
    """As the log shows it."""
    return f"({a[0]:#x}; {a[1]:#x})"
