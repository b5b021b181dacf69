"""Queues and stacks."""

from __future__ import annotations

from functools import partial

import pytest

from bpfctl import uapi
from bpfctl.kernel.task import CAP_BPF
from bpfctl.uapi import MapCreateAttr
from unit.maps.machine import KERNELS, Machine, outcome

KINDS = ("queue", "stack")
V = [bytes([number]) * 4 for number in range(8)]


@pytest.fixture
def machine():
    return Machine()


def drain(machine, fd):
    taken = []
    while outcome(partial(machine.map_lookup_elem, fd, None)) == "ok":
        taken.append(machine.map_lookup_and_delete_elem(fd, None))
    return taken


@pytest.mark.parametrize(
    ("kind", "order"), [("queue", [0, 1, 2, 3]), ("stack", [3, 2, 1, 0])], ids=KINDS
)
def test_elements_leave_in_the_order_of_the_type(machine, kind, order):
    fd = machine.create(kind, 0, 4, 4)
    for number in range(4):
        machine.map_update_elem(fd, None, V[number])
    assert machine.map_lookup_elem(fd, None) == V[order[0]]
    assert drain(machine, fd) == [V[number] for number in order]


@pytest.mark.parametrize(
    ("kind", "left"), [("queue", [2, 3, 4]), ("stack", [4, 3, 2])], ids=KINDS
)
def test_exist_on_a_full_map_drops_the_oldest(machine, kind, left):
    fd = machine.create(kind, 0, 4, 3)
    for number in range(3):
        machine.map_update_elem(fd, None, V[number])
    assert outcome(lambda: machine.map_update_elem(fd, None, V[3])) == "E2BIG"
    for number in (3, 4):
        machine.map_update_elem(fd, None, V[number], 2)
    assert drain(machine, fd) == [V[number] for number in left]


@pytest.mark.parametrize("kind", KINDS)
def test_the_ring_wraps_many_times(machine, kind):
    fd = machine.create(kind, 0, 4, 3)
    held: list[bytes] = []
    for step in range(40):
        machine.map_update_elem(fd, None, V[step % 8])
        held.append(V[step % 8])
        if len(held) == 3 or step % 3 == 0:
            wanted = held.pop(0 if kind == "queue" else -1)
            assert machine.map_lookup_and_delete_elem(fd, None) == wanted


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd: m.map_lookup_elem(fd, None), "ENOENT"),
        (lambda m, fd: m.map_lookup_elem(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, None), "ENOENT"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, None, 4), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, None, V[1], 1), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, None, V[1], 2), "ok"),
        (lambda m, fd: m.map_update_elem(fd, None, V[1], 3), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, None, V[1], 4), "EINVAL"),
        (lambda m, fd: m.map_delete_elem(fd, None), "EINVAL"),
        (lambda m, fd: m.map_get_next_key(fd, None), "EINVAL"),
    ],
    ids=[
        "peek", "peek-key", "pop", "pop-flags", "noexist", "exist", "flags3", "lock", "delete",
        "next",
    ],
)
def test_operations_on_an_empty_map(machine, kind, operation, want):
    fd = machine.create(kind, 0, 4, 4)
    assert outcome(lambda: operation(machine, fd)) == want


@pytest.mark.parametrize(
    ("profile", "value", "want"),
    [("6.1", 1 << 23, "EINVAL"), ("6.12", 1 << 23, "E2BIG"), ("6.18", 4, "EINVAL")],
)
def test_a_token_is_looked_up_behind_the_attribute_checks(profile, value, want):
    machine = Machine(profile)
    call = outcome(lambda: machine.create("queue", 0, value, 1, uapi.BPF_F_TOKEN_FD))
    assert call == want


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize(
    ("key", "value", "entries", "flags", "want"),
    [
        (0, 4, 0, 0, "EINVAL"),
        (4, 4, 1, 0, "EINVAL"),
        (0, 0, 1, 0, "EINVAL"),
        (0, 4, 1, 0x1, "EINVAL"),
        (0, 4, 1, 0x180, "EINVAL"),
        (0, (4 << 20) + 1, 1, 0, "E2BIG"),
        (0, 4, 1, 0x88, "ok"),
    ],
)
def test_attribute_checks(profile, key, value, entries, flags, want):
    machine = Machine(profile)
    assert outcome(lambda: machine.create("queue", key, value, entries, flags)) == want


@pytest.mark.parametrize(
    ("profile", "want"), [("6.1", "ENOMEM"), ("6.12", "E2BIG"), ("6.18", "ENOMEM")]
)
def test_total_size_beyond_32_bits(profile, want):
    machine = Machine(profile, memory=6 << 30)
    assert outcome(lambda: machine.create("stack", 0, 4, (1 << 30) - 1)) == (
        "E2BIG" if want == "E2BIG" else "ok"
    )
    assert outcome(lambda: machine.create("stack", 0, 8, (1 << 32) - 1)) == want


@pytest.mark.parametrize(
    ("profile", "want"), [("5.10", "EPERM"), ("6.1", "EPERM"), ("6.12", "EINVAL")]
)
def test_capability_comes_before_the_attributes_up_to_6_8(profile, want):
    machine = Machine(profile, unprivileged_bpf_disabled=0)
    other = machine.other_task()
    bad = MapCreateAttr(map_type=22, key_size=4, value_size=4, max_entries=1)
    assert outcome(lambda: other.map_create(bad)) == want
    able = machine.other_task(CAP_BPF)
    good = MapCreateAttr(map_type=22, value_size=4, max_entries=1)
    assert outcome(lambda: other.map_create(good)) == "EPERM"
    assert outcome(lambda: able.map_create(good)) == "ok"


@pytest.mark.parametrize(
    ("profile", "shown"),
    [("5.10", 16384), ("6.1", 16384), ("6.12", 16280), ("6.18", 16328)],
)
def test_memlock(profile, shown):
    machine = Machine(profile)
    assert machine.memlock(machine.create("queue", 0, 16, 1000)) == shown


def test_pushes_charge_nothing_more(machine):
    fd = machine.create("queue", 0, 16, 1000)
    before = machine.stat()
    for _ in range(10):
        machine.map_update_elem(fd, None, bytes(16))
    assert machine.stat() == before
    machine.close(fd)
    assert machine.stat()["kernel"] == 0
