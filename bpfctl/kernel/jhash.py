"""The kernel's jhash (include/linux/jhash.h): Bob Jenkins' lookup3 over bytes."""

from __future__ import annotations

_GOLDEN = 0xDEADBEEF
_MASK = 0xFFFFFFFF


# Rotations are written out, and masked only with what they are added to: hash maps live here.
def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    a = (a - c ^ (c << 4 | c >> 28)) & _MASK
    c = (c + b) & _MASK
    b = (b - a ^ (a << 6 | a >> 26)) & _MASK
    a = (a + c) & _MASK
    c = (c - b ^ (b << 8 | b >> 24)) & _MASK
    b = (b + a) & _MASK
    a = (a - c ^ (c << 16 | c >> 16)) & _MASK
    c = (c + b) & _MASK
    b = (b - a ^ (a << 19 | a >> 13)) & _MASK
    a = (a + c) & _MASK
    c = (c - b ^ (b << 4 | b >> 28)) & _MASK
    b = (b + a) & _MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - (b << 14 | b >> 18)) & _MASK
    a = ((a ^ c) - (c << 11 | c >> 21)) & _MASK
    b = ((b ^ a) - (a << 25 | a >> 7)) & _MASK
    c = ((c ^ b) - (b << 16 | b >> 16)) & _MASK
    a = ((a ^ c) - (c << 4 | c >> 28)) & _MASK
    b = ((b ^ a) - (a << 14 | a >> 18)) & _MASK
    return ((c ^ b) - (b << 24 | b >> 8)) & _MASK


def _words(part: bytes) -> tuple[int, int, int]:
    """Return three little-endian words of up to 12 bytes, the missing ones zero."""
    number = int.from_bytes(part, "little")  # quicker to have than struct is to import
    return number & _MASK, number >> 32 & _MASK, number >> 64


def jhash(key: bytes, seed: int = 0) -> int:
    """Hash ``key`` to 32 bits; on words of a multiple of 4 bytes jhash2() gives the same."""
    length = len(key)
    a = b = c = (_GOLDEN + length + seed) & _MASK
    if not length:
        return c
    at = 0
    while length - at > 12:
        x, y, z = _words(key[at : at + 12])
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
        at += 12
    x, y, z = _words(key[at:])
    return _final((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
