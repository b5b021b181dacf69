"""Tags: digests of programs and of their functions, and calls between the latter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from bpfctl.isa.insn import (
    CALL,
    INSN_BYTES,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    Insn,
    decode,
    encode,
)

TAG_BYTES = 8
# Where x86-64 has modules: stands for the address of a function before it has one.
MODULES_VADDR = 0xFFFFFFFFC0000000


def tag(insns: bytes, digest: str) -> bytes:
    """Return the tag of a program: a digest of its instructions without map descriptors.

    ``insns`` as given to BPF_PROG_LOAD; ``digest`` a hashlib name. Mirrors
    bpf_prog_calc_tag().
    """
    words = bytearray(insns)
    for at in range(0, len(words), INSN_BYTES):
        src = words[at + 1] >> 4
        if words[at] != LD_IMM64 or src not in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE):
            continue
        words[at + 4 : at + 8] = bytes(4)
        follower = at + INSN_BYTES
        if words[follower : follower + 4] == bytes(4):
            words[follower + 4 : follower + 8] = bytes(4)
    return hashlib.new(digest, words, usedforsecurity=False).digest()[:TAG_BYTES]


def _references(code: bytes | bytearray, starts: list[int]) -> Iterator[tuple[int, Insn, int]]:
    """Yield what refers to a function: byte offset, insn, and the number of the function."""
    for at in range(0, len(code) if starts else 0, INSN_BYTES):
        if code[at] not in (CALL, LD_IMM64):
            continue
        insn = decode(code[at : at + INSN_BYTES])
        if insn.src == (PSEUDO_CALL if insn.code == CALL else PSEUDO_FUNC):
            yield at, insn, starts.index(at // INSN_BYTES + insn.imm + 1)


def shown_insns(insns: bytes, starts: list[int]) -> bytes:
    """Return the insns as info shows them: calls have their distance in the offset.

    The number of the function that is called, or whose address is taken, is in the immediate of
    the call, or of the second slot. ``starts`` as for :func:`split_functions`.
    """
    code = bytearray(insns)
    for at, insn, number in _references(insns, starts):
        if insn.code == CALL:
            distance = (insn.imm & 0xFFFF ^ 0x8000) - 0x8000
            code[at : at + INSN_BYTES] = encode(CALL, insn.dst, insn.src, distance, number)
        else:
            code[at + INSN_BYTES : at + 2 * INSN_BYTES] = encode(0, imm=number)
    return bytes(code)


def split_functions(insns: bytes, starts: list[int]) -> list[bytes]:
    """Return the functions of a program as the JIT gets them (jit_subprogs).

    ``starts`` are their first insns, none for a program of one function. A call says which
    function it goes to in its offset, and nothing in its immediate.
    """
    ends = [*starts[1:], len(insns) // INSN_BYTES]
    code = bytearray(insns)
    for at, insn, number in _references(insns, starts):
        called = insn.code == CALL
        address = 1 if called else MODULES_VADDR
        code[at : at + INSN_BYTES] = encode(insn.code, insn.dst, insn.src, number, address)
        if not called:
            code[at + INSN_BYTES : at + 2 * INSN_BYTES] = encode(0, imm=MODULES_VADDR >> 32)
    return [
        bytes(code[start * INSN_BYTES : end * INSN_BYTES])
        for start, end in zip(starts, ends, strict=False)
    ]
