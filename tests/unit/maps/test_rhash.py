"""Resizable hashes and instruction arrays (7.3), and updates of one CPU's value."""

from __future__ import annotations

from struct import pack

import pytest

from bpfctl.errors import KernelError, errno_name
from unit.maps.machine import Machine

NO_PREALLOC, F_CPU, ALL_CPUS = 1, 8, 16
KEY = bytes(4)


def refused(call, *args, **named):
    with pytest.raises(KernelError) as failure:
        call(*args, **named)
    return errno_name(failure.value.code)


def test_before_7_3_there_is_none():
    assert refused(Machine("6.18").create, "rhash", 4, 8, 10, NO_PREALLOC) == "EINVAL"


def test_a_full_map_refuses_and_walks():
    machine = Machine("7.3")
    fd = machine.create("rhash", 4, 8, 3, NO_PREALLOC)
    for number in range(3):
        machine.map_update_elem(fd, pack("<I", number), pack("<Q", number))
    assert refused(machine.map_update_elem, fd, pack("<I", 9), bytes(8)) == "E2BIG"
    seen, key = [], None
    for _ in range(3):
        key = machine.map_get_next_key(fd, key)
        seen.append(key)
    assert sorted(seen) == [pack("<I", number) for number in range(3)]
    assert machine.memlock(fd) == 528 + 3 * 24
    machine.map_delete_elem(fd, seen[0])
    assert refused(machine.map_lookup_elem, fd, seen[0]) == "ENOENT"


def test_insn_array_keeps_what_the_kernel_fills_in():
    machine = Machine("7.3")
    fd = machine.create("insn_array", 4, 16, 2)
    machine.map_update_elem(fd, KEY, pack("<4I", 7, 0, 0, 0))
    assert machine.map_lookup_elem(fd, KEY) == pack("<4I", 7, 0, 0, 0)
    assert refused(machine.map_update_elem, fd, KEY, pack("<4I", 7, 1, 0, 0)) == "EINVAL"
    assert refused(machine.map_delete_elem, fd, KEY) == "EINVAL"


@pytest.mark.parametrize("kind", ["percpu_array", "percpu_hash", "lru_percpu_hash"])
def test_the_value_of_one_cpu(kind):
    machine = Machine("7.3", possible_cpus=3)
    fd = machine.create(kind, 4, 8, 4)
    machine.map_update_elem(fd, KEY, pack("<Q", 5), ALL_CPUS)
    machine.map_update_elem(fd, KEY, pack("<Q", 6), F_CPU | 1 << 32)
    assert machine.map_lookup_elem(fd, KEY) == pack("<3Q", 5, 6, 5)
    assert machine.map_lookup_elem(fd, KEY, F_CPU | 1 << 32) == pack("<Q", 6)
    assert refused(machine.map_lookup_elem, fd, KEY, F_CPU | 3 << 32) == "ERANGE"
