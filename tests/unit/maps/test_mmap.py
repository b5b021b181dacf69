"""mmap(2) of arrays: who may map what, what a mapping holds, costs and changes."""

from __future__ import annotations

from dataclasses import replace
from struct import pack

import pytest

from bpfctl.conformance.lab import Lab
from bpfctl.kernel.bpf.map import MapType
from bpfctl.uapi import ALL_CAPS, BtfLoadAttr, Cmd
from bpfctl_maps.arraymap import Array
from unit.maps.machine import GROUP, Machine, outcome

PAGE = 4096
MMAPABLE, RDONLY, WRONLY, RDONLY_PROG = 0x400, 0x8, 0x10, 0x80


@pytest.fixture
def machine():
    return Machine()


def array(machine, entries=1000, value=8, flags=0):
    return machine.create("array", 4, value, entries, MMAPABLE | flags)


def mmap(machine, fd, length=PAGE, offset=0, writable=True, shared=True, addr=0):
    return machine.kernel.mmap(machine.pid, fd, offset, length, writable, shared, addr)


def index(number):
    return pack("<I", number)


# --- checks --------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "how", "want"),
    [
        (0, {}, "ok"),
        (0, {"length": 8192}, "ok"),
        (0, {"length": 5000}, "ok"),
        (0, {"length": 8193}, "EINVAL"),
        (0, {"length": 0}, "EINVAL"),
        (0, {"offset": 1}, "EINVAL"),
        (0, {"offset": PAGE}, "ok"),
        (0, {"offset": PAGE, "length": 8192}, "EINVAL"),
        (0, {"shared": False}, "EINVAL"),
        (0, {"shared": False, "writable": False}, "EINVAL"),
        (0, {"addr": 0x10001}, "EINVAL"),
        (0, {"addr": 0x7FFFFFFFF000}, "ENOMEM"),
        (RDONLY, {}, "EACCES"),
        (RDONLY, {"writable": False}, "EINVAL"),
        (WRONLY, {}, "EACCES"),
        (WRONLY, {"writable": False}, "EACCES"),
        (RDONLY_PROG, {}, "EACCES"),
        (RDONLY_PROG, {"writable": False}, "ok"),
    ],
)
def test_who_may_map_an_array(machine, flags, how, want):
    fd = array(machine, flags=flags)
    assert outcome(lambda: mmap(machine, fd, **how)) == want


@pytest.mark.parametrize("kind", ["hash", "percpu_array", "lpm_trie", "queue", "bloom_filter"])
@pytest.mark.parametrize("shared", [True, False])
def test_types_that_cannot_be_mapped(machine, kind, shared):
    key = {"lpm_trie": 8, "queue": 0, "bloom_filter": 0}.get(kind, 4)
    fd = machine.create(kind, key, 8, 10, int(kind == "lpm_trie"))
    assert outcome(lambda: mmap(machine, fd, shared=shared)) == "ENOTSUPP"


def test_what_is_no_mapable_array(machine):
    assert outcome(lambda: mmap(machine, machine.create("array", 4, 8, 10))) == "EINVAL"
    assert outcome(lambda: mmap(machine, 99)) == "EBADF"
    fd = array(machine)
    machine.type_of(fd).rec.fields = {"spin_lock": 1}
    assert outcome(lambda: mmap(machine, fd)) == "ENOTSUPP"


def test_btf_is_no_map(machine):
    header = pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 16, 16, 1)
    integer = pack("<IIII", 0, 1 << 24, 4, 32)
    fd = machine.kernel.bpf(machine.pid, Cmd.BTF_LOAD, BtfLoadAttr(header + integer + b"\0"))
    assert outcome(lambda: mmap(machine, fd)) == "ENODEV"


def test_an_address_is_taken_once(machine):
    fd = array(machine)
    mmap(machine, fd, addr=0x10000)
    assert outcome(lambda: mmap(machine, fd, addr=0x10000)) == "EEXIST"
    first, second = (machine.kernel.mappings.records.get(mmap(machine, fd)) for _ in range(2))
    assert second.start >= first.start + first.length


