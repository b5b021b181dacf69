"""The kernel's jhash (include/linux/jhash.h): Bob Jenkins' lookup3 over bytes."""

from __future__ import annotations

from struct import unpack

_GOLDEN = 0xDEADBEEF
_MASK = 0xFFFFFFFF


def _rol(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c) & _MASK ^ _rol(c, 4)
    c = (c + b) & _MASK
    b = (b - a) & _MASK ^ _rol(a, 6)
    a = (a + c) & _MASK
    c = (c - b) & _MASK ^ _rol(b, 8)
    b = (b + a) & _MASK
    a = (a - c) & _MASK ^ _rol(c, 16)
    c = (c + b) & _MASK
    b = (b - a) & _MASK ^ _rol(a, 19)
    a = (a + c) & _MASK
    c = (c - b) & _MASK ^ _rol(b, 4)
    b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _rol(b, 14)) & _MASK
    a = ((a ^ c) - _rol(c, 11)) & _MASK
    b = ((b ^ a) - _rol(a, 25)) & _MASK
    c = ((c ^ b) - _rol(b, 16)) & _MASK
    a = ((a ^ c) - _rol(c, 4)) & _MASK
    b = ((b ^ a) - _rol(a, 14)) & _MASK
    return ((c ^ b) - _rol(b, 24)) & _MASK


def jhash(key: bytes, seed: int = 0) -> int:
    """Hash ``key`` to 32 bits; on words of a multiple of 4 bytes jhash2() gives the same."""
    length = len(key)
    a = b = c = (_GOLDEN + length + seed) & _MASK
    if not length:
        return c
    at = 0
    while length - at > 12:
        x, y, z = unpack("<III", key[at : at + 12])
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
        at += 12
    x, y, z = unpack("<III", key[at:].ljust(12, b"\0"))
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
