"""The instruction encoding of include/uapi/linux/bpf.h, little endian."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from typing import NamedTuple

INSN_BYTES = 8
BPF_MAXINSNS = 4096
BPF_COMPLEXITY_LIMIT_INSNS = 1_000_000

BPF_LD, BPF_LDX, BPF_ST, BPF_STX, BPF_ALU, BPF_JMP, BPF_JMP32, BPF_ALU64 = range(8)
BPF_X = 0x08
BPF_JA, BPF_CALL, BPF_EXIT = 0x00, 0x80, 0x90

LD_IMM64 = 0x18
JA = BPF_JMP | BPF_JA
JA32 = BPF_JMP32 | BPF_JA
CALL = BPF_JMP | BPF_CALL
EXIT = BPF_JMP | BPF_EXIT

PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC = 1, 2, 3, 4
PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = 5, 6
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2
BY_INDEX = (PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE)
VALUES = (PSEUDO_MAP_VALUE, PSEUDO_MAP_IDX_VALUE)

_WORDS = struct.Struct("<BBhi")
_BIG_WORDS = struct.Struct(">BBhi")
_JUMPS = frozenset(
    cls | op | src
    for cls in (BPF_JMP, BPF_JMP32)
    for op in range(0, 0x100, 0x10)
    for src in (0, BPF_X)
)
_SPECIAL = re.compile(
    b"[" + b"".join(re.escape(bytes((op,))) for op in sorted(_JUMPS | {LD_IMM64})) + b"]", re.DOTALL
)


class Insn(NamedTuple):
    """One 8-byte slot; ``off`` and ``imm`` are signed."""

    code: int
    dst: int
    src: int
    off: int
    imm: int


def decode(word: bytes | bytearray) -> Insn:
    """Return one slot."""
    op, regs, off, imm = _WORDS.unpack(word)
    return Insn(op, regs & 0xF, regs >> 4, off, imm)


def encode(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """Return one slot as bytes; ``imm`` may be given signed or unsigned."""
    return struct.pack("<BBhI", code, src << 4 | dst, off, imm & 0xFFFFFFFF)


def decode_all(raw: bytes | bytearray) -> list[Insn]:
    """Return all slots; ``raw`` is a multiple of 8 bytes.

    :raises ValueError: it is not.
    """
    if len(raw) % INSN_BYTES:
        raise ValueError(f"{len(raw)} bytes are no whole number of instructions")
    return [
        Insn(op, regs & 0xF, regs >> 4, off, imm) for op, regs, off, imm in _WORDS.iter_unpack(raw)
    ]


def encode_all(insns: Iterable[Insn]) -> bytes:
    """Return instructions as bytes."""
    return b"".join(encode(*insn) for insn in insns)


def to_little(raw: bytes) -> bytes:
    """Return big-endian instructions in little-endian form, registers included.

    The two register numbers share a byte whose halves follow the byte order.
    """
    return b"".join(
        _WORDS.pack(op, (regs & 0xF) << 4 | regs >> 4, off, imm)
        for op, regs, off, imm in _BIG_WORDS.iter_unpack(raw)
    )


def jump_offset(insn: Insn) -> int | None:
    """Return how far an insn may jump, None for insns that do not; ``gotol`` uses imm."""
    cls, op = insn.code & 7, insn.code & 0xF0
    if cls not in (BPF_JMP, BPF_JMP32) or op in (BPF_CALL, BPF_EXIT):
        return None
    return insn.imm if insn.code == JA32 else insn.off


def falls_through(insn: Insn) -> bool:
    """Tell whether the next insn may follow."""
    return insn.code not in (JA, JA32, EXIT)


class Code:
    """The instructions of a program, of which only a few need a closer look.

    ``special`` are the jumps, calls, exits and ``ld_imm64`` by index; the rest moves data and
    goes on to the next. Programs may have a million slots: what concerns all is done on bytes.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)
        self.opcodes = bytes(self.raw[::INSN_BYTES])
        self.special: dict[int, Insn] = {}
        for found in _SPECIAL.finditer(self.opcodes):
            index = found.start()
            # The second slot of ld_imm64 has opcode 0, which is not special.
            self.special[index] = self[index]

    def __len__(self) -> int:
        return len(self.opcodes)

    def __getitem__(self, index: int) -> Insn:
        at = index * INSN_BYTES
        return decode(self.raw[at : at + INSN_BYTES])

    def replace(self, index: int, insn: Insn) -> None:
        """Store another insn with the same opcode."""
        at = index * INSN_BYTES
        self.raw[at : at + INSN_BYTES] = encode(*insn)
        if index in self.special:
            self.special[index] = insn

    def words(self, start: int, end: int) -> list[bytes]:
        """Return the slots from ``start`` up to ``end`` as 8 bytes each."""
        part = bytes(self.raw[start * INSN_BYTES : end * INSN_BYTES])
        return [part[at : at + INSN_BYTES] for at in range(0, len(part), INSN_BYTES)]
