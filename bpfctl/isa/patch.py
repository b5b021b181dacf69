"""Fields of single instructions, read and set in place in little-endian code: for linkers."""

from __future__ import annotations

from bpfctl.isa.insn import INSN_BYTES


def opcode(code: bytes | bytearray, index: int) -> int:
    """Return the opcode of instruction ``index``."""
    return code[index * INSN_BYTES]


def src_reg(code: bytes | bytearray, index: int) -> int:
    """Return the source register, which calls and ld_imm64 use as a pseudo kind."""
    return code[index * INSN_BYTES + 1] >> 4


def imm(code: bytes | bytearray, index: int) -> int:
    """Return the signed immediate."""
    at = index * INSN_BYTES + 4
    return int.from_bytes(code[at : at + 4], "little", signed=True)


def set_imm(code: bytearray, index: int, value: int) -> None:
    """Store the low 32 bits of ``value`` as immediate."""
    at = index * INSN_BYTES + 4
    code[at : at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")


def set_src_reg(code: bytearray, index: int, value: int) -> None:
    """Store the source register."""
    at = index * INSN_BYTES + 1
    code[at] = code[at] & 0xF | value << 4
