"""The form of instructions that nobody verified: whether a machine can begin to run them."""

from __future__ import annotations

from bpfctl.isa.insn import (
    CALL,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    Insn,
    decode_all,
    jump_offset,
)
from bpfctl.isa.opcodes import fields

NEWEST_ISA = 5
NR_REGS = 11


class BadForm(Exception):
    """Instructions that mean nothing; the text says which and why."""


def check_form(raw: bytes) -> list[int]:
    """Test opcodes, registers, fields and targets; return where functions start.

    :raises BadForm: the first thing that is wrong.
    """
    if not raw or len(raw) % 8:
        raise BadForm(f"{len(raw)} bytes are no program: each instruction has 8")
    insns = decode_all(raw)
    heads = _heads(insns)
    known = fields(NEWEST_ISA)
    for pc in heads:
        insn = insns[pc]
        allowed = known.get(insn.code)
        if allowed is None:
            raise BadForm(f"insn {pc}: unknown opcode {insn.code:#04x}")
        if max(insn.dst, insn.src if insn.code != CALL else 0) >= NR_REGS:
            raise BadForm(f"insn {pc}: no such register")
        held = zip(allowed, (insn.dst, insn.src, insn.off, insn.imm), strict=True)
        if any(values is not None and value not in values for values, value in held):
            raise BadForm(f"insn {pc}: reserved field is set")
    return _targets(insns, heads)


def _heads(insns: list[Insn]) -> dict[int, None]:
    """Return the insns without second slots."""
    found: dict[int, None] = {}
    pc = 0
    while pc < len(insns):
        found[pc] = None
        if insns[pc].code == LD_IMM64:
            if pc + 1 >= len(insns) or insns[pc + 1][:4] != (0, 0, 0, 0):
                raise BadForm(f"insn {pc}: half of a 64-bit load")
            pc += 1
        pc += 1
    return found


def _targets(insns: list[Insn], heads: dict[int, None]) -> list[int]:
    starts = {0}
    for pc in heads:
        insn = insns[pc]
        offset = jump_offset(insn)
        called = insn.code == CALL and insn.src == PSEUDO_CALL
        if called or (insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC):
            offset = insn.imm
            starts.add(pc + 1 + offset)
        if offset is not None and pc + 1 + offset not in heads:
            raise BadForm(f"insn {pc}: jump out of range to {pc + 1 + offset}")
    if insns[-1].code not in (EXIT, JA, JA32):
        raise BadForm("control falls off the end: last insn is not an exit or jump")
    return sorted(starts)
