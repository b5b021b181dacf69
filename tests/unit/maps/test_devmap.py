"""devmap and devmap_hash: entries, programs, the kernel's count of them, devices that go."""

from __future__ import annotations

import struct

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.uapi import BPF_F_RDONLY_PROG, PROG_TYPE_NUMBER, ProgLoadAttr
from unit.maps.machine import KERNELS, Machine, cells, outcome

DEVMAP_PROG, CPUMAP_PROG = 33, 35
R0_ZERO_EXIT = bytes.fromhex("b700000000000000" "9500000000000000")


def key(index: int) -> bytes:
    return struct.pack("<I", index)


def value(ifindex: int, prog: int = 0) -> bytes:
    return struct.pack("<Ii", ifindex, prog)


def load_xdp(machine: Machine, attach_type: int = 0) -> int:
    return machine.prog_load(
        ProgLoadAttr(PROG_TYPE_NUMBER["xdp"], R0_ZERO_EXIT, expected_attach_type=attach_type)
    )


# type | what is there before | key | ifindex | flags | outcome
UPDATES = """
devmap      | nothing | 0   | 1   | 0 | ok
devmap      | key 0   | 0   | 1   | 0 | ok
devmap      | nothing | 0   | 1   | 1 | EEXIST
devmap      | nothing | 0   | 1   | 2 | ok
devmap      | nothing | 0   | 1   | 3 | EINVAL
devmap      | nothing | 4   | 1   | 0 | E2BIG
devmap      | nothing | 4   | 1   | 1 | E2BIG
devmap      | nothing | 0   | 0   | 0 | ok
devmap      | nothing | 0   | 99  | 0 | EINVAL
devmap_hash | nothing | 100 | 1   | 0 | ok
devmap_hash | nothing | 0   | 1   | 2 | ok
devmap_hash | nothing | 0   | 1   | 3 | EINVAL
devmap_hash | key 0   | 0   | 1   | 1 | EEXIST
devmap_hash | nothing | 0   | 0   | 0 | EINVAL
devmap_hash | nothing | 0   | 99  | 0 | EINVAL
"""


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("kind", "before", "at", "ifindex", "flags", "want"), cells(UPDATES))
def test_update(kernel, kind, before, at, ifindex, flags, want):
    machine = Machine(kernel)
    fd = machine.create(kind, 4, 4, 4)
    if before != "nothing":
        machine.map_update_elem(fd, key(0), value(1)[:4])
    new = value(int(ifindex))[:4]
    assert outcome(lambda: machine.map_update_elem(fd, key(int(at)), new, int(flags))) == want


@pytest.mark.parametrize(
    ("kind", "at", "want"),
    [
        ("devmap", 0, "ok"),
        ("devmap", 1, "ok"),
        ("devmap", 4, "EINVAL"),
        ("devmap_hash", 0, "ok"),
        ("devmap_hash", 1, "ENOENT"),
    ],
)
def test_delete(kind, at, want):
    machine = Machine()
    fd = machine.create(kind, 4, 4, 4)
    machine.map_update_elem(fd, key(0), value(1)[:4])
    assert outcome(lambda: machine.map_delete_elem(fd, key(at))) == want


def test_hash_is_full_with_max_entries_and_then_still_replaces():
    machine = Machine()
    fd = machine.create("devmap_hash", 4, 4, 2)
    for index in (7, 9):
        machine.map_update_elem(fd, key(index), value(1)[:4])
    charged = machine.stat()
    with pytest.raises(KernelError) as full:
        machine.map_update_elem(fd, key(8), value(1)[:4])
    assert full.value.code == E.BIG
    machine.map_update_elem(fd, key(7), value(1)[:4])
    assert machine.stat() == charged
    # The replaced element is the newest of its bucket.
    assert list(machine.map_keys(fd)) == [key(7), key(9)]


