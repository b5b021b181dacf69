"""Stack traces, stored as bpf_get_stackid() does."""

from __future__ import annotations

from struct import pack, unpack

import pytest

from bpfctl.kernel.jhash import jhash
from bpfctl_maps.stackmap import (
    BPF_F_FAST_STACK_CMP,
    BPF_F_REUSE_STACKID,
    BPF_F_USER_STACK,
    BUILD_ID_FRAME,
)
from unit.maps.machine import KERNELS, Machine, outcome

BUILD_ID = 0x20


@pytest.fixture
def machine():
    return Machine()


def chain_bytes(ips):
    return pack(f"<{len(ips)}Q", *ips)


def chains_of_one_bucket(buckets, count):
    """Return ``count`` chains that hash to the same bucket, but not to the same 32 bits."""
    wanted, found = jhash(chain_bytes([1])) % buckets, []
    for ip in range(1, 10000):
        if jhash(chain_bytes([ip])) % buckets == wanted:
            found.append([ip])
        if len(found) == count:
            return found
    raise AssertionError("no collision")


def key(stack_id):
    return stack_id.to_bytes(4, "little")


def test_a_stored_chain_reads_back_with_zeros_behind(machine):
    fd = machine.create("stack_trace", 4, 40, 10)
    stack_id = machine.type_of(fd).get_stackid([5, 6, 7], 0)
    assert stack_id == jhash(chain_bytes([5, 6, 7])) & 15
    assert unpack("<5Q", machine.map_lookup_elem(fd, key(stack_id))) == (5, 6, 7, 0, 0)
    assert machine.map_get_next_key(fd, None) == key(stack_id)


def test_the_same_chain_has_one_id_and_one_bucket(machine):
    trace = machine.type_of(machine.create("stack_trace", 4, 40, 1))
    first = trace.get_stackid([5, 6, 7], 0)
    assert trace.get_stackid([5, 6, 7], 0) == first
    assert trace.rec.nr_elems == 1


def test_frames_are_skipped_and_cut(machine):
    fd = machine.create("stack_trace", 4, 16, 10)
    stack_id = machine.type_of(fd).get_stackid([1, 2, 3, 4, 5], 2)
    assert unpack("<2Q", machine.map_lookup_elem(fd, key(stack_id))) == (3, 4)


@pytest.mark.parametrize(
    ("ips", "flags", "want"),
    [([1], 1, "EFAULT"), ([], 0, "EFAULT"), ([1], 1 << 11, "EINVAL"), ([1], 0, "ok")],
)
def test_what_get_stackid_refuses(machine, ips, flags, want):
    trace = machine.type_of(machine.create("stack_trace", 4, 16, 10))
    assert outcome(lambda: trace.get_stackid(ips, flags)) == want


def test_another_chain_in_the_bucket(machine):
    fd = machine.create("stack_trace", 4, 16, 4)
    trace = machine.type_of(fd)
    first, second = chains_of_one_bucket(4, 2)
    stack_id = trace.get_stackid(first, 0)
    assert outcome(lambda: trace.get_stackid(second, 0)) == "EEXIST"
    assert outcome(lambda: trace.get_stackid(second, BPF_F_FAST_STACK_CMP)) == "EEXIST"
    assert trace.get_stackid(second, BPF_F_REUSE_STACKID) == stack_id
    assert unpack("<2Q", machine.map_lookup_elem(fd, key(stack_id))) == (second[0], 0)
    assert trace.rec.nr_elems == 1


def test_as_many_chains_as_entries(machine):
    """Replacing needs a free bucket too: the new trace is copied before the old one goes."""
    fd = machine.create("stack_trace", 4, 16, 1)
    trace = machine.type_of(fd)
    stack_id = trace.get_stackid([1], 0)
    assert outcome(lambda: trace.get_stackid([2], BPF_F_REUSE_STACKID)) == "ENOMEM"
    machine.map_delete_elem(fd, key(stack_id))
    assert outcome(lambda: trace.get_stackid([2], 0)) == "ok"


