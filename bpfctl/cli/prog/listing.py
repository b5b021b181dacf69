"""A program's instructions with what is known about them: names, prototypes, source lines."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bpfctl.cli.app.session import App
from bpfctl.cli.btf.source import kernel_btf
from bpfctl.errors import CommandError, Failure, KernelError
from bpfctl.isa.disasm import text
from bpfctl.isa.helper_names import helper_name
from bpfctl.isa.insn import (
    INSN_BYTES,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    Insn,
    decode,
)
from bpfctl.uapi import ProgInfo

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf

_NOTHING = Insn(0, 0, 0, 0, 0)
_COLUMN_BITS = 10
# What isspace(3) takes away in front of a source line.
_BLANKS = " \t\n\v\f\r"


class SourceLine(NamedTuple):
    """Where an instruction comes from; ``source`` without leading blanks."""

    source: str
    file: str
    line: int
    column: int


@dataclass(slots=True)
class Listing:
    """One program. ``prototypes`` and ``lines`` are by the index of an instruction."""

    info: ProgInfo
    insns: list[Insn]
    prototypes: dict[int, str] = field(default_factory=dict)
    lines: dict[int, SourceLine] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, app: App, info: ProgInfo) -> Listing:
        """Decode a program, and read its types if it has any.

        :raises CommandError: the types cannot be had.
        """
        code = info.insns
        made = cls(
            info,
            [decode(code[at : at + INSN_BYTES]) for at in range(0, len(code), INSN_BYTES)],
        )
        if info.btf_id:
            try:
                made._read_info(kernel_btf(app, info.btf_id))
            except (KernelError, Failure) as exc:
                raise CommandError("failed to get btf") from exc
        return made

    def _read_info(self, btf: Btf) -> None:
        from bpfctl.btf.dump import prototype

        for at, type_id in struct.iter_unpack("<2I", self.info.func_info):
            self.prototypes[at] = prototype(btf, type_id)
            self.functions.append(btf.type(type_id).name)
        for at, file, line, place in struct.iter_unpack("<4I", self.info.line_info):
            self.lines[at] = SourceLine(
                btf.string(line).lstrip(_BLANKS),
                btf.string(file),
                place >> _COLUMN_BITS,
                place & (1 << _COLUMN_BITS) - 1,
            )

    def indexes(self, start: int = 0, end: int | None = None) -> Iterator[int]:
        """Yield the instructions from ``start`` up to ``end``, one for a ld_imm64."""
        index = start
        while index < (len(self.insns) if end is None else end):
            yield index
            index += 2 if self.insns[index].code == LD_IMM64 else 1

    def text(self, index: int) -> str:
        """Return the text of an instruction."""
        symbol = self.info.symbols.get(index)

        def callee(insn: Insn) -> str:
            return symbol if symbol and insn.src == 0 else self._callee(insn)

        return text(self.insns[index], self._follower(index), callee, _value)

    def raw(self, index: int) -> bytes:
        """Return the 8 bytes of an instruction, 16 of a ld_imm64."""
        slots = 2 if self.insns[index].code == LD_IMM64 else 1
        return self.info.insns[index * INSN_BYTES : (index + slots) * INSN_BYTES]

    def _follower(self, index: int) -> Insn:
        return self.insns[index + 1] if index + 1 < len(self.insns) else _NOTHING

    def _callee(self, insn: Insn) -> str:
        if insn.src != PSEUDO_CALL:
            return helper_name(insn.imm) or "unknown" if insn.src == 0 else "kernel-function"
        tags = self.info.prog_tags
        if not self.info.jited_prog_len or not 0 <= insn.imm < len(tags):
            return f"{insn.off:+d}"
        name = self.functions[insn.imm] if insn.imm < len(self.functions) else "F"
        return f"{insn.off:+d}#bpf_prog_{tags[insn.imm].hex()}_{name}"


def _value(insn: Insn, follower: Insn) -> str:
    """Return what a ld_imm64 loads."""
    if insn.src == PSEUDO_MAP_FD:
        return f"map[id:{insn.imm}]"
    if insn.src == PSEUDO_MAP_VALUE:
        return f"map[id:{insn.imm}][0]+{follower.imm}"
    if insn.src == PSEUDO_MAP_IDX_VALUE:
        return f"map[idx:{insn.imm}]+{follower.imm}"
    if insn.src == PSEUDO_FUNC:
        return f"subprog[{insn.imm:+d}]"
    return f"0x{(follower.imm & 0xFFFFFFFF) << 32 | insn.imm & 0xFFFFFFFF:x}"
