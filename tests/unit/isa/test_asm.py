"""Assembler, disassembler and the fields of opcodes agree with each other."""

from __future__ import annotations

import pytest

from bpfctl.isa import opcodes
from bpfctl.isa.asm import AsmError, assemble
from bpfctl.isa.disasm import text
from bpfctl.isa.insn import CALL, LD_IMM64, Insn, decode_all, encode, encode_all, to_little
from bpfctl.isa.opcodes import fields, known_opcodes

NOTHING = Insn(0, 0, 0, 0, 0)


def spread(allowed: frozenset[int] | None, some: tuple[int, ...]) -> tuple[int, ...]:
    return some if allowed is None else tuple(sorted(allowed))


def forms() -> list[Insn]:
    """Return insns of every opcode, with the values that its fields may hold."""
    found = []
    for code, may in fields(4).items():
        for dst in spread(may.dst, (0, 9)):
            for src in spread(may.src, (0, 3)):
                for off in spread(may.off, (-8, 16)):
                    for imm in spread(may.imm, (-2, 0, 7)):
                        found.append(Insn(code, dst, src, off, imm))
    return found


def notation(insn: Insn) -> str:
    return text(insn, NOTHING).partition(") ")[2]


def test_what_is_disassembled_assembles_to_the_same() -> None:
    for insn in forms():
        if insn.code in (LD_IMM64, CALL):
            continue  # their notation in the log does not tell all
        shown = notation(insn)
        assert decode_all(assemble(shown)) == [_without_silent_fields(insn)], shown


def _without_silent_fields(insn: Insn) -> Insn:
    """Return an insn without what its notation does not show."""
    cast = insn.code == 0xBF and insn.off == opcodes.ADDR_SPACE_CAST
    if insn.code == 0xBF and not cast:
        return insn._replace(imm=0)
    return insn


@pytest.mark.parametrize(
    ("source", "insns"),
    [
        ("r1 = map[2]", [Insn(0x18, 1, 1, 0, 2), NOTHING]),
        ("r1 = map[0]+8", [Insn(0x18, 1, 2, 0, 0), Insn(0, 0, 0, 0, 8)]),
        ("r1 = btfid[1]", [Insn(0x18, 1, 3, 0, 1), NOTHING]),
        ("r2 = func pc+3", [Insn(0x18, 2, 4, 0, 3), NOTHING]),
        ("r0 = 0x100000002 ll", [Insn(0x18, 0, 0, 0, 2), Insn(0, 0, 0, 0, 1)]),
        ("call pc-2", [Insn(0x85, 0, 1, 0, -2)]),
        ("call kfunc[3]", [Insn(0x85, 0, 2, 0, 3)]),
        ("call bpf_map_lookup_elem#1", [Insn(0x85, 0, 0, 0, 1)]),
        ("call map_lookup_elem", [Insn(0x85, 0, 0, 0, 1)]),
        (".insn 0x85 0 9 -1 5", [Insn(0x85, 0, 9, -1, 5)]),
        ("w1 = w2  # a comment; exit", [Insn(0xBC, 1, 2, 0, 0)]),
        ("r0 = 0; exit", [Insn(0xB7, 0, 0, 0, 0), Insn(0x95, 0, 0, 0, 0)]),
        ("(b7) r0 = 0\nexit\n", [Insn(0xB7, 0, 0, 0, 0), Insn(0x95, 0, 0, 0, 0)]),
        ("", []),
    ],
)
def test_notation(source: str, insns: list[Insn]) -> None:
    assert decode_all(assemble(source)) == insns
    assert encode_all(insns) == assemble(source)


@pytest.mark.parametrize(
    "source", ["nonsense", "r1 = -r2", "call bpf_no_such", "r77 = 0", "goto pc+99999", "r1 += "]
)
def test_what_is_no_instruction_is_named(source: str) -> None:
    with pytest.raises(AsmError):
        assemble(source)


def test_later_sets_have_more() -> None:
    assert known_opcodes(3) < known_opcodes(4)
    assert known_opcodes(4) <= fields(4).keys()


def test_big_endian_code_is_turned_around() -> None:
    little = encode(0x61, 1, 2, -4, 0x1234)
    big = bytes((0x61, 1 << 4 | 2)) + little[2:4][::-1] + little[4:][::-1]
    assert to_little(big) == little


def test_cut_code_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        decode_all(bytes(9))
