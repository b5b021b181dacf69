"""cpumap: entries for possible CPUs, their three allocations, programs."""

from __future__ import annotations

import pytest

from unit.maps.machine import KERNELS, Machine, cells, outcome
from unit.maps.test_devmap import CPUMAP_PROG, DEVMAP_PROG, key, load_xdp, value

# key | queue size | flags | outcome, on a machine of 2 CPUs with key 1 in the map
UPDATES = """
0 | 8     | 0 | ok
1 | 8     | 0 | ok
1 | 8     | 1 | EEXIST
0 | 8     | 1 | EEXIST
0 | 8     | 2 | ok
0 | 8     | 3 | EINVAL
9 | 8     | 0 | E2BIG
9 | 8     | 1 | E2BIG
2 | 8     | 0 | ENODEV
2 | 0     | 0 | ENODEV
0 | 16384 | 0 | ok
0 | 16385 | 0 | EOVERFLOW
2 | 16385 | 0 | EOVERFLOW
0 | 0     | 0 | ok
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("at", "qsize", "flags", "want"), cells(UPDATES))
def test_update(kernel, at, qsize, flags, want):
    machine = Machine(kernel)
    fd = machine.create("cpumap", 4, 4, 4)
    machine.map_update_elem(fd, key(1), value(64)[:4])
    new = value(int(qsize))[:4]
    assert outcome(lambda: machine.map_update_elem(fd, key(int(at)), new, int(flags))) == want


def test_a_queue_of_no_packets_deletes():
    machine = Machine()
    fd = machine.create("cpumap", 4, 8, 2)
    empty = machine.stat()
    machine.map_update_elem(fd, key(0), value(8))
    assert machine.map_lookup_elem(fd, key(0)) == value(8)
    machine.map_update_elem(fd, key(0), value(0, 77))
    assert outcome(lambda: machine.map_lookup_elem(fd, key(0))) == "ENOENT"
    assert machine.stat() == empty


# Charges of one entry with 2 CPUs: (slab, per-CPU) bytes.
@pytest.mark.parametrize(
    ("kernel", "slab", "percpu"),
    [
        ("5.11", 128 + 8 + 192 + 8, 2 * 96),
        ("6.1", 192 + 8 + 192 + 8, 2 * 96 + 192),
        ("6.12", 192 + 8 + 192 + 8, 2 * 96 + 192),
        ("6.18", 512 + 8 + 192 + 8, 2 * 96 + 192),
    ],
)
def test_charges_of_an_entry(kernel, slab, percpu):
    machine = Machine(kernel)
    fd = machine.create("cpumap", 4, 4, 4)
    before = machine.stat()
    machine.map_update_elem(fd, key(0), value(8)[:4])
    after = machine.stat()
    assert after["slab"] - before["slab"] == slab
    assert after["percpu"] - before["percpu"] == percpu
    machine.map_delete_elem(fd, key(0))
    assert machine.stat() == before


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_failed_entry_leaves_nothing(failing):
    machine = Machine()
    fd = machine.create("cpumap", 4, 4, 4)
    before = machine.stat()
    machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + failing
    assert outcome(lambda: machine.map_update_elem(fd, key(0), value(8)[:4])) == "ENOMEM"
    assert machine.stat() == before


@pytest.mark.parametrize(
    ("attach_type", "want"), [(CPUMAP_PROG, "ok"), (0, "ENOMEM"), (DEVMAP_PROG, "ENOMEM")]
)
def test_any_other_program_reads_as_lack_of_memory(attach_type, want):
    machine = Machine()
    fd, prog = machine.create("cpumap", 4, 8, 4), load_xdp(machine, attach_type)
    before = machine.stat()
    assert outcome(lambda: machine.map_update_elem(fd, key(0), value(8, prog))) == want
    if want == "ok":
        assert machine.map_lookup_elem(fd, key(0)) == value(8, machine.obj_info(prog).id)
        assert machine.fdinfo(fd)["owner_prog_type"] == "6"
        machine.close(prog)
        machine.close(fd)
        assert not list(machine.kernel.progs.records.keys_after(None))
    else:
        assert machine.stat() == before


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_entries_than_the_kernel_has_cpus(kernel):
    machine = Machine(kernel)
    limit = machine.kernel.profile.limits.nr_cpus
    assert outcome(lambda: machine.create("cpumap", 4, 4, limit)) == "ok"
    assert outcome(lambda: machine.create("cpumap", 4, 4, limit + 1)) == "E2BIG"


@pytest.mark.parametrize("kernel", KERNELS)
def test_sizing_equals_inserts(kernel):
    filled, sized = Machine(kernel), Machine(kernel)
    real, fake = filled.create("cpumap", 4, 4, 8), sized.create("cpumap", 4, 4, 8)
    for cpu in range(2):
        filled.map_update_elem(real, key(cpu), value(192)[:4])
    for _ in range(3):
        sized.type_of(fake).fill(1)
    assert sized.stat() == filled.stat()


def test_all_indexes_are_walked():
    machine = Machine()
    assert list(machine.map_keys(machine.create("cpumap", 4, 4, 3))) == [key(n) for n in range(3)]
