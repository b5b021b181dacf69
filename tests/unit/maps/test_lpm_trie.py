"""Longest prefix match, against a plain dict, and what its nodes cost."""

from __future__ import annotations

import random
from ipaddress import IPv4Interface
from itertools import islice
from struct import pack, unpack

import pytest

from bpfctl.uapi import BatchAttr, Cmd
from bpfctl_maps.lpm_trie import postorder
from unit.maps.machine import KERNELS, Machine, outcome

NO_PREALLOC = 0x1


def net(text):
    interface = IPv4Interface(text)
    return pack("<I", interface.network.prefixlen) + interface.ip.packed


def text_of(key):
    return f"{'.'.join(map(str, key[4:]))}/{unpack('<I', key[:4])[0]}"


def ipv4(machine, entries=100, value=4):
    return machine.create("lpm_trie", 8, value, entries, NO_PREALLOC)


@pytest.fixture
def machine():
    return Machine()


# --- lookup and order ----------------------------------------------------


def test_the_longest_prefix_wins(machine):
    fd = ipv4(machine)
    for number, network in enumerate(["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"]):
        machine.map_update_elem(fd, net(network), bytes([number] * 4))
    for address, number in [("10.1.2.3", 3), ("10.1.2.4", 2), ("10.9.9.9", 1), ("11.0.0.1", 0)]:
        assert machine.map_lookup_elem(fd, net(f"{address}/32")) == bytes([number] * 4)
    assert machine.map_lookup_elem(fd, net("10.1.0.0/9")) == bytes([1] * 4)


def test_walk_is_in_post_order(machine):
    fd = ipv4(machine)
    networks = ["192.168.0.0/16", "192.168.128.0/24", "192.168.0.0/24", "192.168.1.0/24"]
    for network in networks:
        machine.map_update_elem(fd, net(network), bytes(4))
    assert [text_of(key) for key in machine.map_keys(fd)] == [
        "192.168.0.0/24", "192.168.1.0/24", "192.168.128.0/24", "192.168.0.0/16",
    ]
    # Unknown, too long and intermediate (0/23 joins the first two) keys start again.
    for key in (net("1.2.3.4/32"), pack("<I", 33) + bytes(4), net("192.168.0.0/23")):
        assert text_of(machine.map_get_next_key(fd, key)) == "192.168.0.0/24"


def test_bits_beyond_the_prefix_are_kept_but_do_not_count(machine):
    fd = ipv4(machine)
    odd = pack("<I", 8) + bytes([10, 1, 2, 3])
    machine.map_update_elem(fd, odd, b"aaaa")
    machine.map_update_elem(fd, net("10.0.0.0/8"), b"bbbb", 2)
    assert list(machine.map_keys(fd)) == [net("10.0.0.0/8")]
    machine.map_update_elem(fd, odd, b"cccc")
    assert list(machine.map_keys(fd)) == [odd]
    machine.map_delete_elem(fd, net("10.0.0.0/8"))
    assert list(machine.map_keys(fd)) == []


@pytest.mark.parametrize("data", [1, 2, 4, 33])
def test_positions_sort_in_post_order(data):
    rng = random.Random(data)
    prefixes = {(0, "0" * 8 * data)}
    for _ in range(300):
        bits = "".join(rng.choice("01") for _ in range(rng.randint(0, 8 * data)))
        prefixes.add((len(bits), bits.ljust(8 * data, "0")))
    by_rule = sorted(prefixes, key=lambda p: p[1][: p[0]] + "2")
    by_position = sorted(
        prefixes,
        key=lambda p: postorder(p[0], int(p[1], 2).to_bytes(data, "big")),
    )
    assert by_position == by_rule


class Model:
    """What a map of prefixes does, the slow way."""

    def __init__(self, data):
        self.data = data
        self.found = {}

    def bits(self, key):
        length = unpack("<I", key[:4])[0]
        return "".join(f"{byte:08b}" for byte in key[4:])[:length]

    def lookup(self, key):
        wanted = self.bits(key)
        for length in range(len(wanted), -1, -1):
            if wanted[:length] in self.found:
                return self.found[wanted[:length]][1]
        return None

    def walk(self):
        return [self.found[bits][0] for bits in sorted(self.found, key=lambda b: b + "2")]