def test_build_ids(machine):
    fd = machine.create("stack_trace", 4, 64, 4, BUILD_ID)
    trace = machine.type_of(fd)

    def find(ip):
        return (b"b" * 20, ip - 0x1000) if ip < 0x2000 else None

    stack_id = trace.get_stackid([0x1010, 0x3000], BPF_F_USER_STACK, find)
    first, second = (
        unpack(BUILD_ID_FRAME, machine.map_lookup_elem(fd, key(stack_id))[at : at + 32])
        for at in (0, 32)
    )
    assert first == (1, b"b" * 20, 0x10)
    assert second == (2, bytes(20), 0x3000)
    assert trace.get_stackid([0x1010, 0x3000], BPF_F_USER_STACK, find) == stack_id


def test_iteration_is_by_id_and_unknown_keys_restart_it(machine):
    fd = machine.create("stack_trace", 4, 16, 100)
    trace = machine.type_of(fd)
    ids = sorted({trace.get_stackid([ip], BPF_F_REUSE_STACKID) for ip in range(1, 9)})
    assert [int.from_bytes(k, "little") for k in machine.map_keys(fd)] == ids
    unknown = next(number for number in range(128) if number not in ids)
    assert machine.map_get_next_key(fd, key(unknown)) == key(ids[0])


@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd: m.map_lookup_elem(fd, key(0)), "ENOENT"),
        (lambda m, fd: m.map_lookup_elem(fd, key(100)), "ENOENT"),
        (lambda m, fd: m.map_update_elem(fd, key(0), bytes(16)), "EINVAL"),
        (lambda m, fd: m.map_delete_elem(fd, key(0)), "ENOENT"),
        (lambda m, fd: m.map_delete_elem(fd, key(100)), "E2BIG"),
        (lambda m, fd: m.map_get_next_key(fd, None), "ENOENT"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, key(0)), "ENOENT"),
    ],
    ids=["lookup", "lookup-100", "update", "delete", "delete-100", "next", "lookup-and-delete"],
)
def test_operations_on_an_empty_map(machine, operation, want):
    fd = machine.create("stack_trace", 4, 16, 4)
    assert outcome(lambda: operation(machine, fd)) == want


@pytest.mark.parametrize(("profile", "want"), [("6.12", "ENOTSUPP"), ("6.18", "ok")])
def test_lookup_and_delete_is_new_in_6_18(profile, want):
    machine = Machine(profile)
    fd = machine.create("stack_trace", 4, 16, 4)
    stack_id = machine.type_of(fd).get_stackid([1], 0)
    assert outcome(lambda: machine.map_lookup_and_delete_elem(fd, key(stack_id))) == want
    assert (machine.type_of(fd).rec.nr_elems == 0) is (want == "ok")


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize(
    ("key_size", "value", "entries", "flags", "want"),
    [
        (4, 8, 0, 0, "EINVAL"),
        (8, 8, 1, 0, "EINVAL"),
        (4, 0, 1, 0, "EINVAL"),
        (4, 12, 1, 0, "EINVAL"),
        (4, 127 * 8, 1, 0, "ok"),
        (4, 128 * 8, 1, 0, "EINVAL"),
        (4, 8, 1, BUILD_ID, "EINVAL"),
        (4, 127 * 32, 1, BUILD_ID, "ok"),
        (4, 128 * 32, 1, BUILD_ID, "EINVAL"),
        (4, 8, 1, 0x80, "EINVAL"),
        (4, 8, (1 << 31) + 1, 0, "E2BIG"),
    ],
)
def test_attribute_checks(profile, key_size, value, entries, flags, want):
    machine = Machine(profile)
    create = machine.create
    assert outcome(lambda: create("stack_trace", key_size, value, entries, flags)) == want


@pytest.mark.parametrize(
    ("profile", "shown"),
    [("5.10", 1044480), ("6.1", 1024000), ("6.12", 1040480), ("6.18", 1040512)],
)
def test_memlock(profile, shown):
    machine = Machine(profile)
    assert machine.memlock(machine.create("stack_trace", 4, 1016, 1000)) == shown
