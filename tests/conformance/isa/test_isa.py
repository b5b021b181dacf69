"""Every instruction of v1 to v4, with operands at the edges, on every engine.

What must come out is computed by ``reference.py``, which shares nothing with the machine.
"""

from __future__ import annotations

import pytest

from bpfctl.isa.insn import encode
from bpfctl.isa.opcodes import known_opcodes
from bpfctl.kernel.bpf.vm.choose import engine_named
from bpfctl.kernel.kernel import Kernel
from conformance.isa import reference as ref
from conformance.isa.engines import ENGINES

EDGES = (
    0, 1, 2, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000,
    0xFFFFFFFF, 0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0xFFFFFFFFFFFFFFFF,
    0x0123456789ABCDEF,
)  # fmt: skip
ALU = {
    "add": 0x00, "sub": 0x10, "mul": 0x20, "div": 0x30, "or": 0x40, "and": 0x50, "lsh": 0x60,
    "rsh": 0x70, "neg": 0x80, "mod": 0x90, "xor": 0xA0, "mov": 0xB0, "arsh": 0xC0,
    "sdiv": 0x130, "smod": 0x190,
}  # fmt: skip
JUMPS = {
    "jeq": 0x10, "jgt": 0x20, "jge": 0x30, "jset": 0x40, "jne": 0x50, "jsgt": 0x60, "jsge": 0x70,
    "jlt": 0xA0, "jle": 0xB0, "jslt": 0xC0, "jsle": 0xD0,
}  # fmt: skip
SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
ATOMICS = {"add": 0x00, "or": 0x40, "and": 0x50, "xor": 0xA0, "xchg": 0xE0}
EXIT = encode(0x95)
USED: set[int] = set()


def _wide(reg: int, value: int) -> bytes:
    return encode(0x18, reg, 0, 0, value & 0xFFFFFFFF) + encode(0, imm=value >> 32)


class Machine:
    """One engine, and what it makes of instructions."""

    def __init__(self, engine: str) -> None:
        self._kernel = Kernel.in_memory()
        self._kernel.engine = engine

    def run(self, code: bytes, memory: bytes = b"") -> tuple[int, bytes]:
        at = 0
        while at < len(code):
            USED.add(code[at])
            at += 16 if code[at] == 0x18 else 8
        return self._kernel.execute(code, memory)


@pytest.fixture(scope="module", params=ENGINES)
def machine(request) -> Machine:
    return Machine(request.param)


def _results(machine: Machine, bodies: list[bytes]) -> list[int]:
    """Run bodies that leave a result in r0, all in one program; return the results."""
    code = b"".join(body + encode(0x7B, 1, 0, 8 * at) for at, body in enumerate(bodies))
    _, memory = machine.run(code + encode(0xB7) + EXIT, bytes(8 * len(bodies)))
    return [int.from_bytes(memory[at : at + 8], "little") for at in range(0, len(memory), 8)]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", ALU)
def test_alu_on_registers(machine, name, bits):
    op = ALU[name] & 0xFF | (0x07 if bits == 64 else 0x04)
    off = ALU[name] >> 8
    pairs = [(a, b) for a in EDGES for b in EDGES]
    if name == "neg":
        insn = encode(op, 0)
        pairs = [(a, 0) for a in EDGES]
    else:
        insn = encode(op | 0x08, 0, 2, off)
    bodies = [_wide(0, a) + _wide(2, b) + insn for a, b in pairs]
    assert _results(machine, bodies) == [ref.alu(name, a, b, bits) for a, b in pairs]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", [name for name in ALU if name != "neg"])
def test_alu_on_immediates(machine, name, bits):
    op = ALU[name] & 0xFF | (0x07 if bits == 64 else 0x04)
    imms = [0, 1, 2, 31, 32, 63, 127, -1, -2, -128, 0x7FFFFFFF, -0x80000000, 0x1234]
    if name in ("lsh", "rsh", "arsh"):
        imms = list(range(0, bits, 7))
    pairs = [(a, imm) for a in EDGES for imm in imms]
    bodies = [_wide(0, a) + encode(op, 0, 0, ALU[name] >> 8, imm) for a, imm in pairs]
    want = [ref.alu(name, a, ref.u(imm), bits) for a, imm in pairs]
    assert _results(machine, bodies) == want


