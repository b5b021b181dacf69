"""The Internet checksum in the kernel's steps: include/net/checksum.h and lib/checksum.c.

A ``__wsum`` is a 32-bit sum, a ``__sum16`` a folded 16-bit one. Words are taken in memory order
of a little-endian machine, as the kernel's own helpers do.
"""

from __future__ import annotations

U16 = 0xFFFF
U32 = 0xFFFFFFFF


def csum_add(first: int, second: int) -> int:
    """Add two 32-bit sums with the carry brought around."""
    total = (first & U32) + (second & U32)
    return (total + (total >> 32)) & U32


def csum_sub(first: int, second: int) -> int:
    """Take a sum out of another."""
    return csum_add(first, ~second & U32)


def from32to16(value: int) -> int:
    """Fold a 32-bit sum to 16 bits without the complement."""
    value = (value & U16) + (value >> 16 & U16)
    return (value + (value >> 16)) & U16


def csum_fold(value: int) -> int:
    """Fold a 32-bit sum and complement it."""
    return ~from32to16(value) & U16


def csum_partial(data: bytes, seed: int = 0) -> int:
    """Sum ``data`` onto ``seed`` (csum_partial of x86-64: 64-bit words, then folded to 32).

    Words are added as 64-bit ones with end-around carry; the result is congruent with any other
    order, and this one is also equal bit for bit where the caller shows the 32-bit sum.
    """
    total = seed & U32
    padded = data + bytes(-len(data) % 8)
    mask = (1 << 64) - 1
    for at in range(0, len(padded), 8):
        total += int.from_bytes(padded[at : at + 8], "little")
        total = (total & mask) + (total >> 64)
    total = (total & U32) + (total >> 32)
    return (total & U32) + (total >> 32) & U32


def csum_replace_by_diff(old: int, diff: int) -> int:
    """Return the ``__sum16`` that follows ``old`` when ``diff`` is added to what it covers."""
    return csum_fold(csum_add(diff, ~old & U32))


def csum_replace4(old: int, before: int, after: int) -> int:
    """Return the checksum after a 32-bit word changed."""
    return csum_fold(csum_add(csum_sub(~old & U32, before), after))


def csum16_add(value: int, addend: int) -> int:
    """Add 16-bit sums with end-around carry."""
    total = (value & U16) + (addend & U16)
    return (total + (total >> 16)) & U16


def csum_replace2(old: int, before: int, after: int) -> int:
    """Return the checksum after a 16-bit word changed."""
    return ~csum16_add(csum16_add(~old & U16, ~before & U16), after) & U16
