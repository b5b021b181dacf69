"""Arenas: pages that appear when touched, at the creator's expense."""

from __future__ import annotations

import pytest

from bpfctl.errors import TaskKilled
from bpfctl.uapi import ALL_CAPS
from unit.maps.machine import Machine, outcome

PAGE = 4096
MMAPABLE, SEGV_ON_FAULT, NO_USER_CONV = 0x400, 0x20000, 0x40000
GIB = 1 << 30


@pytest.fixture
def machine():
    return Machine()


def arena(machine, pages=16, flags=0, extra=0):
    return machine.create("arena", 0, 0, pages, MMAPABLE | flags, map_extra=extra)


def mmap(machine, fd, pages=16, addr=0, offset=0, writable=True):
    return machine.kernel.mmap(machine.pid, fd, offset, pages * PAGE, writable, True, addr)


# --- creation ------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "pages", "flags", "extra", "want"),
    [
        (0, 0, 1, MMAPABLE, 0, "ok"),
        (0, 0, 1, 0, 0, "EINVAL"),
        (0, 0, 1, MMAPABLE | SEGV_ON_FAULT | NO_USER_CONV, 0, "ok"),
        (0, 0, 1, MMAPABLE | 0x1, 0, "EINVAL"),
        (0, 0, 1, MMAPABLE | 0x8, 0, "EINVAL"),
        (0, 0, 1, MMAPABLE | 0x4, 0, "EINVAL"),
        (4, 0, 1, MMAPABLE, 0, "EINVAL"),
        (0, 4, 1, MMAPABLE, 0, "EINVAL"),
        (0, 0, 0, MMAPABLE, 0, "EINVAL"),
        (0, 0, 1, MMAPABLE, 1, "EINVAL"),
        (0, 0, 1 << 20, MMAPABLE, 0, "ok"),
        (0, 0, (1 << 20) + 1, MMAPABLE, 0, "E2BIG"),
        (0, 0, 2, MMAPABLE, 4 * GIB - PAGE, "ERANGE"),
        (0, 0, 2, MMAPABLE, 4 * GIB - 2 * PAGE, "ok"),
        (0, 0, 2, MMAPABLE, (1 << 64) - PAGE, "ERANGE"),
        (0, 0, (1 << 20) + 1, MMAPABLE, PAGE, "E2BIG"),
    ],
)
@pytest.mark.parametrize("profile", ["6.12", "6.18"])
def test_attribute_checks(profile, key, value, pages, flags, extra, want):
    machine = Machine(profile)

    def create():
        machine.create("arena", key, value, pages, flags, map_extra=extra)

    assert outcome(create) == want


def test_unknown_before_6_9():
    assert outcome(lambda: arena(Machine("6.1"))) == "EINVAL"


def test_it_takes_cap_bpf_before_good_attributes():
    machine = Machine(unprivileged_bpf_disabled=0)
    machine.kernel.task(machine.pid).caps = 0
    assert outcome(lambda: machine.create("arena", 4, 4, 0)) == "EPERM"


@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd: m.map_lookup_elem(fd, None), "EINVAL"),
        (lambda m, fd: m.map_update_elem(fd, None, b""), "EOPNOTSUPP"),
        (lambda m, fd: m.map_delete_elem(fd, None), "EOPNOTSUPP"),
        (lambda m, fd: m.map_delete_elem(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_get_next_key(fd, None), "EOPNOTSUPP"),
        (lambda m, fd: m.map_get_next_key(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, None), "ENOTSUPP"),
    ],
    ids=["lookup", "update", "delete", "delete-key", "next", "next-key", "pop"],
)
def test_there_are_no_elements(machine, operation, want):
    fd = arena(machine)
    assert outcome(lambda: operation(machine, fd)) == want


# --- mapping -------------------------------------------------------------


def test_all_mappings_are_at_one_address(machine):
    fd = arena(machine)
    mapping = mmap(machine, fd)
    start = machine.kernel.mappings.records.get(mapping).start
    child = machine.kernel.fork(machine.pid)
    machine.kernel.munmap(machine.pid, mapping)
    assert outcome(lambda: mmap(machine, fd)) == "EINVAL"
    assert outcome(lambda: mmap(machine, fd, addr=start + GIB)) == "EINVAL"
    assert outcome(lambda: mmap(machine, fd, pages=8, addr=start)) == "EINVAL"
    again = mmap(machine, fd, addr=start)
    machine.kernel.mem_write(machine.pid, again, 5, b"seen")
    theirs = machine.kernel.mappings.of_task(child)[0].id
    assert machine.kernel.mem_read(child, theirs, 5, 4) == b"seen"


def test_map_extra_is_the_address(machine):
    fd = arena(machine, extra=16 * GIB)
    assert outcome(lambda: mmap(machine, fd)) == "EINVAL"
    assert outcome(lambda: mmap(machine, fd, pages=1, addr=16 * GIB)) == "EINVAL"
    mapping = mmap(machine, fd, addr=16 * GIB)
    assert machine.kernel.mappings.records.get(mapping).start == 16 * GIB
    assert machine.type_of(fd).address_of(3) == 16 * GIB + 3 * PAGE


@pytest.mark.parametrize(
    ("how", "want"),
    [
        ({"pages": 1}, "ok"),
        ({"pages": 32}, "ok"),
        ({"pages": (1 << 20) + 1}, "E2BIG"),
        ({"offset": PAGE}, "EINVAL"),
        ({"writable": False}, "ok"),
    ],
)
def test_the_first_mapping(machine, how, want):
    fd = arena(machine)
    assert outcome(lambda: mmap(machine, fd, **how)) == want


