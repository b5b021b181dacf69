"""Opcodes: their parts, which fields each may use, and which an instruction set knows.

Names are those of include/uapi/linux/bpf.h and bpf_common.h without ``BPF_``; what a field may hold
is what check_alu_op(), check_cond_jmp_op() and their like in the kernel's verifier let pass.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    CALL,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
)

CLASSES = ("ld", "ldx", "st", "stx", "alu", "jmp", "jmp32", "alu64")

# Sizes (code & 0x18) and modes (code & 0xe0) of loads and stores.
SIZE_MASK, MODE_MASK, OP_MASK = 0x18, 0xE0, 0xF0
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
SIZE_BYTES = {W: 4, H: 2, B: 1, DW: 8}
IMM, ABS, IND, MEM, MEMSX, ATOMIC, NOSPEC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0, 0xC0
PROBE_MEM, PROBE_MEMSX, PROBE_MEM32, PROBE_ATOMIC = 0x20, 0x40, 0xA0, 0xE0

# Operations (code & 0xf0) of the arithmetic classes.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH = range(0x00, 0x80, 0x10)
NEG, MOD, XOR, MOV, ARSH, END = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0

# Operations (code & 0xf0) of the jump classes.
JA_OP, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE = range(0x00, 0x80, 0x10)
CALL_OP, EXIT_OP, JLT, JLE, JSLT, JSLE, JCOND_OP = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0
JCOND = BPF_JMP | JCOND_OP
MAY_GOTO = 0

# What the imm of an atomic instruction says.
FETCH = 0x01
XCHG, CMPXCHG = 0xE0 | FETCH, 0xF0 | FETCH
LOAD_ACQ, STORE_REL = 0x100, 0x110
ATOMIC_OPS = frozenset(
    (ADD, OR, AND, XOR, ADD | FETCH, OR | FETCH, AND | FETCH, XOR | FETCH, XCHG, CMPXCHG)
)

# What the off of some arithmetic instructions says.
SIGNED_OFF = 1
ADDR_SPACE_CAST, ADDR_PERCPU = 1, -1
MOVSX_OFFS = (8, 16, 32)

BINARY_ALU = (ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR, MOV, ARSH)
COMPARES = (JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE)

# The values that a field may hold; None: any.
Allowed = frozenset[int] | None
_ZERO: Allowed = frozenset((0,))
_ANY: Allowed = None


class Fields(NamedTuple):
    """What each field of one opcode may hold; a register that is ANY may be 0 to 10."""

    dst: Allowed
    src: Allowed
    off: Allowed
    imm: Allowed


def _only(*values: int) -> Allowed:
    return frozenset(values)


def _alu_fields(isa: int) -> dict[int, Fields]:
    found: dict[int, Fields] = {}
    signed = _only(0, SIGNED_OFF) if isa >= 4 else _ZERO
    for cls in (BPF_ALU, BPF_ALU64):
        casts = (ADDR_SPACE_CAST, ADDR_PERCPU) if cls == BPF_ALU64 else ()
        widths = MOVSX_OFFS if cls == BPF_ALU64 else MOVSX_OFFS[:2]
        for op in BINARY_ALU:
            off = signed if op in (DIV, MOD) else _ZERO
            moved = _only(0, *widths, *casts) if op == MOV and isa >= 4 else off
            found[cls | op] = Fields(_ANY, _ZERO, off, _ANY)
            # The imm of an address space cast names the spaces; of all others it is 0.
            imm = _only(0, 1, 1 << 16) if op == MOV and casts and isa >= 4 else _ZERO
            found[cls | op | BPF_X] = Fields(_ANY, _ANY, moved, imm)
        found[cls | NEG] = Fields(_ANY, _ZERO, _ZERO, _ZERO)
    swap = Fields(_ANY, _ZERO, _ZERO, _only(16, 32, 64))
    found |= {BPF_ALU | END: swap, BPF_ALU | END | BPF_X: swap}
    if isa >= 4:
        found[BPF_ALU64 | END] = swap
    return found


def _jump_fields(isa: int) -> dict[int, Fields]:
    found = {
        JA: Fields(_ZERO, _ZERO, _ANY, _ZERO),
        EXIT: Fields(_ZERO, _ZERO, _ZERO, _ZERO),
        CALL: Fields(_ZERO, _only(0, 1, 2), _ANY, _ANY),
    }
    for cls in (BPF_JMP, BPF_JMP32):
        for op in COMPARES:
            found[cls | op] = Fields(_ANY, _ZERO, _ANY, _ANY)
            found[cls | op | BPF_X] = Fields(_ANY, _ANY, _ANY, _ZERO)
    if isa >= 4:
        found[JA32] = Fields(_ZERO, _ZERO, _ZERO, _ANY)
        found[JCOND] = Fields(_ZERO, _only(MAY_GOTO), _ANY, _ZERO)
    return found


def _memory_fields(isa: int) -> dict[int, Fields]:
    found = {LD_IMM64: Fields(_ANY, _only(0, 1, 2, 3, 4, 5, 6), _ZERO, _ANY)}
    for size in (W, H, B, DW):
        found[BPF_LDX | MEM | size] = Fields(_ANY, _ANY, _ANY, _ZERO)
        found[BPF_ST | MEM | size] = Fields(_ANY, _ZERO, _ANY, _ANY)
        found[BPF_STX | MEM | size] = Fields(_ANY, _ANY, _ANY, _ZERO)
    for size in (W, H, B):
        found[BPF_LD | ABS | size] = Fields(_ZERO, _ZERO, _ZERO, _ANY)
        found[BPF_LD | IND | size] = Fields(_ZERO, _ANY, _ZERO, _ANY)
    ordered = (LOAD_ACQ, STORE_REL) if isa >= 5 else ()
    for size in (W, DW):
        found[BPF_STX | ATOMIC | size] = Fields(_ANY, _ANY, _ANY, ATOMIC_OPS.union(ordered))
    if isa >= 4:
        for size in (W, H, B):
            found[BPF_LDX | MEMSX | size] = Fields(_ANY, _ANY, _ANY, _ZERO)
    if ordered:
        for size in (H, B):
            found[BPF_STX | ATOMIC | size] = Fields(_ANY, _ANY, _ANY, _only(*ordered))
    return found


@cache
def fields(isa: int) -> dict[int, Fields]:
    """Return what each opcode of instruction set ``isa`` may hold: 3; 4; 5 with ordered accesses.

    The second slot of ld_imm64 is not an opcode: all of it but the imm is 0.
    """
    return _alu_fields(isa) | _jump_fields(isa) | _memory_fields(isa)


@cache
def known_opcodes(isa: int) -> frozenset[int]:
    """Return the opcodes of instruction set ``isa`` (bpf_opcode_in_insntable)."""
    return frozenset(fields(isa))
