"""Opcodes that a kernel knows, by version of the instruction set (bpf_opcode_in_insntable)."""

from __future__ import annotations

from functools import cache

from bpfctl.kernel.bpf.insn import (
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

W, H, B, DW = 0x00, 0x08, 0x10, 0x18
ABS, IND, MEM, MEMSX, ATOMIC = 0x20, 0x40, 0x60, 0x80, 0xC0
NEG, END = 0x80, 0xD0
JCOND = BPF_JMP | 0xE0
_ALU_OPS = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
_JMP_OPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)


@cache
def known_opcodes(isa: int) -> frozenset[int]:
    """Return the opcodes of instruction set ``isa``: 3, or 4 with what came later."""
    known = {LD_IMM64, CALL, EXIT, JA, BPF_ALU | NEG, BPF_ALU64 | NEG}
    known |= {BPF_ALU | END, BPF_ALU | END | BPF_X}
    for cls in (BPF_ALU, BPF_ALU64):
        known |= {cls | op | src for op in _ALU_OPS for src in (0, BPF_X)}
    for cls in (BPF_JMP, BPF_JMP32):
        known |= {cls | op | src for op in _JMP_OPS for src in (0, BPF_X)}
    for size in (W, H, B, DW):
        known |= {cls | MEM | size for cls in (BPF_LDX, BPF_ST, BPF_STX)}
    known |= {BPF_LD | mode | size for mode in (ABS, IND) for size in (W, H, B)}
    known |= {BPF_STX | ATOMIC | size for size in (W, DW)}
    if isa >= 4:
        known |= {BPF_LDX | MEMSX | size for size in (W, H, B)}
        known |= {BPF_ALU64 | END, JA32, JCOND}
    return frozenset(known)
