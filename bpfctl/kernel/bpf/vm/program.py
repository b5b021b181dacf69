"""A program as engines take it: decoded, with its functions and the maps it names."""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property

from bpfctl.isa.insn import LD_IMM64, PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, Insn, decode_all

CODE_BASE = 1 << 32
"""Added to the index of an insn, it is what a register holds of a function's address: outside the
arena, so it can be called and nothing else."""


class VmProgram:
    """What is needed to run a program. ``raw`` are the insns as loaded, with ids of maps.

    ``trusted``: a verifier followed its values and accepted it.
    """

    def __init__(
        self,
        raw: bytes,
        starts: list[int] | None = None,
        prog_id: int = 0,
        prog_type: int = 0,
        trusted: bool = False,
    ) -> None:
        self.raw = raw
        self.insns: list[Insn] = decode_all(raw)
        self.starts = sorted(starts or [0])
        self.id = prog_id
        self.type = prog_type
        self.trusted = trusted

    def __len__(self) -> int:
        return len(self.insns)

    @property
    def functions(self) -> list[tuple[int, int]]:
        """Bounds of each function: first insn, and one past the last."""
        return list(zip(self.starts, [*self.starts[1:], len(self.insns)], strict=True))

    def function_of(self, pc: int) -> int:
        """Return the first insn of the function that ``pc`` is in."""
        return self.starts[bisect_right(self.starts, pc) - 1]

    @cached_property
    def map_ids(self) -> list[int]:
        """Ids of the maps that insns name, in order."""
        found: dict[int, None] = {}
        for insn in self.insns:
            if insn.code == LD_IMM64 and insn.src in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
                found[insn.imm] = None
        return list(found)


def imm64(insns: list[Insn], pc: int) -> int:
    """Return the 64-bit number of an ``ld_imm64`` at ``pc``, unsigned."""
    return insns[pc].imm & 0xFFFFFFFF | (insns[pc + 1].imm & 0xFFFFFFFF) << 32
