"""Strings and numbers (kernel/bpf/helpers.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, body, declare, fixed

_NUMBER = (
    Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING,
    fixed(8, Flag.UNINIT | Flag.WRITE | Flag.ALIGNED),
)  # fmt: skip
_LONG = {
    "int_pointers": {
        "args": args(Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING, Arg.PTR_TO_LONG)
    }
}

declare(105, "strtol", Ret.INTEGER, _NUMBER, changes=_LONG)
declare(106, "strtoul", Ret.INTEGER, _NUMBER, changes=_LONG)
declare(182, "strncmp", Ret.INTEGER, (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.PTR_TO_CONST_STR))


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime

BASES = (0, 8, 10, 16)
_SPACES = b" \t\n\v\f\r\xa0"
_DIGITS = b"0123456789abcdef"
U64 = (1 << 64) - 1
LONG_MAX = (1 << 63) - 1
MAX_DIGITS = 64


def _digit(byte: int) -> int:
    return _DIGITS.find(bytes((byte | 0x20 if byte >= 0x40 else byte,)))


def parse_number(text: bytes, flags: int) -> tuple[int, bool, int]:
    """Return magnitude, whether negative, and bytes read (__bpf_strtoull), or a negative errno.

    The errno stands in the last place.
    """
    if not text or flags not in BASES:
        return 0, False, -E.INVAL
    at = 0
    while at < len(text) and text[at] in _SPACES:
        at += 1
    negative = at < len(text) and text[at] == ord("-")
    at += negative
    # What follows is copied into a buffer of 64 bytes, NUL included.
    digits = text[at : at + MAX_DIGITS - 1]
    if not digits:
        return 0, False, -E.INVAL
    base, skipped = _base_of(digits, flags)
    value = used = 0
    overflow = False
    for byte in digits[skipped:]:
        digit = _digit(byte)
        if digit < 0 or digit >= base:
            break
        value = value * base + digit
        overflow |= value > U64
        used += 1
    if overflow:
        return 0, False, -E.RANGE
    if not used:
        return 0, False, -E.INVAL
    return value, negative, at + skipped + used


def _base_of(digits: bytes, base: int) -> tuple[int, int]:
    """Return the base, and bytes of its prefix (_parse_integer_fixup_radix)."""
    hexadecimal = digits[:2].lower() == b"0x"
    if base == 0:
        if digits[:1] == b"0":
            base = 16 if hexadecimal and len(digits) > 2 and _digit(digits[2]) >= 0 else 8
        else:
            base = 10
    return base, 2 if base == 16 and hexadecimal else 0


@body(105)
def strtol(rt: Runtime, text: int, size: int, flags: int, result: int) -> int:
    """Parse a signed number: bytes read, EINVAL, ERANGE."""
    value, negative, read = parse_number(rt.mem.read(text, size), flags)
    if read < 0:
        return read
    if value > LONG_MAX + negative:
        return -E.RANGE
    rt.mem.store(result, 8, -value if negative else value)
    return read


@body(106)
def strtoul(rt: Runtime, text: int, size: int, flags: int, result: int) -> int:
    """Parse an unsigned number: bytes read, EINVAL (also for a minus sign), ERANGE."""
    value, negative, read = parse_number(rt.mem.read(text, size), flags)
    if read < 0:
        return read
    if negative:
        return -E.INVAL
    rt.mem.store(result, 8, value)
    return read


@body(182)
def strncmp(rt: Runtime, first: int, size: int, second: int) -> int:
    """Compare as strncmp(3): below, at or above zero."""
    one = rt.mem.read(first, size)
    two = rt.mem.c_string(second, size)
    other = (two if two is not None else b"").ljust(size, b"\0")
    for a, b in zip(one, other, strict=True):
        if a != b:
            return -1 if a < b else 1
        if not a:
            break
    return 0
