"""Random programs that every kernel's verifier accepts, for comparing engines.

Nine registers come from the context, are worked on, and go back into it; the frame, the context,
forward jumps, bounded loops, atomics and calls of a function are used in between. Nothing
undefined is read, so that all machines must agree on every byte.
"""

from __future__ import annotations

import random

from bpfctl.isa.insn import encode

CTX = 9
REGS = tuple(range(9))
CTX_BYTES = 8 * len(REGS) + 32
STACK = 32
"""Bytes of the frame that are written first and then used."""
ALU = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
ATOMICS = (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1)
EDGES = (
    0, 1, 2, 3, 7, 8, 31, 32, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF,
    0x80000000, 0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000,
    0xFFFFFFFFFFFFFFFF, 0xDEADBEEFCAFEBABE, 0x1122334455667788,
)  # fmt: skip


def number(rng: random.Random) -> int:
    """Return a number of 64 bits, often one at an edge."""
    return rng.choice(EDGES) if rng.random() < 0.7 else rng.getrandbits(rng.choice((8, 16, 32, 64)))


def context(rng: random.Random) -> bytes:
    """Return a context."""
    return b"".join(number(rng).to_bytes(8, "little") for _ in range(CTX_BYTES // 8))


def _imm(rng: random.Random) -> int:
    return (number(rng) & 0xFFFFFFFF) - (1 << 32 if number(rng) & 1 else 0) & 0xFFFFFFFF


class Generator:
    """Makes the programs of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def program(self) -> bytes:
        """Return the next program."""
        rng = self.rng
        code = [encode(0xBF, CTX, 1)]
        for at in range(STACK // 8):
            code.append(encode(0x7A, 10, 0, -8 * (at + 1), _imm(rng)))
        code += [encode(0x79, reg, CTX, 8 * reg) for reg in REGS]
        for _ in range(rng.randrange(1, 6)):
            code += self._part()
        code += [encode(0x7B, CTX, reg, 8 * reg) for reg in REGS]
        code.append(encode(0x95))
        return b"".join(code)

    def _part(self) -> list[bytes]:
        kind = self.rng.random()
        if kind < 0.5:
            return self._straight(self.rng.randrange(1, 12))
        if kind < 0.75:
            return self._branch()
        if kind < 0.9:
            return self._loop()
        return self._diamond()

    def _straight(self, count: int) -> list[bytes]:
        return [insn for _ in range(count) for insn in self._insn()]

    def _branch(self) -> list[bytes]:
        body = self._straight(self.rng.randrange(1, 6))
        return [self._jump(len(body)), *body]

    def _diamond(self) -> list[bytes]:
        one, other = (self._straight(self.rng.randrange(1, 5)) for _ in range(2))
        return [self._jump(len(one) + 1), *one, encode(0x05, off=len(other)), *other]

    def _loop(self) -> list[bytes]:
        """Return a loop that counts in the frame, where nothing else writes."""
        rounds = self.rng.randrange(1, 9)
        body = self._straight(self.rng.randrange(1, 6))
        # Another register is lent for the counter, and read again behind it.
        head = [encode(0x7A, 10, 0, -40, rounds)]
        tail = [
            encode(0x7B, 10, 8, -48),
            encode(0x79, 8, 10, -40),
            encode(0x07, 8, 0, 0, -1),
            encode(0x7B, 10, 8, -40),
            encode(0xBF, 0, 8),
            encode(0x79, 8, 10, -48),
        ]
        back = len(body) + len(tail) + 1
        return [*head, *body, *tail, encode(0x55, 0, 0, -back, 0)]

    def _jump(self, distance: int) -> bytes:
        rng = self.rng
        cls = rng.choice((0x05, 0x06))
        op = rng.choice(JUMPS)
        if rng.random() < 0.5:
            return encode(cls | op, rng.choice(REGS), 0, distance, _imm(rng))
        return encode(cls | op | 0x08, rng.choice(REGS), rng.choice(REGS), distance)

    def _insn(self) -> list[bytes]:
        kind = self.rng.random()
        if kind < 0.62:
            return [self._alu()]
        if kind < 0.70:
            return [self._other()]
        if kind < 0.75:
            wide = number(self.rng)
            dst = self.rng.choice(REGS)
            return [encode(0x18, dst, 0, 0, wide & 0xFFFFFFFF), encode(0, imm=wide >> 32)]
        return [self._memory()]

    def _alu(self) -> bytes:
        rng = self.rng
        cls, op, dst = rng.choice((0x04, 0x07)), rng.choice(ALU), rng.choice(REGS)
        off = rng.choice((0, 1)) if op in (0x30, 0x90) else 0
        if rng.random() < 0.5:
            if op == 0xB0 and rng.random() < 0.3:
                off = rng.choice((8, 16, 32) if cls == 0x07 else (8, 16))
            return encode(cls | op | 0x08, dst, rng.choice(REGS), off)
        imm = _imm(rng)
        if op in (0x60, 0x70, 0xC0):
            imm = rng.randrange(64 if cls == 0x07 else 32)
        if op in (0x30, 0x90) and not imm:
            imm = 3
        return encode(cls | op, dst, 0, off, imm)

    def _other(self) -> bytes:
        rng = self.rng
        dst = rng.choice(REGS)
        if rng.random() < 0.4:
            return encode(rng.choice((0x84, 0x87)), dst)
        return encode(rng.choice((0xD4, 0xDC, 0xD7)), dst, 0, 0, rng.choice((16, 32, 64)))

    def _memory(self) -> bytes:
        rng = self.rng
        size = rng.choice((1, 2, 4, 8))
        code = SIZES[size]
        base, low, span = rng.choice(((10, -STACK, STACK), (CTX, 8 * len(REGS), 32)))
        off = low + rng.randrange(span // size) * size
        reg = rng.choice(REGS)
        kind = rng.random()
        if kind < 0.35:
            return encode(0x61 | code, reg, base, off)
        if kind < 0.45 and size < 8:
            return encode(0x81 | code, reg, base, off)
        if kind < 0.65:
            return encode(0x63 | code, base, reg, off)
        if kind < 0.8 or size < 4 or base == CTX:
            return encode(0x62 | code, base, 0, off, _imm(rng))
        return encode(0xC3 | code, base, reg, off, rng.choice(ATOMICS))