@pytest.mark.parametrize("kind", ["devmap", "devmap_hash"])
@pytest.mark.parametrize(
    ("attach_type", "want"), [(DEVMAP_PROG, "ok"), (0, "EINVAL"), (CPUMAP_PROG, "EINVAL")]
)
def test_programs_must_be_made_for_device_maps(kind, attach_type, want):
    machine = Machine()
    fd, prog = machine.create(kind, 4, 8, 4), load_xdp(machine, attach_type)
    before = machine.stat()
    assert outcome(lambda: machine.map_update_elem(fd, key(0), value(1, prog))) == want
    if want == "ok":
        prog_id = machine.obj_info(prog).id
        assert machine.map_lookup_elem(fd, key(0)) == value(1, prog_id)
        machine.close(prog)
        assert list(machine.kernel.progs.records.keys_after(None)) == [prog_id]
        machine.map_delete_elem(fd, key(0))
        assert not list(machine.kernel.progs.records.keys_after(None))
    else:
        assert machine.stat() == before


@pytest.mark.parametrize(
    "new", [value(1, 77), value(0, 77)], ids=["bad descriptor", "no device but a program"]
)
def test_bad_programs_are_invalid(new):
    machine = Machine()
    fd = machine.create("devmap", 4, 8, 4)
    assert outcome(lambda: machine.map_update_elem(fd, key(0), new)) == "EINVAL"


def test_shown_usage_counts_updates_of_empty_slots():
    machine = Machine("6.18")
    fd = machine.create("devmap", 4, 4, 4)
    entry, empty = 64, machine.memlock(fd)
    machine.map_update_elem(fd, key(0), value(0)[:4])
    assert machine.memlock(fd) == empty + entry
    machine.map_update_elem(fd, key(1), value(1)[:4])
    machine.map_update_elem(fd, key(1), value(0)[:4])
    assert machine.memlock(fd) == empty + 2 * entry
    machine.map_update_elem(fd, key(1), value(1)[:4])
    machine.map_delete_elem(fd, key(1))
    assert machine.memlock(fd) == empty + 2 * entry
    machine.map_delete_elem(fd, key(0))
    assert machine.memlock(fd) == empty + 2 * entry


@pytest.mark.parametrize("kind", ["devmap", "devmap_hash"])
def test_a_device_that_goes_leaves_the_maps(kind):
    machine = Machine()
    veth = machine.kernel.objects.create("netdev", "veth0")
    fd = machine.create(kind, 4, 4, 4)
    before = machine.stat(), machine.memlock(fd)
    for index, ifindex in enumerate((veth.priv["ifindex"], 1)):
        machine.map_update_elem(fd, key(index), value(ifindex)[:4])
    machine.kernel.objects.remove(veth.id)
    assert outcome(lambda: machine.map_lookup_elem(fd, key(0))) == "ENOENT"
    assert machine.map_lookup_elem(fd, key(1)) == value(1)[:4]
    machine.map_delete_elem(fd, key(1))
    assert (machine.stat(), machine.memlock(fd)) == before


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("kind", ["devmap", "devmap_hash"])
def test_sizing_equals_inserts(kernel, kind):
    filled, sized = Machine(kernel), Machine(kernel)
    real, fake = filled.create(kind, 4, 4, 50), sized.create(kind, 4, 4, 50)
    for index in range(30):
        filled.map_update_elem(real, key(index), value(1)[:4])
    for entries in (0, 10, 20):
        sized.type_of(fake).fill(entries)
    assert sized.stat() == filled.stat()
    assert sized.memlock(fake) == filled.memlock(real)


@pytest.mark.parametrize("kind", ["devmap", "devmap_hash"])
def test_over_the_memlock_limit_reads_as_bad_attributes(kind):
    machine = Machine("5.10")
    machine.kernel.task(machine.pid).memlock_soft = 0
    assert outcome(lambda: machine.create(kind, 4, 4, 4)) == "EINVAL"


@pytest.mark.parametrize("kind", ["devmap", "devmap_hash"])
def test_programs_may_only_read(kind):
    machine = Machine()
    fd = machine.create(kind, 4, 4, 4)
    assert machine.map_info(fd).map_flags == BPF_F_RDONLY_PROG
    refused = outcome(lambda: machine.create(kind, 4, 4, 4, BPF_F_RDONLY_PROG))
    assert refused == "EINVAL"
