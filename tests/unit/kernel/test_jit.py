"""Length of machine code, against what x86-64 kernels reported or what their encodings say."""

from __future__ import annotations

import pytest

from bpfctl.isa.insn import Code, encode
from bpfctl.kernel.bpf.jit import image_bytes
from unit.kernel.machine import Machine
from unit.kernel.progs import EXIT, R0_ZERO, call, jump, load_map, straight, with_functions


def alone(insns: bytes) -> int:
    """Bytes of the insns without prologue and exit."""
    return image_bytes(Code(insns), 0, len(insns) // 8, 0, 0)


@pytest.mark.parametrize(
    ("profile", "two", "with_sub"),
    [("5.10", 15, 30), ("6.1", 16, 32), ("6.12", 25, 50), ("6.18", 20, 40)],
)
def test_measured_programs(profile: str, two: int, with_sub: int):
    machine = Machine(profile)
    assert machine.prog(machine.load()).jited_len == two
    sub = machine.prog(machine.load(with_functions([2]))).jited_len
    assert sub == with_sub + 5  # and a call


def test_map_addresses_take_ten_bytes():
    machine = Machine("6.1")
    insns = load_map(machine.array()) + straight(199)
    assert machine.prog(machine.load(insns)).jited_len == 418 + 2


@pytest.mark.parametrize(
    ("insns", "want"),
    [
        pytest.param(encode(0xBF, 1, 6) + EXIT, 3 + 1 + 1, id="r1 = r6: rbx is pushed and popped"),
        pytest.param(encode(0xB7, 0, imm=1), 5, id="mov r0, 1"),
        pytest.param(encode(0xB7, 0, imm=-1), 7, id="mov r0, -1"),
        pytest.param(encode(0xB4, 5, imm=0), 3, id="w5 = 0 needs a REX prefix"),
        pytest.param(encode(0x07, 1, imm=8), 4, id="r1 += 8"),
        pytest.param(encode(0x07, 1, imm=1000), 7, id="r1 += 1000"),
        pytest.param(encode(0x07, 0, imm=1000), 6, id="r0 += 1000"),
        pytest.param(encode(0x67, 1, imm=1), 3, id="r1 <<= 1"),
        pytest.param(encode(0x67, 1, imm=3), 4, id="r1 <<= 3"),
        pytest.param(encode(0x79, 1, 2, 8), 4, id="r1 = *(u64 *)(r2 + 8)"),
        pytest.param(encode(0x61, 1, 2, 8), 3, id="r1 = *(u32 *)(r2 + 8)"),
        pytest.param(encode(0x61, 1, 2, 300), 6, id="displacement of 4 bytes"),
        pytest.param(encode(0x7B, 2, 1, 8), 4, id="*(u64 *)(r2 + 8) = r1"),
        pytest.param(encode(0x7B, 10, 1, -8), 4 + 7, id="stack: sub rsp"),
        pytest.param(call(5), 5, id="helper call"),
        pytest.param(jump(0), 0, id="jump to the next insn"),
        pytest.param(jump(1, 0x15) + R0_ZERO, 3 + 2 + 2, id="short jump"),
        pytest.param(jump(100, 0x15) + R0_ZERO * 100, 3 + 6 + 200, id="near jump"),
        pytest.param(EXIT + EXIT, 5, id="second exit jumps to the first"),
    ],
)
def test_encodings(insns: bytes, want: int):
    assert alone(insns) == want


def test_jumps_get_short_when_what_they_cross_does():
    # 60 jumps over each other: all of them fit in one byte in the end.
    inner = b"".join(jump(0, 0x15) for _ in range(20))
    assert alone(jump(20, 0x15) + inner) == 21 * 5