def intermediate_nodes(prefixes):
    """Count the branching points of a set of prefixes that are no elements themselves."""
    joints = set()
    for a in prefixes:
        for b in prefixes:
            same = 0
            while same < min(len(a), len(b)) and a[same] == b[same]:
                same += 1
            if same < min(len(a), len(b)):
                joints.add(a[:same])
    return len(joints - set(prefixes))


@pytest.mark.parametrize("seed", range(4))
def test_random_histories(machine, seed):
    rng = random.Random(seed)
    data = rng.choice([1, 2, 4])
    fd = machine.create("lpm_trie", 4 + data, 2, 60, NO_PREALLOC)
    trie, model = machine.type_of(fd), Model(data)
    stems = [rng.randbytes(data) for _ in range(4)]
    for step in range(300):
        flipped = 1 << rng.randrange(8 * data)
        near = int.from_bytes(rng.choice(stems), "big") ^ flipped
        key = pack("<I", rng.randint(0, 8 * data)) + near.to_bytes(data, "big")
        bits = model.bits(key)
        if rng.random() < 0.6:
            value = rng.randbytes(2)
            full = len(model.found) == 60 and bits not in model.found
            want = "ENOSPC" if full else "ok"
            assert outcome(lambda: machine.map_update_elem(fd, key, value)) == want  # noqa: B023
            if not full:
                model.found[bits] = (key, value)
        else:
            want = "ok" if model.found.pop(bits, None) else "ENOENT"
            assert outcome(lambda: machine.map_delete_elem(fd, key)) == want  # noqa: B023
        probe = pack("<I", 8 * data) + rng.choice(stems)
        wanted = model.lookup(probe)
        assert trie.prog_lookup(probe) == wanted
        if step % 20 == 0:
            assert list(machine.map_keys(fd)) == model.walk()
            rows = sum(1 for _ in trie.cells.rows())
            assert rows == len(model.found) + intermediate_nodes(model.found)
    for key in list(machine.map_keys(fd)):
        machine.map_delete_elem(fd, key)
    assert trie.rec.nr_elems == 0


# --- errors --------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd, k: m.map_lookup_elem(fd, k), "ENOENT"),
        (lambda m, fd, k: m.map_update_elem(fd, k, bytes(4), 1), "ok"),
        (lambda m, fd, k: m.map_update_elem(fd, k, bytes(4), 2), "ENOENT"),
        (lambda m, fd, k: m.map_update_elem(fd, k, bytes(4), 3), "EINVAL"),
        (lambda m, fd, k: m.map_update_elem(fd, k, bytes(4), 4), "EINVAL"),
        (lambda m, fd, k: m.map_delete_elem(fd, k), "ENOENT"),
        (lambda m, fd, k: m.map_get_next_key(fd, k), "ENOENT"),
        (lambda m, fd, k: m.map_lookup_and_delete_elem(fd, k), "ENOTSUPP"),
    ],
    ids=["lookup", "noexist", "exist", "flags3", "lock", "delete", "next", "lookup-and-delete"],
)
def test_operations_on_an_empty_trie(machine, operation, want):
    fd = ipv4(machine)
    assert outcome(lambda: operation(machine, fd, net("10.0.0.0/8"))) == want


@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd, k: m.map_lookup_elem(fd, k), "ENOENT"),
        (lambda m, fd, k: m.map_update_elem(fd, k, bytes(4)), "EINVAL"),
        (lambda m, fd, k: m.map_delete_elem(fd, k), "EINVAL"),
    ],
    ids=["lookup", "update", "delete"],
)
def test_a_prefix_longer_than_the_data(machine, operation, want):
    fd = ipv4(machine)
    machine.map_update_elem(fd, net("10.0.0.0/8"), bytes(4))
    assert outcome(lambda: operation(machine, fd, pack("<I", 33) + bytes(4))) == want