def test_mappings_stay_within_4_gib(machine):
    for _ in range(3):
        mapping = mmap(machine, arena(machine, pages=600 << 10), pages=600 << 10)
        start = machine.kernel.mappings.records.get(mapping).start
        assert start >> 32 == start + (600 << 10) * PAGE - 1 >> 32


# --- pages ---------------------------------------------------------------


def test_pages_appear_when_touched(machine):
    fd = arena(machine)
    mapping = mmap(machine, fd)
    found = machine.type_of(fd)
    kernel, pid = machine.kernel, machine.pid
    assert kernel.mem_read(pid, mapping, 3 * PAGE - 2, 4) == bytes(4)
    assert found.rec.nr_elems == 2
    kernel.mem_write(pid, mapping, 3 * PAGE - 2, b"abcd")
    assert kernel.mem_read(pid, mapping, 3 * PAGE - 3, 6) == b"\0abcd\0"
    assert found.rec.nr_elems == 2
    assert machine.memlock(fd) == 0


def test_segv_on_fault(machine):
    fd = arena(machine, flags=SEGV_ON_FAULT)
    mapping = mmap(machine, fd)
    kernel, pid = machine.kernel, machine.pid
    assert outcome(lambda: kernel.mem_read(pid, mapping, 0, 1)) == "EFAULT"
    assert machine.type_of(fd).alloc_pages(1) == 0
    assert kernel.mem_read(pid, mapping, 0, 1) == b"\0"
    assert outcome(lambda: kernel.mem_read(pid, mapping, PAGE, 1)) == "EFAULT"


@pytest.mark.parametrize(
    ("profile", "vma"), [("6.12", 232), ("6.18", 200)]
)
def test_the_creator_pays_for_pages_and_the_toucher_for_its_mapping(profile, vma):
    machine = Machine(profile)
    kernel = machine.kernel
    kernel.memcg.create("/other")
    fd = arena(machine)
    before = machine.stat()["kernel"]
    other = kernel.fork(machine.pid)
    kernel.memcg.move(kernel.task(other), "/other")
    mapping = kernel.mmap(other, fd, 0, 16 * PAGE, True)
    for number in range(10):
        kernel.mem_write(other, mapping, number * PAGE, b"x")
    assert machine.stat()["kernel"] - before == 10 * PAGE
    stat = kernel.memcg.stat(kernel.memcg.lookup("/other"))
    assert (stat["slab"], stat["pagetables"], stat["kernel"]) == (vma, PAGE, 2 * PAGE)
    kernel.munmap(other, mapping)
    assert machine.stat()["kernel"] - before == 10 * PAGE
    kernel.exit_task(other)
    machine.close(fd)
    assert machine.stat()["kernel"] == 0


def test_a_limit_on_the_creator_kills_at_the_touch(machine):
    fd = arena(machine)
    mapping = mmap(machine, fd)
    machine.kernel.set_memory_knob("/g", "max", machine.stat()["kernel"] + 3 * PAGE)
    content = b"x" * 16 * PAGE
    with pytest.raises(TaskKilled):
        machine.kernel.mem_write(machine.pid, mapping, 0, content)
    assert machine.kernel.tasks.get(machine.pid) is None
    assert machine.stat()["kernel"] == 0


def test_programs_allocate_and_free_pages(machine):
    found = machine.type_of(arena(machine, pages=8))
    assert found.alloc_pages(3) == 0
    assert found.alloc_pages(2, 5) == 5
    assert found.alloc_pages(1, 6) is None
    assert found.alloc_pages(3) is None
    assert found.alloc_pages(2) == 3
    found.free_pages(1, 3)
    found.free_pages(1, 3)
    assert found.rec.nr_elems == 4
    assert found.alloc_pages(3) == 1
    assert found.alloc_pages(1) == 7
    assert found.alloc_pages(1) is None
    assert found.alloc_pages(0) is None
    assert found.alloc_pages(9) is None
    assert found.alloc_pages(1, 8) is None


def test_freed_pages_come_back_zeroed_and_uncharged(machine):
    fd = arena(machine)
    mapping = mmap(machine, fd)
    machine.kernel.mem_write(machine.pid, mapping, 0, b"secret")
    before = machine.stat()["kernel"]
    machine.type_of(fd).free_pages(0, 1)
    assert before - machine.stat()["kernel"] == PAGE
    assert machine.kernel.mem_read(machine.pid, mapping, 0, 6) == bytes(6)


def test_no_memory_for_a_program_is_no_page(machine):
    found = machine.type_of(arena(machine))
    machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + 1
    assert found.alloc_pages(2) is None
    assert found.rec.nr_elems == 0


@pytest.mark.parametrize("entries", [1, 16, 100])
def test_fill_charges_what_touching_charges(entries):
    touched, filled = Machine(), Machine()
    fds = [arena(m, pages=50) for m in (touched, filled)]
    mapping = mmap(touched, fds[0], pages=50)
    before = touched.stat()["kernel"], filled.stat()["kernel"]
    for number in range(min(entries, 50)):
        touched.kernel.mem_write(touched.pid, mapping, number * PAGE, b"x")
    filled.type_of(fds[1]).fill(entries)
    tables = touched.stat()["pagetables"]
    assert filled.stat()["kernel"] - before[1] == touched.stat()["kernel"] - before[0] - tables
    assert filled.type_of(fds[1]).rec.nr_elems == touched.type_of(fds[0]).rec.nr_elems


def test_all_capabilities_are_not_needed():
    machine = Machine()
    machine.kernel.task(machine.pid).caps = ALL_CAPS & ~(1 << 21)
    assert outcome(lambda: arena(machine)) == "ok"
