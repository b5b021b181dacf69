"""How long the x86-64 JIT makes a program: an estimate, nothing is translated.

Straight code, calls, map loads and subprograms have the measured length. What the verifier would
rewrite (inlined helpers, context accesses) counts as it was loaded. Mirrors the choices of
encoding in do_jit() of arch/x86/net/bpf_jit_comp.c.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
    Code,
    Insn,
    decode,
    jump_offset,
)

_NEEDS_REX = frozenset((5, 7, 8, 9))  # r8, r13, r14, r15
_BYTE_NEEDS_REX = _NEEDS_REX | {1, 2}  # dil, sil
_FRAME_POINTER = 10
_SUB_RSP = 7
_TAIL_CALL = 12
_TAIL_CALL_BYTES = 63
_DIVIDE_BYTES = 14
_SHORT, _NEAR_JMP, _NEAR_JCC = 2, 5, 6
_PASSES = 10


def image_bytes(code: Code, start: int, end: int, prologue: int, exit_bytes: int) -> int:
    """Return the length of the machine code of the function in ``start`` .. ``end``.

    ``prologue``: bytes that every function starts with. ``exit_bytes``: leave and return as
    this kernel emits them.
    """
    words = code.words(start, end)
    kinds = [decode(word) for word in set(words)]
    saved = _callee_saved(kinds)
    lengths = [_length(word) for word in words]
    jumps = _special_lengths(code, start, lengths, saved + exit_bytes)
    for _ in range(_PASSES):
        if not _shrink(lengths, jumps):
            break
    stack = _SUB_RSP if any(_uses_stack(insn) for insn in kinds) else 0
    return prologue + saved + stack + sum(lengths)


def _callee_saved(insns: Sequence[Insn]) -> int:
    used = {reg for insn in insns for reg in (insn.dst, insn.src) if 6 <= reg <= 9}
    return sum(1 if reg == 6 else 2 for reg in used)


def _uses_stack(insn: Insn) -> bool:
    cls = insn.code & 7
    if cls in (BPF_ST, BPF_STX):
        return insn.dst == _FRAME_POINTER
    return cls >= BPF_ALU and bool(insn.code & BPF_X) and insn.src == _FRAME_POINTER


def _special_lengths(code: Code, start: int, lengths: list[int], exit_bytes: int) -> dict[int, int]:
    """Set the lengths that depend on more than the insn, all jumps near.

    :return: the target of each jump; both count from ``start``.
    """
    jumps: dict[int, int] = {}
    exits = 0
    for at, insn in code.special.items():
        index = at - start
        if not 0 <= index < len(lengths):
            continue
        offset = jump_offset(insn)
        if insn.code == LD_IMM64:
            lengths[index] = _load_imm64(insn, code[at + 1].imm)
            lengths[index + 1] = 0
        elif insn.code == EXIT:
            lengths[index] = _NEAR_JMP if exits else exit_bytes
            exits += 1
        elif offset is not None:
            lengths[index] = _jump(insn, offset)
            if lengths[index]:
                jumps[index] = index + 1 + offset
    return jumps


def _shrink(lengths: list[int], jumps: dict[int, int]) -> bool:
    """Make jumps short whose targets lie within 127 bytes; tell whether any became so."""
    if not jumps:
        return False
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    changed = False
    for index, target in list(jumps.items()):
        if 0 <= target < len(starts) and -128 <= starts[target] - starts[index + 1] <= 127:
            near = _NEAR_JMP if lengths[index] == _NEAR_JMP else _NEAR_JCC
            lengths[index] -= near - _SHORT
            del jumps[index]
            changed = True
    return changed


def _jump(insn: Insn, offset: int) -> int:
    if insn.code in (JA, JA32):
        return _NEAR_JMP if offset else 0
    return _compare(insn) + _NEAR_JCC


def _compare(insn: Insn) -> int:
    wide = insn.code & 7 == BPF_JMP
    if insn.code & BPF_X:
        return _two_regs(wide, insn.dst, insn.src)
    if insn.imm == 0:
        return _two_regs(wide, insn.dst, insn.dst)
    return _two_regs(wide, insn.dst, insn.dst) + (1 if _imm8(insn.imm) else 4)


@lru_cache(maxsize=4096)
def _length(word: bytes) -> int:
    insn = decode(word)
    cls = insn.code & 7
    if cls in (BPF_LDX, BPF_ST, BPF_STX):
        return _memory(insn, cls)
    if cls == BPF_JMP and insn.code & 0xF0 == BPF_CALL:
        return _TAIL_CALL_BYTES if not insn.src and insn.imm == _TAIL_CALL else 5
    if cls == 0 or insn.code & 0xF0 == BPF_EXIT:
        return 5
    return _alu(insn, cls == BPF_ALU64)


def _imm8(value: int) -> bool:
    return -128 <= value <= 127


def _two_regs(wide: bool, dst: int, src: int) -> int:
    return 2 + (wide or dst in _NEEDS_REX or src in _NEEDS_REX)


def _load_imm64(insn: Insn, high: int) -> int:
    if insn.src or high:
        return 10
    return _mov_imm(insn, wide=False)


def _mov_imm(insn: Insn, wide: bool) -> int:
    if wide and insn.imm < 0:
        return 7
    return (2 if insn.imm == 0 else 5) + (insn.dst in _NEEDS_REX)


def _alu(insn: Insn, wide: bool) -> int:
    op, by_reg = insn.code & 0xF0, insn.code & BPF_X
    base = _two_regs(wide, insn.dst, insn.src if by_reg else insn.dst)
    if op == 0xB0:  # mov
        return base if by_reg else _mov_imm(insn, wide)
    if op in (0x30, 0x90):
        return _DIVIDE_BYTES
    if op == 0xD0:  # byte swap
        return {16: 8, 32: base, 64: 3 if by_reg else 0}.get(insn.imm, base)
    if op in (0x60, 0x70, 0xC0):  # shifts
        return 5 if by_reg else base + (insn.imm != 1)
    if by_reg or op == 0x80:
        return base + (op == 0x20)
    if _imm8(insn.imm):
        return base + 1
    return base + (3 if insn.dst == 0 and op != 0x20 else 4)


def _memory(insn: Insn, cls: int) -> int:
    size = insn.code & 0x18
    disp = 0 if _imm8(insn.off) else 3
    rex = insn.dst in _NEEDS_REX or (cls != BPF_ST and insn.src in _NEEDS_REX)
    if cls == BPF_LDX:
        return disp + (3 + rex if size == 0 else 4 if size == 0x18 else 5)
    if cls == BPF_ST:
        return disp + {0x00: 7 + rex, 0x08: 6 + rex, 0x10: 4 + rex, 0x18: 8}[size]
    if insn.code & 0xE0 == 0xC0:  # atomic: lock prefix, xadd one byte more
        return disp + (5 if size == 0x18 else 4 + rex) + (insn.imm & 1)
    if size == 0x10:
        return disp + 3 + (insn.src in _BYTE_NEEDS_REX or insn.dst in _NEEDS_REX)
    return disp + {0x00: 3 + rex, 0x08: 4 + rex, 0x18: 4}[size]