@pytest.mark.parametrize(("cls", "widths"), [(0x07, (8, 16, 32)), (0x04, (8, 16))])
def test_moves_that_extend_signs(machine, cls, widths):
    cases = [(a, width) for a in EDGES for width in widths]
    bodies = [_wide(2, a) + encode(cls | 0xB8, 0, 2, width) for a, width in cases]
    bits = 64 if cls == 0x07 else 32
    assert _results(machine, bodies) == [ref.u(ref.s(a, width), bits) for a, width in cases]


@pytest.mark.parametrize(("code", "swaps"), [(0xD4, False), (0xDC, True), (0xD7, True)])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_byte_order(machine, code, swaps, bits):
    bodies = [_wide(0, a) + encode(code, 0, 0, 0, bits) for a in EDGES]
    want = [
        int.from_bytes(ref.u(a, bits).to_bytes(bits // 8, "little"), "big" if swaps else "little")
        for a in EDGES
    ]
    assert _results(machine, bodies) == want


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", JUMPS)
def test_branches(machine, name, bits):
    op = JUMPS[name] | (0x05 if bits == 64 else 0x06)
    by_reg = [
        _wide(2, a) + _wide(3, b) + encode(0xB7, 0, 0, 0, 1) + encode(op | 0x08, 2, 3, 1)
        + encode(0xB7, 0)
        for a in EDGES for b in EDGES
    ]  # fmt: skip
    want = [int(ref.jump(name, a, b, bits)) for a in EDGES for b in EDGES]
    assert _results(machine, by_reg) == want
    imms = (0, 1, 2, -1, 127, 0x7FFFFFFF, -0x80000000)
    by_imm = [
        _wide(2, a) + encode(0xB7, 0, 0, 0, 1) + encode(op, 2, 0, 1, imm) + encode(0xB7, 0)
        for a in EDGES for imm in imms
    ]  # fmt: skip
    want = [int(ref.jump(name, a, ref.u(imm), bits)) for a in EDGES for imm in imms]
    assert _results(machine, by_imm) == want


def test_jumps(machine):
    goto = encode(0x05, off=1) + encode(0xB7, 0, imm=1) + encode(0xB7, 0, imm=2) + EXIT
    assert machine.run(goto)[0] == 2
    gotol = encode(0x06, imm=1) + encode(0xB7, 0, imm=1) + encode(0xB7, 0, imm=2) + EXIT
    assert machine.run(gotol)[0] == 2
    loop = encode(0xB7, 0) + encode(0xB7, 2, imm=10) + encode(0x07, 0, imm=3)
    loop += encode(0x07, 2, imm=-1) + encode(0x55, 2, 0, -3, 0) + EXIT
    assert machine.run(loop)[0] == 30


def test_may_goto_ends_by_itself_or_not(machine):
    code = encode(0xB7, 0) + encode(0xE5, 0, 0, 3) + encode(0x07, 0, imm=1)
    code += encode(0x25, 0, 0, 1, 100) + encode(0x05, off=-4) + EXIT
    assert machine.run(code)[0] == 101


@pytest.mark.parametrize("size", SIZES)
def test_loads_and_stores(machine, size):
    memory = bytes(range(0x70, 0x90))
    for off in range(0, 17):
        field = memory[off : off + size]
        load = encode(0x61 | SIZES[size], 0, 1, off) + EXIT
        assert machine.run(load, memory)[0] == int.from_bytes(field, "little")
        if size < 8:
            signed = encode(0x81 | SIZES[size], 0, 1, off) + EXIT
            want = ref.u(int.from_bytes(field, "little", signed=True))
            assert machine.run(signed, memory)[0] == want
        value = 0xF1E2D3C4B5A69788
        stored = value.to_bytes(8, "little")[:size]
        want_memory = memory[:off] + stored + memory[off + size :]
        store = _wide(2, value) + encode(0x63 | SIZES[size], 1, 2, off) + encode(0xB7) + EXIT
        assert machine.run(store, memory)[1] == want_memory
        imm = encode(0x62 | SIZES[size], 1, 0, off, -2) + encode(0xB7) + EXIT
        filled = (-2 & (1 << 8 * size) - 1).to_bytes(size, "little")
        assert machine.run(imm, memory)[1] == memory[:off] + filled + memory[off + size :]


def test_the_frame(machine):
    code = encode(0x7A, 10, 0, -512, 7) + encode(0x72, 10, 0, -1, -1) + encode(0x79, 0, 10, -512)
    code += encode(0x71, 2, 10, -1) + encode(0x0F, 0, 2) + EXIT
    assert machine.run(code)[0] == 7 + 255


@pytest.mark.parametrize("size", [4, 8])
@pytest.mark.parametrize("fetch", [0, 1])
@pytest.mark.parametrize("name", ATOMICS)
def test_atomics(machine, name, fetch, size):
    if name == "xchg" and not fetch:
        return
    bits = 8 * size
    for old in EDGES:
        for operand in (0, 1, 0x80000000, 0xFFFFFFFFFFFFFFFF, 0x0123456789ABCDEF):
            code = _wide(2, operand) + encode(0xC3 | SIZES[size], 1, 2, 8, ATOMICS[name] | fetch)
            code += encode(0xBF, 0, 2) + EXIT
            r0, memory = machine.run(code, bytes(8) + old.to_bytes(8, "little"))
            assert r0 == (ref.u(old, bits) if fetch else operand)
            new = ref.atomic(name, old, operand, bits)
            kept = old >> bits << bits
            assert int.from_bytes(memory[8:], "little") == kept | new


@pytest.mark.parametrize("size", [4, 8])
def test_compare_and_exchange(machine, size):
    bits = 8 * size
    for old, compared in [(5, 5), (5, 6), (0x1_0000_0005, 5), (5, 0x1_0000_0005)]:
        code = _wide(0, compared) + _wide(2, 0xAABBCCDD99) + encode(
            0xC3 | SIZES[size], 1, 2, 0, 0xF1
        )
        r0, memory = machine.run(code + EXIT, old.to_bytes(8, "little"))
        same = ref.u(old, bits) == ref.u(compared, bits)
        new = old >> bits << bits | ref.u(0xAABBCCDD99, bits) if same else old
        assert (r0, int.from_bytes(memory, "little")) == (ref.u(old, bits), new)


@pytest.mark.parametrize("size", SIZES)
def test_ordered_accesses(machine, size):
    code = encode(0xC3 | SIZES[size], 0, 1, 8, 0x100) + encode(0xC3 | SIZES[size], 1, 0, 0, 0x110)
    r0, memory = machine.run(code + EXIT, bytes(8) + bytes(range(0x81, 0x89)))
    assert r0 == int.from_bytes(memory[8 : 8 + size], "little")
    assert memory[:8] == memory[8 : 8 + size].ljust(8, b"\0")


def test_functions_keep_what_they_must(machine):
    call = encode(0xB7, 6, imm=5) + encode(0xB7, 1, imm=3) + encode(0x85, 0, 1, 0, 2)
    call += encode(0x0F, 0, 6) + EXIT
    called = encode(0xB7, 6, imm=9) + encode(0x7B, 10, 6, -8) + encode(0xBF, 0, 1)
    called += encode(0x07, 0, imm=100) + EXIT
    assert machine.run(call + called)[0] == 3 + 100 + 5


def test_every_opcode_was_used():
    """Calls of helpers, maps and packets need more than a buffer: the corpus of runs has them."""
    packet = {0x20, 0x28, 0x30, 0x40, 0x48, 0x50}
    assert known_opcodes(5) - USED - packet == set()


def test_all_built_in_engines_are_tried():
    from bpfctl.plugins import BUILTIN_ENGINES

    assert {engine_named(name).name for name in ENGINES} <= {*BUILTIN_ENGINES}
