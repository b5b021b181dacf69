"""The form of instructions that BPF_PROG_LOAD accepts."""

from __future__ import annotations

import pytest

from bpfctl.errors import KernelError, errno_name
from bpfctl.isa.insn import encode
from unit.kernel.machine import Machine
from unit.kernel.progs import (
    EXIT,
    R0_ZERO,
    call,
    call_function,
    jump,
    load_map,
    straight,
    with_functions,
)

BSWAP = R0_ZERO + encode(0xD7, imm=16) + EXIT
MAY_GOTO = R0_ZERO + encode(0xE5) + EXIT


def outcome(insns: bytes, profile: str = "6.12", **attr) -> str:
    machine = Machine(profile)
    try:
        machine.load(insns, **attr)
    except KernelError as exc:
        assert machine.paid() == 0
        return errno_name(exc.code)
    return "ok"


@pytest.mark.parametrize(
    ("insns", "want"),
    [
        pytest.param(R0_ZERO, "EINVAL", id="no exit"),
        pytest.param(R0_ZERO + jump(-2) + EXIT, "EINVAL", id="unreachable exit"),
        pytest.param(R0_ZERO + jump(1, 0x15) + R0_ZERO + EXIT, "ok", id="conditional jump"),
        pytest.param(R0_ZERO + jump(-2, 0x15) + EXIT, "EINVAL", id="endless loop"),
        pytest.param(R0_ZERO + jump(5, 0x15) + EXIT, "EINVAL", id="jump beyond the end"),
        pytest.param(R0_ZERO + jump(-9, 0x15) + EXIT, "EINVAL", id="jump before the start"),
        pytest.param(jump(1) + R0_ZERO + EXIT, "EINVAL", id="unreachable insn"),
        pytest.param(EXIT + EXIT, "EINVAL", id="second exit unreachable"),
        pytest.param(encode(0xFF) + straight(2), "EINVAL", id="bad opcode"),
        pytest.param(encode(0) + straight(2), "EINVAL", id="opcode 0 alone"),
        pytest.param(R0_ZERO + encode(0x18), "EINVAL", id="half an ld_imm64 at the end"),
        pytest.param(encode(0x18) + straight(2), "EINVAL", id="half an ld_imm64"),
        pytest.param(load_map(0, src=0) + straight(2), "ok", id="constant"),
        pytest.param(load_map(9) + straight(2), "EBADF", id="map descriptor not open"),
        pytest.param(load_map(9, src=5) + straight(2), "EPROTO", id="map index without fd_array"),
        pytest.param(load_map(9, src=7) + straight(2), "EINVAL", id="unknown kind of ld_imm64"),
        pytest.param(call(0) + straight(2), "EINVAL", id="helper 0"),
        pytest.param(call(211) + straight(2), "EACCES", id="last helper, no arguments"),
        pytest.param(call(212) + straight(2), "EINVAL", id="helper beyond the last"),
        pytest.param(call_function(50) + straight(2), "EINVAL", id="call beyond the end"),
        pytest.param(
            call_function(1) + straight(2) + R0_ZERO, "EINVAL", id="function without exit"
        ),
        pytest.param(
            call_function(3) + jump(1, 0x15) + R0_ZERO + EXIT + straight(2), "ok", id="functions"
        ),
        pytest.param(
            call_function(2) + jump(2, 0x15) + EXIT + straight(3),
            "EINVAL",
            id="jump into another function",
        ),
    ],
)
def test_form(insns: bytes, want: str):
    assert outcome(insns) == want


@pytest.mark.parametrize("insns", [BSWAP, MAY_GOTO], ids=["bswap", "may_goto"])
def test_newer_insns_need_a_newer_kernel(insns: bytes):
    assert outcome(insns, "6.12") == "ok"
    assert outcome(insns, "6.1") == "EINVAL"


def test_gotol_came_to_older_series_later():
    insns = encode(0x06, imm=0) + straight(2)
    assert [outcome(insns, name) for name in ("5.10", "6.1", "6.12")] == ["EINVAL", "ok", "ok"]


@pytest.mark.parametrize(("profile", "last"), [("5.10", 155), ("6.1", 209), ("6.18", 211)])
def test_helpers_of_a_kernel(profile: str, last: int):
    # It is there: what is missing are its arguments, or the program may not call it.
    assert outcome(call(last) + straight(2), profile) in ("EACCES", "EINVAL")
    assert outcome(call(last + 1) + straight(2), profile) == "EINVAL"


@pytest.mark.parametrize(("nr", "want"), [(255, "ok"), (256, "E2BIG")])
def test_number_of_functions(nr: int, want: str):
    assert outcome(with_functions([2] * nr)) == want


@pytest.mark.parametrize(("nr", "want"), [(64, "ok"), (65, "E2BIG")])
def test_number_of_maps(nr: int, want: str):
    machine = Machine()
    insns = b"".join(load_map(machine.array()) for _ in range(nr)) + straight(2)
    if want == "ok":
        assert len(machine.prog(machine.load(insns)).map_ids.split(",")) == nr
    else:
        with pytest.raises(KernelError) as found:
            machine.load(insns)
        assert errno_name(found.value.code) == want


@pytest.mark.parametrize(
    ("kind", "entries", "offset", "want"),
    [
        ("array", 1, 12, "ok"),
        ("array", 1, 16, "EINVAL"),
        ("array", 1, 1 << 29, "EINVAL"),
        ("array", 2, 0, "ENOTSUPP"),
        ("hash", 1, 0, "EINVAL"),
    ],
)
def test_address_of_a_value(kind: str, entries: int, offset: int, want: str):
    machine = Machine()
    fd = machine.array(entries, 16, kind)
    insns = load_map(fd, src=2, offset=offset) + straight(2)
    if want == "ok":
        machine.load(insns)
    else:
        with pytest.raises(KernelError) as found:
            machine.load(insns)
        assert errno_name(found.value.code) == want


@pytest.mark.parametrize(
    ("insns", "want"),
    [
        (with_functions([2]), "EPERM"),
        (R0_ZERO + jump(-2, 0x15) + EXIT, "EINVAL"),
        (R0_ZERO + jump(1, 0x15) + R0_ZERO + EXIT, "ok"),
    ],
    ids=["functions", "loop", "branch"],
)
def test_unprivileged_form(insns: bytes, want: str):
    machine = Machine("6.12", unprivileged_bpf_disabled=0)
    bpf = machine.task(caps=0, uid=1000)
    if want == "ok":
        machine.load(insns, bpf=bpf)
    else:
        with pytest.raises(KernelError) as found:
            machine.load(insns, bpf=bpf)
        assert errno_name(found.value.code) == want


def test_not_a_map():
    machine = Machine()
    insns = load_map(machine.load()) + straight(2)
    with pytest.raises(KernelError) as found:
        machine.load(insns)
    assert errno_name(found.value.code) == "EINVAL"
