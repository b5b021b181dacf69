"""What instructions do, written a second time and otherwise: with machine integers of ctypes."""

from __future__ import annotations

from ctypes import c_int8, c_int16, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64
from typing import Any

UNSIGNED: dict[int, Any] = {8: c_uint8, 16: c_uint16, 32: c_uint32, 64: c_uint64}
SIGNED: dict[int, Any] = {8: c_int8, 16: c_int16, 32: c_int32, 64: c_int64}


def u(value: int, bits: int = 64) -> int:
    return int(UNSIGNED[bits](value).value)


def s(value: int, bits: int = 64) -> int:
    return int(SIGNED[bits](value).value)


def _toward_zero(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return -quotient if (a < 0) != (b < 0) else quotient


def alu(name: str, a: int, b: int, bits: int) -> int:
    """Return ``a name b`` on ``bits`` bits, zero-extended."""
    a, b = u(a, bits), u(b, bits)
    shift = b % bits
    if name in ("sdiv", "smod"):
        quotient = _toward_zero(s(a, bits), s(b, bits)) if b else 0
        return u(quotient if name == "sdiv" else s(a, bits) - quotient * s(b, bits), bits)
    return u(
        {
            "add": lambda: a + b,
            "sub": lambda: a - b,
            "mul": lambda: a * b,
            "div": lambda: a // b if b else 0,
            "mod": lambda: a % b if b else a,
            "or": lambda: a | b,
            "and": lambda: a & b,
            "xor": lambda: a ^ b,
            "lsh": lambda: a << shift,
            "rsh": lambda: a >> shift,
            "arsh": lambda: s(a, bits) >> shift,
            "mov": lambda: b,
            "neg": lambda: -a,
        }[name](),
        bits,
    )


def jump(name: str, a: int, b: int, bits: int) -> bool:
    """Tell whether a branch is taken."""
    if name == "jset":
        return bool(u(a, bits) & u(b, bits))
    read = s if name.startswith("js") else u
    x, y = read(a, bits), read(b, bits)
    bare = name.replace("js", "j")
    return {
        "jeq": x == y, "jne": x != y, "jgt": x > y, "jge": x >= y, "jlt": x < y, "jle": x <= y,
    }[bare]  # fmt: skip


def atomic(name: str, old: int, operand: int, bits: int) -> int:
    """Return what an atomic operation leaves in memory."""
    return u(operand, bits) if name == "xchg" else alu(name, old, operand, bits)
