"""What a loaded program shows of itself, and maps that it holds without naming them."""

from __future__ import annotations

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.prog_tag import split_functions, tag
from unit.kernel.machine import Machine
from unit.kernel.progs import call_function, load_map, straight, with_functions


def test_info_returns_what_was_loaded():
    machine = Machine()
    map_fd = machine.array(value=16)
    fd = machine.load(load_map(map_fd) + straight(2))
    info = machine.bpf.prog_info(fd)
    assert info.insns == load_map(machine.bpf.map_info(map_fd).id) + straight(2)
    assert (info.func_info, info.line_info, info.prog_tags) == (b"", b"", ())


def test_each_function_has_a_tag():
    machine = Machine("6.12")
    insns = with_functions([2, 3])
    info = machine.bpf.prog_info(machine.load(insns))
    main, first, second = split_functions(insns, [0, *_callees(insns)])
    assert info.tag == tag(insns, "sha1")
    assert info.prog_tags == tuple(tag(code, "sha1") for code in (main, first, second))
    assert (first, second) == (straight(2), straight(3))


def _callees(insns: bytes) -> list[int]:
    words = [insns[at : at + 8] for at in range(0, len(insns), 8)]
    return [
        at + 1 + int.from_bytes(word[4:], "little", signed=True)
        for at, word in enumerate(words)
        if word[:2] == b"\x85\x10"
    ]


def test_a_call_names_its_function_by_number():
    (caller, _) = split_functions(call_function(1) + straight(1) + straight(1), [0, 2])
    assert caller[:8] == b"\x85\x10\x01\x00\x01\x00\x00\x00"


def test_calls_are_shown_with_distance_and_function():
    machine = Machine()
    insns = call_function(2) + straight(2) + straight(2)
    info = machine.bpf.prog_info(machine.load(insns))
    assert info.insns[:8] == b"\x85\x10\x02\x00\x01\x00\x00\x00"
    assert info.insns[8:] == insns[8:]


def test_a_bound_map_lives_as_long_as_the_program():
    machine = Machine("6.12")
    fd, map_fd = machine.load(), machine.array()
    map_id = machine.bpf.map_info(map_fd).id
    machine.bpf.prog_bind_map(fd, map_fd)
    machine.bpf.prog_bind_map(fd, map_fd)
    assert machine.bpf.prog_info(fd).map_ids == (map_id,)
    assert machine.kernel.maps.get(map_id).rec.refcnt == 2
    machine.bpf.close(map_fd)
    assert machine.kernel.maps.get(map_id).rec.refcnt == 1
    machine.bpf.close(fd)
    with pytest.raises(KernelError):
        machine.kernel.maps.get(map_id)
    assert machine.paid() == 0


def test_only_maps_are_bound_to_programs():
    machine = Machine()
    with pytest.raises(KernelError) as found:
        machine.bpf.prog_bind_map(machine.array(), machine.array())
    assert found.value.code == E.INVAL
