"""What the operations of the instruction set mean: one row each, read by every engine.

A row's ``py`` is a Python expression over unsigned operands ``a`` and ``b`` of its width, in which
``{s}`` stands for the mask of shift counts and ``{h}`` for the sign bit; ``mask`` says whether the
result may leave the width. ``wasm`` names the WebAssembly instruction of the same meaning, without
its type, or is empty where the emitter has code of its own. ``trap`` marks operations that
WebAssembly would trap on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1
MASK = {8: 0xFF, 16: 0xFFFF, 32: U32, 64: U64}


@dataclass(frozen=True)
class AluOp:
    """An arithmetic operation: ``code`` is the high nibble of the opcode."""

    name: str
    code: int
    py: str
    mask: bool
    wasm: str
    trap: bool = False
    signed: bool = False


@dataclass(frozen=True)
class JumpOp:
    """A comparison. ``py`` may use ``{h}``: x ^ {h} orders signed numbers as unsigned ones."""

    name: str
    code: int
    py: str
    wasm: str
    signed: bool = False


@dataclass(frozen=True)
class AtomicOp:
    """A read-modify-write: ``py`` is the new value in memory, from old ``a`` and operand ``b``."""

    name: str
    code: int
    py: str
    mask: bool
    wasm: str


_SIGNED_A = "(({a} ^ {h}) - {h})"

ALU: dict[int, AluOp] = {
    op.code: op
    for op in (
        AluOp("add", 0x00, "{a} + {b}", True, "add"),
        AluOp("sub", 0x10, "{a} - {b}", True, "sub"),
        AluOp("mul", 0x20, "{a} * {b}", True, "mul"),
        AluOp("div", 0x30, "({a} // {b} if {b} else 0)", False, "div_u", trap=True),
        AluOp("or", 0x40, "{a} | {b}", False, "or"),
        AluOp("and", 0x50, "{a} & {b}", False, "and"),
        AluOp("lsh", 0x60, "{a} << ({b} & {s})", True, "shl"),
        AluOp("rsh", 0x70, "{a} >> ({b} & {s})", False, "shr_u"),
        AluOp("neg", 0x80, "-{a}", True, ""),
        AluOp("mod", 0x90, "({a} % {b} if {b} else {a})", False, "rem_u", trap=True),
        AluOp("xor", 0xA0, "{a} ^ {b}", False, "xor"),
        AluOp("mov", 0xB0, "{b}", False, ""),
        AluOp("arsh", 0xC0, _SIGNED_A + " >> ({b} & {s})", True, "shr_s"),
    )
}
SDIV = AluOp("sdiv", 0x30, "sdiv({a}, {b}, {h})", True, "div_s", trap=True, signed=True)
SMOD = AluOp("smod", 0x90, "smod({a}, {b}, {h})", True, "rem_s", trap=True, signed=True)

JUMPS: dict[int, JumpOp] = {
    op.code: op
    for op in (
        JumpOp("jeq", 0x10, "{a} == {b}", "eq"),
        JumpOp("jgt", 0x20, "{a} > {b}", "gt_u"),
        JumpOp("jge", 0x30, "{a} >= {b}", "ge_u"),
        JumpOp("jset", 0x40, "{a} & {b}", ""),
        JumpOp("jne", 0x50, "{a} != {b}", "ne"),
        JumpOp("jsgt", 0x60, "({a} ^ {h}) > ({b} ^ {h})", "gt_s", True),
        JumpOp("jsge", 0x70, "({a} ^ {h}) >= ({b} ^ {h})", "ge_s", True),
        JumpOp("jlt", 0xA0, "{a} < {b}", "lt_u"),
        JumpOp("jle", 0xB0, "{a} <= {b}", "le_u"),
        JumpOp("jslt", 0xC0, "({a} ^ {h}) < ({b} ^ {h})", "lt_s", True),
        JumpOp("jsle", 0xD0, "({a} ^ {h}) <= ({b} ^ {h})", "le_s", True),
    )
}

FETCH = 0x01
ATOMIC: dict[int, AtomicOp] = {
    op.code: op
    for op in (
        AtomicOp("add", 0x00, "{a} + {b}", True, "add"),
        AtomicOp("or", 0x40, "{a} | {b}", False, "or"),
        AtomicOp("and", 0x50, "{a} & {b}", False, "and"),
        AtomicOp("xor", 0xA0, "{a} ^ {b}", False, "xor"),
        AtomicOp("xchg", 0xE0, "{b}", False, ""),
    )
}
XCHG, CMPXCHG, LOAD_ACQ, STORE_REL = 0xE1, 0xF1, 0x100, 0x110

JA, CALL, EXIT, JCOND = 0x00, 0x80, 0x90, 0xE0


def sdiv(a: int, b: int, sign: int) -> int:
    """Divide signed, towards zero; by zero gives 0."""
    if not b:
        return 0
    x, y = (a ^ sign) - sign, (b ^ sign) - sign
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def smod(a: int, b: int, sign: int) -> int:
    """Remainder with the sign of the dividend; by zero gives the dividend."""
    if not b:
        return a
    x, y = (a ^ sign) - sign, (b ^ sign) - sign
    rest = abs(x) % abs(y)
    return -rest if x < 0 else rest


def bswap(value: int, bits: int) -> int:
    """Reverse the order of the low ``bits`` of a number; higher ones are dropped."""
    nbytes = bits >> 3
    return int.from_bytes((value & MASK[bits]).to_bytes(nbytes, "little"), "big")


def sign_extend(value: int, bits: int, width: int = 64) -> int:
    """Return the low ``bits`` of a number as a signed one, as unsigned of ``width`` bits."""
    half = 1 << (bits - 1)
    return (((value & MASK[bits]) ^ half) - half) & MASK[width]


NAMES = {"sdiv": sdiv, "smod": smod, "bswap": bswap, "sign_extend": sign_extend}
"""What expressions may call."""


def expression(template: str, a: str, b: str, width: int) -> str:
    """Fill in a row's expression for operands of ``width`` bits."""
    return template.format(a=a, b=b, s=width - 1, h=hex(1 << (width - 1)))


def alu_row(op: int, signed: bool) -> AluOp:
    """Return the row of an operation; ``signed``: the division with off 1."""
    if signed and op in (0x30, 0x90):
        return SDIV if op == 0x30 else SMOD
    return ALU[op]


def alu_function(row: AluOp, width: int) -> Callable[[int, int], int]:
    """Return the operation as a function of two unsigned numbers of ``width`` bits."""
    text = expression(row.py, "a", "b", width)
    if row.mask:
        text = f"({text}) & {MASK[width]:#x}"
    return eval(f"lambda a, b: {text}", dict(NAMES))  # type: ignore[no-any-return]


def jump_function(row: JumpOp, width: int) -> Callable[[int, int], int]:
    """Return the comparison as a function of two unsigned numbers of ``width`` bits."""
    return eval(f"lambda a, b: {expression(row.py, 'a', 'b', width)}")  # type: ignore[no-any-return]


def atomic_function(row: AtomicOp, width: int) -> Callable[[int, int], int]:
    """Return the new value as a function of the old one and the operand."""
    text = expression(row.py, "a", "b", width)
    if row.mask:
        text = f"({text}) & {MASK[width]:#x}"
    return eval(f"lambda a, b: {text}")  # type: ignore[no-any-return]
