"""Random and damaged input gets an errno, and leaves nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfctl.btf.build import BtfBuilder
from bpfctl.errors import KernelError
from bpfctl.isa.insn import encode
from bpfctl.isa.opcodes import known_opcodes
from unit.kernel.machine import Machine
from unit.kernel.progs import EXIT, R0_ZERO, call_function, load_map, with_functions

REAL = sorted(known_opcodes(4))
SLOTS = st.one_of(
    st.sampled_from([R0_ZERO, EXIT, call_function(1), load_map(3), load_map(3, 2), load_map(0, 0)]),
    st.binary(min_size=8, max_size=8),
    st.builds(
        encode,
        st.sampled_from(REAL),
        st.integers(0, 15),
        st.integers(0, 7),
        st.integers(-4, 6),
        st.integers(-4, 300),
    ),
)
BASES = [with_functions([2, 3]), load_map(3) + R0_ZERO + EXIT]


@settings(max_examples=400, deadline=None)
@given(st.lists(SLOTS, max_size=12))
def test_any_instructions(slots: list[bytes]):
    machine = Machine("6.12")
    machine.array()
    before = machine.kernel.mm.in_use()
    try:
        fd = machine.load(b"".join(slots) + EXIT)
    except KernelError:
        pass
    else:
        assert machine.prog(fd).jited_len > 0
        machine.bpf.close(fd)
    assert machine.kernel.mm.in_use() == before
    assert machine.kernel.maps.get(1).rec.refcnt == 1


def some_btf() -> bytes:
    btf = BtfBuilder()
    number = btf.add_int("int", 4, 1)
    lock = btf.add_struct("bpf_spin_lock", 4, [("val", number, 0)])
    btf.add_struct("value", 8, [("v", number, 0), ("l", lock, 32)])
    btf.add_func("f", btf.add_func_proto(number), 0)
    return btf.encode()


BTF = some_btf()


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(BTF) - 1), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, len(BTF)),
    st.tuples(st.integers(0, 6), st.integers(1, 6)),
)
def test_damaged_btf(damage: list[tuple[int, int]], cut: int, types: tuple[int, int]):
    from bpfctl import uapi

    blob = bytearray(BTF)
    for at, byte in damage:
        blob[at] = byte
    machine = Machine("6.12")
    try:
        fd = machine.bpf.btf_load(bytes(blob[: cut or None]))
        machine.bpf.map_create(
            uapi.MapCreateAttr(
                uapi.MAP_TYPE_NUMBER["hash"],
                4,
                8,
                4,
                btf_fd=fd,
                btf_key_type_id=types[0],
                btf_value_type_id=types[1],
            )
        )
    except KernelError:
        pass


@pytest.mark.parametrize("base", BASES, ids=["functions", "map"])
def test_every_byte_of_a_good_program_changed(base: bytes):
    machine = Machine("6.12")
    machine.array()
    before = machine.kernel.mm.in_use()
    for at in range(len(base)):
        for byte in (0, 1, 5, 0x18, 0x85, 0x95, 0xFF):
            changed = bytearray(base)
            changed[at] = byte
            try:
                machine.bpf.close(machine.load(bytes(changed)))
            except KernelError:
                pass
            assert machine.kernel.mm.in_use() == before