@pytest.mark.parametrize(
    ("profile", "replace"), [("5.10", "ENOSPC"), ("6.1", "ok"), ("6.12", "ok"), ("6.18", "ok")]
)
def test_a_full_trie(profile, replace):
    machine = Machine(profile)
    fd = ipv4(machine, entries=2)
    for network in ("10.0.0.0/8", "11.0.0.0/8"):
        machine.map_update_elem(fd, net(network), bytes(4))
    assert outcome(lambda: machine.map_update_elem(fd, net("12.0.0.0/8"), bytes(4))) == "ENOSPC"
    # The joint of both is a node, but no element.
    assert outcome(lambda: machine.map_update_elem(fd, net("10.0.0.0/7"), bytes(4))) == "ENOSPC"
    assert outcome(lambda: machine.map_update_elem(fd, net("11.0.0.0/8"), b"abcd")) == replace


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize(
    ("key", "value", "entries", "flags", "want"),
    [
        (8, 4, 0, 1, "EINVAL"),
        (8, 4, 1, 0, "EINVAL"),
        (4, 4, 1, 1, "EINVAL"),
        (5, 4, 1, 1, "ok"),
        (260, 4, 1, 1, "ok"),
        (261, 4, 1, 1, "EINVAL"),
        (8, 0, 1, 1, "EINVAL"),
        (8, 4, 1, 0x181, "EINVAL"),
        (8, 4, 1, 0x41, "EINVAL"),
        (8, (4 << 20) - 256, 1, 1, "EINVAL"),
        (8, 4, 1, 0x81, "ok"),
    ],
)
def test_attribute_checks(profile, key, value, entries, flags, want):
    machine = Machine(profile)
    assert outcome(lambda: machine.create("lpm_trie", key, value, entries, flags)) == want


# --- batch ---------------------------------------------------------------


def test_batches(machine):
    fd = ipv4(machine)
    keys = b"".join(net(f"10.0.{number}.0/24") for number in range(5))
    values = bytes(range(20))
    done = machine.map_batch(Cmd.MAP_UPDATE_BATCH, BatchAttr(fd, None, keys, values, 5))
    assert (done.count, done.errno) == (5, 0)
    read = machine.map_batch(Cmd.MAP_LOOKUP_BATCH, BatchAttr(fd, count=3))
    assert (read.count, read.errno, read.keys) == (3, 0, keys[:24])
    rest = machine.map_batch(Cmd.MAP_LOOKUP_BATCH, BatchAttr(fd, read.out_batch, count=3))
    assert (rest.count, rest.errno, rest.values) == (2, 2, values[12:])
    gone = machine.map_batch(Cmd.MAP_DELETE_BATCH, BatchAttr(fd, keys=keys, count=5))
    assert (gone.count, gone.errno) == (5, 0)


def test_no_batches_in_5_10():
    machine = Machine("5.10")
    fd = ipv4(machine)
    attr = BatchAttr(fd, count=1)
    assert outcome(lambda: machine.map_batch(Cmd.MAP_LOOKUP_BATCH, attr)) == "ENOTSUPP"


# --- memory --------------------------------------------------------------

HEAD = {"5.11": 40, "6.1": 40, "6.12": 40}


def slab_class(size):
    classes = (8, 16, 32, 64, 96, 128, 192, 256, 512, 1024)
    return next(served for served in classes if size <= served) + 8


@pytest.mark.parametrize("profile", ["5.11", "6.1", "6.12"])
def test_each_node_is_an_allocation_of_its_own(profile):
    machine = Machine(profile)
    fd = ipv4(machine, value=64)
    before = machine.stat()["slab"]
    machine.map_update_elem(fd, net("10.0.0.0/8"), bytes(64))
    real = slab_class(HEAD[profile] + 4 + 64)
    assert machine.stat()["slab"] - before == real
    machine.map_update_elem(fd, net("11.0.0.0/8"), bytes(64))
    joint = slab_class(HEAD[profile] + 4)
    assert machine.stat()["slab"] - before == 2 * real + joint
    # The joint becomes an element; deleted again it keeps its size.
    machine.map_update_elem(fd, net("10.0.0.0/7"), bytes(64))
    assert machine.stat()["slab"] - before == 3 * real
    machine.map_delete_elem(fd, net("10.0.0.0/7"))
    assert machine.stat()["slab"] - before == 3 * real
    machine.map_delete_elem(fd, net("11.0.0.0/8"))
    assert machine.stat()["slab"] - before == real
    machine.close(fd)
    assert machine.stat()["kernel"] == 0


