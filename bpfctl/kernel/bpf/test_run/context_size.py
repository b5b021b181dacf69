"""How much of its context a program reads or writes (prog->aux->max_ctx_offset)."""

from __future__ import annotations

from bpfctl.isa.insn import Insn, decode_all

_SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
_LDX, _ST, _STX = 1, 2, 3
_ALU, _ALU64, _JMP = 4, 7, 5
_MOV64_X, _ADD64_K, _CALL = 0xBF, 0x07, 0x85
_R1, _FIRST_SAVED, _FP = 1, 6, 10


def max_ctx_offset(raw: bytes) -> int:
    """Return the end of the farthest access to the context in ``raw`` instructions.

    Follows the pointer through registers in program order, which is all that the verifier allows
    of a context: it may be copied and moved by constants, but never merged with another.
    """
    held = {_R1: 0}
    farthest = 0
    for insn in decode_all(raw):
        kind = insn.code & 7
        base = insn.src if kind == _LDX else insn.dst
        if kind in (_LDX, _ST, _STX) and base in held:
            farthest = max(farthest, held[base] + insn.off + _SIZES[insn.code & 0x18])
        _follow(held, insn, kind)
    return farthest


def _follow(held: dict[int, int], insn: Insn, kind: int) -> None:
    """Update which registers hold the context, and how far into it they point."""
    if insn.code == _MOV64_X and insn.src in held and not insn.off:
        held[insn.dst] = held[insn.src]
    elif insn.code == _ADD64_K and insn.dst in held:
        held[insn.dst] += insn.imm
    elif insn.code == _CALL:
        for reg in range(_FIRST_SAVED):
            held.pop(reg, None)
    elif kind in (0, _LDX, _ALU, _ALU64):
        held.pop(insn.dst, None)