# --- content -------------------------------------------------------------


def test_elements_lie_at_their_stride(machine):
    fd = array(machine, value=5)
    mapping = mmap(machine, fd, 2 * PAGE)
    machine.map_update_elem(fd, index(3), b"abcde")
    read = machine.kernel.mem_read(machine.pid, mapping, 16, 24)
    assert read == bytes(8) + b"abcde" + bytes(3 + 8)
    machine.kernel.mem_write(machine.pid, mapping, 22, b"XYpad12345")
    assert machine.map_lookup_elem(fd, index(2)) == bytes(5)
    assert machine.map_lookup_elem(fd, index(3)) == b"pad12"
    assert machine.map_lookup_elem(fd, index(4)) == bytes(5)


def test_a_mapping_may_start_at_a_later_page(machine):
    fd = array(machine)
    mapping = mmap(machine, fd, offset=PAGE)
    machine.kernel.mem_write(machine.pid, mapping, 8, b"12345678")
    assert machine.map_lookup_elem(fd, index(PAGE // 8 + 1)) == b"12345678"
    # 1000 elements end before the second page does.
    assert machine.kernel.mem_read(machine.pid, mapping, PAGE - 8, 8) == bytes(8)
    machine.kernel.mem_write(machine.pid, mapping, PAGE - 8, b"beyond!!")


@pytest.mark.parametrize(
    ("writable", "at", "content"),
    [(False, 0, b"x"), (True, PAGE, b"x"), (True, PAGE - 1, b"xy"), (True, -1, b"x")],
)
def test_a_process_faults(machine, writable, at, content):
    mapping = mmap(machine, array(machine), writable=writable)
    write = machine.kernel.mem_write
    assert outcome(lambda: write(machine.pid, mapping, at, content)) == "EFAULT"


def test_mappings_belong_to_their_task(machine):
    mapping = mmap(machine, array(machine))
    other = machine.other_task().pid
    kernel = machine.kernel
    assert outcome(lambda: kernel.mem_read(other, mapping, 0, 1)) == "EFAULT"
    assert outcome(lambda: kernel.munmap(other, mapping)) == "EINVAL"
    kernel.munmap(machine.pid, mapping)
    assert outcome(lambda: kernel.munmap(machine.pid, mapping)) == "EINVAL"


# --- freezing ------------------------------------------------------------


def test_a_writable_mapping_forbids_freezing(machine):
    fd = array(machine)
    mmap(machine, fd, writable=False)
    mapping = mmap(machine, fd)
    assert outcome(lambda: machine.map_freeze(fd)) == "EBUSY"
    machine.kernel.munmap(machine.pid, mapping)
    assert outcome(lambda: machine.map_freeze(fd)) == "ok"
    assert outcome(lambda: mmap(machine, fd)) == "EPERM"
    assert outcome(lambda: mmap(machine, fd, writable=False)) == "ok"


def test_a_child_keeps_the_map_from_being_frozen(machine):
    fd = array(machine)
    mapping = mmap(machine, fd)
    child = machine.kernel.fork(machine.pid)
    machine.kernel.munmap(machine.pid, mapping)
    assert outcome(lambda: machine.map_freeze(fd)) == "EBUSY"
    machine.kernel.exit_task(child)
    assert outcome(lambda: machine.map_freeze(fd)) == "ok"


# --- life and cost -------------------------------------------------------


def test_a_mapping_holds_the_map_until_the_task_ends(machine):
    fd = array(machine)
    found = machine.type_of(fd).rec
    mmap(machine, fd)
    machine.close(fd)
    assert machine.kernel.maps.get(found.id).rec.refcnt == 1
    machine.kernel.exit_task(machine.pid)
    assert outcome(lambda: machine.kernel.maps.get(found.id)) == "ENOENT"
    assert machine.stat()["kernel"] == 0


@pytest.mark.parametrize(
    ("profile", "slab"),
    [("5.10", 200 + 8), ("6.1", 152 + 8), ("6.12", 176 + 8 + 40 + 8), ("6.18", 192 + 8)],
)
def test_the_mapping_task_pays_for_the_mapping(profile, slab):
    machine = Machine(profile)
    machine.kernel.memcg.create("/mapper")
    fd = array(machine)
    mapper = machine.kernel.spawn("mapper", caps=ALL_CAPS, cgroup="/mapper").pid
    machine.kernel.files.files.add(replace(machine.kernel.files.get(machine.pid, fd), pid=mapper))
    machine.kernel.maps.inc(machine.type_of(fd).rec.id, user=True)
    before = machine.stat()
    mapping = machine.kernel.mmap(mapper, fd, 0, 2 * PAGE, True)
    stat = machine.kernel.memcg.stat(machine.kernel.memcg.lookup("/mapper"))
    assert (stat["slab"], stat["pagetables"], stat["kernel"]) == (slab, PAGE, 2 * PAGE)
    assert machine.stat() == before
    machine.kernel.munmap(mapper, mapping)
    assert machine.kernel.memcg.stat(machine.kernel.memcg.lookup("/mapper"))["kernel"] == 0


def test_page_tables_reach_512_pages_each(machine):
    fd = array(machine, entries=512 * 600)
    before = machine.stat()["pagetables"]
    mmap(machine, fd, 600 * PAGE)
    assert machine.stat()["pagetables"] - before == 2 * PAGE


def test_a_refused_mapping_leaves_nothing(machine):
    fd = array(machine)
    before = machine.stat()
    assert outcome(lambda: mmap(machine, fd, 1 << 20)) == "EINVAL"
    for nth in (1, 2):
        machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + nth
        assert outcome(lambda: mmap(machine, fd)) == "ENOMEM"
    assert machine.stat() == before
    assert machine.kernel.mappings.of_task(machine.pid) == []
    assert machine.type_of(fd).rec.mappings == 0


def test_mappings_outlast_the_command():
    with Lab.boot(Array, "6.18") as lab:
        fd = lab.create(lab.attr(map_flags=MMAPABLE))
        mapping = lab.kernel.mmap(lab.bpf.pid, fd, 0, PAGE, True)
        lab.kernel.mem_write(lab.bpf.pid, mapping, 8, b"12345678")
        before = lab.counters()
        lab.commit_and_reopen()
        lab.demand_sound("after a round trip")
        assert lab.counters() == before
        assert lab.kernel.mem_read(lab.bpf.pid, mapping, 8, 8) == b"12345678"
        assert outcome(lambda: lab.bpf.map_freeze(fd)) == "EBUSY"
        lab.bpf.close(fd)
        lab.demand_sound("with a mapping that holds the map")
        lab.kernel.munmap(lab.bpf.pid, mapping)
        lab.demand_sound("after munmap")


# --- "mm: convert page kmemcg type to a page memcg flag" -----------------


@pytest.mark.parametrize(
    ("cgroup", "want"), [(GROUP, "EINVAL"), ("/", "ok")], ids=["accounted", "root"]
)
def test_accounted_pages_could_not_be_mapped(machine, cgroup, want):
    kernel = machine.kernel
    accounting = replace(kernel.profile.accounting, accounted_pages_mappable=False)
    kernel.profile = replace(kernel.profile, accounting=accounting)
    kernel.memcg.move(kernel.task(machine.pid), cgroup)
    fd = array(machine)
    assert outcome(lambda: mmap(machine, fd)) == want


# --- the contract --------------------------------------------------------


def test_a_type_without_mappings_of_its_own(machine):
    found: MapType = machine.type_of(machine.create("hash", 4, 4, 1))
    assert found.get_unmapped_area(0, 0x1000, PAGE, 0) == 0x1000
    assert outcome(lambda: found.mapped_read(0, 1)) == "ENOTSUPP"
    assert outcome(lambda: found.mapped_write(0, b"x")) == "ENOTSUPP"
