"""A program under rewriting: every instruction is a block that may grow, shrink or go.

Jumps that lead out of a block name the instruction that they go to, so nothing has to be adjusted
until the program is laid out. Jumps within a block are offsets already.
"""

from __future__ import annotations

from typing import NamedTuple

from bpfctl.isa.insn import (
    CALL,
    JA32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    Insn,
    jump_offset,
)


class Piece(NamedTuple):
    """One instruction; ``target``: the (old) instruction that it jumps to or calls, -1 for none."""

    insn: Insn
    target: int = -1


def _target(insn: Insn, index: int) -> int:
    if insn.code == CALL and insn.src == PSEUDO_CALL:
        return index + insn.imm + 1
    if insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC:
        return index + insn.imm + 1
    offset = jump_offset(insn)
    return -1 if offset is None else index + 1 + offset


class Blocks:
    """The blocks of a program, by the number of the instruction that they came from."""

    def __init__(self, insns: list[Insn]) -> None:
        self.blocks: list[list[Piece]] = []
        second = False
        for index, insn in enumerate(insns):
            self.blocks.append([Piece(insn, -1 if second else _target(insn, index))])
            second = insn.code == LD_IMM64 and not second
        self.symbols: dict[tuple[int, int], str] = {}

    def __len__(self) -> int:
        return len(self.blocks)

    def replace(self, index: int, insns: list[Insn]) -> None:
        """Put instructions in the place of one that does not jump."""
        self.blocks[index] = [Piece(insn) for insn in insns]

    def remove(self, index: int) -> None:
        """Take an instruction out."""
        self.blocks[index] = []

    def starts(self) -> list[int]:
        """Where each block will begin; one more entry is the length."""
        found, at = [], 0
        for block in self.blocks:
            found.append(at)
            at += len(block)
        found.append(at)
        return found

    def laid_out(self) -> list[Insn]:
        """The program with all jumps resolved."""
        starts = self.starts()
        result: list[Insn] = []
        for block in self.blocks:
            for insn, target in block:
                if target >= 0:
                    insn = _aim(insn, starts[target] - len(result) - 1)
                result.append(insn)
        return result


def _aim(insn: Insn, distance: int) -> Insn:
    if insn.code in (CALL, LD_IMM64) or insn.code == JA32:
        return insn._replace(imm=distance)
    return insn._replace(off=distance)
