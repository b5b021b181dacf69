"""Fields that an instruction does not use, tested before the walk (from 7.1)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_ST,
    BPF_STX,
    BPF_X,
    LD_IMM64,
    PSEUDO_KFUNC_CALL,
    Insn,
)
from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.env import Env

REGS = 11
_RMW = frozenset((0x00, 0x01, 0x50, 0x51, 0x40, 0x41, 0xA0, 0xA1, 0xE1, 0xF1, 0x100, 0x110))


def check_fields(env: Env) -> None:
    """Refuse instructions with something in fields that they do not have.

    :raises Refused: EINVAL.
    """
    idx = 0
    while idx < len(env.insns):
        insn = env.insns[idx]
        for regno in (insn.dst, insn.src):
            if regno >= REGS and not (insn.code == LD_IMM64 and regno == insn.src):
                env.fail(E.INVAL, f"R{regno} is invalid")
        _check(env, insn)
        idx += 2 if insn.code == LD_IMM64 else 1


def _check(env: Env, insn: Insn) -> None:
    cls = insn.code & 7
    if cls in (BPF_ALU, BPF_ALU64):
        _alu(env, insn)
    elif cls in (BPF_JMP, BPF_JMP32):
        _jmp(env, insn)
    elif cls == BPF_ST and insn.src:
        env.fail(E.INVAL, "BPF_ST uses reserved fields")
    elif cls == BPF_STX:
        if insn.code & 0xE0 == 0xC0:
            if insn.imm not in _RMW:
                env.fail(
                    E.INVAL,
                    f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & 0xFFFFFFFF:02x}",
                )
        elif insn.imm:
            env.fail(E.INVAL, "BPF_STX uses reserved fields")
    elif cls == BPF_LD and insn.code & 0xE0 in (0x20, 0x40):
        if insn.dst or insn.off or (insn.code & 0xE0 == 0x20 and insn.src):
            env.fail(E.INVAL, "BPF_LD_[ABS|IND] uses reserved fields")


def _alu(env: Env, insn: Insn) -> None:
    opcode = insn.code & 0xF0
    is64 = insn.code & 7 == BPF_ALU64
    by_reg = insn.code & BPF_X
    if opcode == scalar.NEG:
        if by_reg or insn.src or insn.off or insn.imm:
            env.fail(E.INVAL, "BPF_NEG uses reserved fields")
    elif opcode == scalar.END:
        if insn.src or insn.off or insn.imm not in (16, 32, 64) or (is64 and by_reg):
            env.fail(E.INVAL, "BPF_END uses reserved fields")
    elif opcode == scalar.MOV:
        _mov(env, insn, is64)
    else:
        signed = opcode in (scalar.DIV, scalar.MOD) and insn.off == 1
        if (insn.off and not signed) or (insn.imm if by_reg else insn.src):
            env.fail(E.INVAL, "BPF_ALU uses reserved fields")


def _mov(env: Env, insn: Insn, is64: bool) -> None:
    if not insn.code & BPF_X:
        if insn.src or insn.off:
            env.fail(E.INVAL, "BPF_MOV uses reserved fields")
        return
    if is64 and insn.off == 1:
        if insn.imm not in (1, 1 << 16):
            env.fail(E.INVAL, "addr_space_cast insn can only convert between address space 1 and 0")
        return
    if insn.imm or insn.off not in ((0, 8, 16, 32) if is64 else (0, 8, 16)):
        env.fail(E.INVAL, "BPF_MOV uses reserved fields")


def _jmp(env: Env, insn: Insn) -> None:
    opcode = insn.code & 0xF0
    by_reg = insn.code & BPF_X
    is32 = insn.code & 7 == BPF_JMP32
    if opcode == BPF_CALL:
        if insn.dst or insn.src > 2 or (insn.off and insn.src != PSEUDO_KFUNC_CALL):
            env.fail(E.INVAL, "BPF_CALL uses reserved fields")
    elif opcode == BPF_EXIT:
        if insn.imm or insn.src or insn.dst:
            env.fail(E.INVAL, "BPF_EXIT uses reserved fields")
    elif opcode == 0:
        if insn.src or insn.dst or (insn.off if is32 else insn.imm):
            env.fail(E.INVAL, "BPF_JA uses reserved fields")
    elif opcode == 0xE0:
        if insn.src or insn.dst or insn.imm:
            env.fail(E.INVAL, f"invalid may_goto imm {insn.imm}")
    elif insn.imm if by_reg else insn.src:
        env.fail(E.INVAL, "BPF_JMP/JMP32 uses reserved fields")
