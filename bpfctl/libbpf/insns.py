"""Instruction words as object files store them: what linking needs of the encoding."""

from __future__ import annotations

import struct

INSN_BYTES = 8

CALL = 0x85
LD_IMM64 = 0x18
PSEUDO_CALL = 1
PSEUDO_MAP_FD = 1
PSEUDO_MAP_VALUE = 2
PSEUDO_KFUNC_CALL = 2
PSEUDO_BTF_ID = 3
PSEUDO_FUNC = 4

_LITTLE = struct.Struct("<BBhi")
_BIG = struct.Struct(">BBhi")


def to_little(code: bytes) -> bytes:
    """Return big-endian instructions in little-endian form, registers included.

    The two register numbers share a byte whose halves follow the byte order.
    """
    out = bytearray()
    for opcode, regs, off, imm in _BIG.iter_unpack(code):
        out += _LITTLE.pack(opcode, (regs & 0xF) << 4 | regs >> 4, off, imm)
    return bytes(out)


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