def test_6_18_takes_nodes_from_a_cache(machine):
    fd = ipv4(machine)
    unit = slab_class(24 + 4 + 4 + 8)
    assert machine.stat()["slab"] == 400 + 512 + 8 + 4 * 2 * unit
    machine.map_update_elem(fd, net("10.0.0.0/8"), bytes(4))
    assert machine.stat()["slab"] == 400 + 512 + 8 + (4 * 2 + 48) * unit
    machine.close(fd)
    assert machine.stat()["kernel"] == 0


@pytest.mark.parametrize(("profile", "node"), [("6.12", 40), ("6.18", 24)])
def test_usage_counts_elements_only(profile, node):
    machine = Machine(profile)
    fd = ipv4(machine, value=16)
    assert machine.memlock(fd) == 0
    for number in range(3):
        machine.map_update_elem(fd, net(f"10.0.{number}.0/24"), bytes(16))
    assert machine.memlock(fd) == 3 * (node + 4 + 16)


@pytest.mark.parametrize(("profile", "shown"), [("5.10", 61440), ("6.1", 24576)])
def test_memlock_of_an_empty_trie(profile, shown):
    machine = Machine(profile)
    assert machine.memlock(ipv4(machine, 1000, 16)) == shown


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize(
    ("data", "entries"), [(4, 1), (4, 2), (4, 150), (1, 256), (1, 300), (1, 511)]
)
def test_fill_charges_what_inserts_charge(profile, data, entries):
    real, filled = Machine(profile), Machine(profile)
    all_prefixes = (
        (length, number << 8 * data - length)
        for length in range(8 * data, -1, -1)
        for number in range(1 << length)
    )
    prefixes = islice(all_prefixes, entries)
    fds = [m.create("lpm_trie", 4 + data, 200, 1000, NO_PREALLOC) for m in (real, filled)]
    for length, number in prefixes:
        real.map_update_elem(fds[0], pack("<I", length) + number.to_bytes(data, "big"), bytes(200))
    filled.type_of(fds[1]).fill(entries)
    assert filled.stat() == real.stat()
    assert filled.memlock(fds[1]) == real.memlock(fds[0])
    filled.close(fds[1])
    assert filled.stat()["kernel"] == 0


def test_an_insert_that_gets_no_memory_changes_nothing():
    machine = Machine("6.12")
    fd = ipv4(machine)
    machine.map_update_elem(fd, net("10.0.0.0/8"), bytes(4))
    before = machine.stat()
    keys = list(machine.map_keys(fd))
    for nth in (1, 2):
        machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + nth
        failed = outcome(lambda: machine.map_update_elem(fd, net("11.0.0.0/8"), bytes(4)))
        assert failed == "ENOMEM"
        assert (machine.stat(), list(machine.map_keys(fd))) == (before, keys)
    assert outcome(lambda: machine.map_update_elem(fd, net("11.0.0.0/8"), bytes(4))) == "ok"


def test_an_operation_reads_one_path(machine):
    fd = machine.create("lpm_trie", 8, 4, 5000, NO_PREALLOC)
    for number in range(2000):
        machine.map_update_elem(fd, pack("<I", 32) + pack(">I", number), bytes(4))
    trie = machine.type_of(fd)
    reads = []
    get = trie.cells.get

    def counted(key):
        reads.append(key)
        return get(key)

    trie.cells.get = counted
    machine.map_lookup_elem(fd, pack("<I", 32) + pack(">I", 1234))
    machine.map_update_elem(fd, pack("<I", 32) + pack(">I", 4321), bytes(4))
    machine.map_delete_elem(fd, pack("<I", 32) + pack(">I", 77))
    assert len(reads) < 3 * 20
