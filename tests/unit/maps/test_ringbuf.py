"""Ring buffers: memory, who may map what, and records seen from both sides."""

from __future__ import annotations

from struct import pack, unpack

import pytest

from bpfctl.uapi import BatchAttr, Cmd
from bpfctl_maps.ringbuf import (
    BPF_RB_AVAIL_DATA,
    BPF_RB_CONS_POS,
    BPF_RB_FORCE_WAKEUP,
    BPF_RB_NO_WAKEUP,
    BPF_RB_PROD_POS,
    BPF_RB_RING_SIZE,
    BUSY_BIT,
    DISCARD_BIT,
)
from unit.maps.machine import KERNELS, Machine, outcome

PAGE = 4096
SIZE = 2 * PAGE


@pytest.fixture
def machine():
    return Machine()


class User:
    """The process's half: it has the positions and the data mapped, as libbpf does."""

    def __init__(self, machine, fd):
        self.machine = machine
        writer = machine.map_info(fd).type == 27
        self.consumer = self._map(fd, PAGE, 0, writer)
        self.producer = self._map(fd, PAGE + 2 * SIZE, PAGE, not writer)

    def _map(self, fd, length, offset, writable):
        return self.machine.kernel.mmap(self.machine.pid, fd, offset, length, writable)

    def read(self, mapping, at, size):
        return self.machine.kernel.mem_read(self.machine.pid, mapping, at, size)

    def write(self, mapping, at, content):
        self.machine.kernel.mem_write(self.machine.pid, mapping, at, content)

    def position(self, mapping):
        return unpack("<Q", self.read(mapping, 0, 8))[0]

    def header(self, pos):
        return unpack("<II", self.read(self.producer, PAGE + pos % SIZE, 8))

    def consume(self):
        """Take what is committed."""
        taken, pos = [], self.position(self.consumer)
        while pos < self.position(self.producer):
            word, _ = self.header(pos)
            if word & BUSY_BIT:
                break
            size = word & ~DISCARD_BIT
            if not word & DISCARD_BIT:
                taken.append(self.read(self.producer, PAGE + pos % SIZE + 8, size))
            pos += -(-(size + 8) // 8) * 8
            self.write(self.consumer, 0, pack("<Q", pos))
        return taken

    def produce(self, content, mark=0):
        """Append a record."""
        pos = self.position(self.producer)
        at = PAGE + pos % SIZE
        self.write(self.producer, at, pack("<II", len(content) | mark, 0) + content)
        taken = -(-(len(content) + 8) // 8) * 8
        self.write(self.producer, 0, pack("<Q", pos + taken))


@pytest.fixture
def ring(machine):
    fd = machine.create("ringbuf", 0, 0, SIZE)
    return machine.type_of(fd), User(machine, fd)


# --- programs produce ----------------------------------------------------


def test_records_pass_in_order(ring):
    rb, user = ring
    sent = [bytes([number]) * (number * 7 + 1) for number in range(20)]
    for content in sent:
        rb.output(content)
    assert user.consume() == sent
    assert user.consume() == []


def test_the_ring_wraps_without_splitting_records(ring):
    rb, user = ring
    for number in range(200):
        content = bytes([number]) * 1000
        rb.output(content)
        assert user.consume() == [content]
    assert rb.query(BPF_RB_PROD_POS) == 200 * 1008


def test_record_headers(ring):
    rb, user = ring
    first, second, third = rb.reserve(5), rb.reserve(PAGE), rb.reserve(1)
    assert (first, second, third) == (0, 16, 16 + PAGE + 8)
    # The page number counts from the ring's own page: three come before the data.
    assert user.header(first) == (5 | BUSY_BIT, 3)
    assert user.header(second) == (PAGE | BUSY_BIT, 3)
    assert user.header(third) == (1 | BUSY_BIT, 4)
    rb.submit(first)
    rb.discard(second)
    assert user.header(first)[0] == 5
    assert user.header(second)[0] == PAGE | DISCARD_BIT


def test_a_reserved_record_holds_up_later_ones(ring):
    rb, user = ring
    first = rb.reserve(4)
    rb.output(b"later")
    assert user.consume() == []
    rb.write(first, b"ab")
    rb.write(first, b"cd", 2)
    rb.submit(first)
    assert user.consume() == [b"abcd", b"later"]


def test_discarded_records_are_stepped_over(ring):
    rb, user = ring
    rb.discard(rb.reserve(100))
    rb.output(b"kept")
    assert user.consume() == [b"kept"]
    assert rb.query(BPF_RB_AVAIL_DATA) == 0


@pytest.mark.parametrize(
    ("size", "fits"),
    [(SIZE - 16, True), (SIZE - 8, False), (SIZE, False), (1 << 30, False), (0, True)],
)
def test_largest_record(ring, size, fits):
    rb, _ = ring
    assert (rb.reserve(size) is not None) is fits


def test_a_full_ring(ring):
    rb, user = ring
    count = 0
    while outcome(lambda: rb.output(bytes(56))) == "ok":
        count += 1
    # One byte always stays free, so the last 64 do.
    assert count == SIZE // 64 - 1
    assert outcome(lambda: rb.output(b"x")) == "ok"
    assert outcome(lambda: rb.output(bytes(56))) == "EAGAIN"
    assert len(user.consume()) == count + 1
    assert outcome(lambda: rb.output(bytes(56))) == "ok"


def test_a_consumer_that_lies_cannot_have_pending_records_overwritten(ring):
    rb, user = ring
    rb.reserve(SIZE // 2)
    user.write(user.consumer, 0, pack("<Q", SIZE // 2 + 8))
    assert rb.reserve(SIZE - 64) is None


@pytest.mark.parametrize(
    ("consumed", "flags", "woken"),
    [
        (True, 0, True),
        (True, BPF_RB_NO_WAKEUP, False),
        (False, 0, False),
        (False, BPF_RB_FORCE_WAKEUP, True),
    ],
)
def test_who_is_woken_up(ring, consumed, flags, woken):
    rb, user = ring
    rb.output(b"first")
    if consumed:
        user.consume()
    assert rb.output(b"second", flags) is woken


def test_query_and_poll(ring):
    rb, user = ring
    assert not rb.readable()
    rb.output(bytes(8))
    rb.output(bytes(8))
    user.write(user.consumer, 0, pack("<Q", 16))
    asked = (BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS, 4)
    assert [rb.query(what) for what in asked] == [16, SIZE, 16, 32, 0]
    assert rb.readable()
    assert outcome(lambda: rb.output(b"", 4)) == "EINVAL"


def test_the_data_is_mapped_twice(ring):
    rb, user = ring
    rb.output(b"abcdefgh")
    assert user.read(user.producer, PAGE + SIZE, 16) == user.read(user.producer, PAGE, 16)
    assert user.read(user.producer, 0, PAGE) == pack("<Q", 16) + bytes(PAGE - 8)


# --- programs consume ----------------------------------------------------


@pytest.fixture
def user_ring(machine):
    fd = machine.create("user_ringbuf", 0, 0, SIZE)
    return machine.type_of(fd), User(machine, fd)


def drained(rb, stop_after=0):
    seen = []

    def take(sample):
        seen.append(sample)
        return len(seen) == stop_after

    count = rb.drain(take)
    assert count == len(seen)
    return seen


def test_samples_pass_in_order(user_ring):
    rb, user = user_ring
    sent = [bytes([number]) * number for number in range(30)]
    for content in sent:
        user.produce(content)
    assert drained(rb, 10) == sent[:10]
    assert drained(rb) == sent[10:]
    assert user.position(user.consumer) == user.position(user.producer)
    assert rb.writable()


def test_discarded_samples_do_not_count(user_ring):
    rb, user = user_ring
    user.produce(b"one", DISCARD_BIT)
    user.produce(b"two")
    user.produce(b"three", DISCARD_BIT)
    assert drained(rb) == [b"two"]
    assert rb.available() == 0


def test_a_busy_sample_ends_the_drain(user_ring):
    rb, user = user_ring
    user.produce(b"one")
    user.produce(b"two", BUSY_BIT)
    user.produce(b"three")
    assert drained(rb) == [b"one"]


def test_a_full_user_ring_is_not_writable(user_ring):
    rb, user = user_ring
    user.write(user.producer, 0, pack("<Q", SIZE))
    assert not rb.writable()


@pytest.mark.parametrize(
    ("header", "producer", "want"),
    [
        (pack("<II", 8, 0), 4, "EINVAL"),
        (pack("<II", 100, 0), 16, "EINVAL"),
        (pack("<II", SIZE, 0), 4 * SIZE, "E2BIG"),
        (pack("<II", 8, 0), 16, "ok"),
    ],
    ids=["unaligned", "beyond-producer", "beyond-ring", "honest"],
)
def test_a_malformed_user_ring(user_ring, header, producer, want):
    rb, user = user_ring
    user.write(user.producer, PAGE, header)
    user.write(user.producer, 0, pack("<Q", producer))
    assert outcome(lambda: rb.drain(lambda sample: 0)) == want
    assert outcome(lambda: rb.drain(lambda sample: 0, 4)) == "EINVAL"


# --- mmap ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "offset", "length", "writable", "want"),
    [
        ("ringbuf", 0, PAGE, True, "ok"),
        ("ringbuf", 0, PAGE, False, "ok"),
        ("ringbuf", 0, 2 * PAGE, True, "EPERM"),
        ("ringbuf", PAGE, PAGE, True, "EPERM"),
        ("ringbuf", PAGE, PAGE + 2 * SIZE, False, "ok"),
        ("ringbuf", PAGE, 2 * PAGE + 2 * SIZE, False, "EINVAL"),
        ("ringbuf", 0, 2 * PAGE + 2 * SIZE, False, "ok"),
        ("ringbuf", 2 * PAGE + 2 * SIZE, PAGE, False, "EINVAL"),
        ("user_ringbuf", 0, PAGE, True, "EPERM"),
        ("user_ringbuf", 0, PAGE, False, "ok"),
        ("user_ringbuf", PAGE, PAGE + 2 * SIZE, True, "ok"),
        ("user_ringbuf", PAGE, 2 * PAGE + 2 * SIZE, True, "EINVAL"),
    ],
)
def test_who_may_map_what(machine, kind, offset, length, writable, want):
    fd = machine.create(kind, 0, 0, SIZE)
    mmap = machine.kernel.mmap
    assert outcome(lambda: mmap(machine.pid, fd, offset, length, writable)) == want


# --- system calls --------------------------------------------------------


@pytest.mark.parametrize("kind", ["ringbuf", "user_ringbuf"])
@pytest.mark.parametrize(
    ("operation", "want"),
    [
        (lambda m, fd: m.map_lookup_elem(fd, None), "ENOTSUPP"),
        (lambda m, fd: m.map_update_elem(fd, None, b""), "ENOTSUPP"),
        (lambda m, fd: m.map_delete_elem(fd, None), "ENOTSUPP"),
        (lambda m, fd: m.map_delete_elem(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_get_next_key(fd, None), "ENOTSUPP"),
        (lambda m, fd: m.map_get_next_key(fd, b"\0"), "EINVAL"),
        (lambda m, fd: m.map_lookup_and_delete_elem(fd, None), "ENOTSUPP"),
        (lambda m, fd: m.map_batch(Cmd.MAP_LOOKUP_BATCH, BatchAttr(fd, count=1)), "ENOTSUPP"),
        (lambda m, fd: m.map_freeze(fd), "ok"),
    ],
    ids=["lookup", "update", "delete", "delete-key", "next", "next-key", "pop", "batch", "freeze"],
)
def test_there_are_no_elements(machine, kind, operation, want):
    fd = machine.create(kind, 0, 0, SIZE)
    assert outcome(lambda: operation(machine, fd)) == want


@pytest.mark.parametrize("profile", KERNELS)
@pytest.mark.parametrize(
    ("key", "value", "entries", "flags", "want"),
    [
        (0, 0, 0, 0, "EINVAL"),
        (0, 0, 1000, 0, "EINVAL"),
        (0, 0, 3 * PAGE, 0, "EINVAL"),
        (4, 0, PAGE, 0, "EINVAL"),
        (0, 4, PAGE, 0, "EINVAL"),
        (0, 0, PAGE, 0x1, "EINVAL"),
        (0, 0, PAGE, 0x8, "EINVAL"),
        (0, 0, PAGE, 0x4, "ok"),
    ],
)
def test_attribute_checks(profile, key, value, entries, flags, want):
    machine = Machine(profile)
    assert outcome(lambda: machine.create("ringbuf", key, value, entries, flags)) == want


@pytest.mark.parametrize(
    ("profile", "shown"), [("5.10", 81920), ("6.1", 0), ("6.12", 78360), ("6.18", 78408)]
)
def test_memlock(profile, shown):
    machine = Machine(profile)
    assert machine.memlock(machine.create("ringbuf", 0, 0, 65536)) == shown


def test_pages_are_charged_one_by_one(machine):
    machine.create("ringbuf", 0, 0, 65536)
    stat = machine.stat()
    # Struct, page array and descriptor; the ring's pages are in none of slab, percpu, vmalloc.
    assert stat["slab"] == (512 + 8) + (512 + 8) + 400
    assert stat["kernel"] == (3 + 16) * PAGE + PAGE


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failed_creation_leaves_nothing(machine, nth):
    machine.kernel.mm.fail_nth = machine.kernel.mm.nr_allocations + nth
    # The first two are tried again, by vmalloc.
    want = "ENOMEM" if nth == 3 else "ok"
    assert outcome(lambda: machine.create("ringbuf", 0, 0, 65536)) == want
    if want == "ENOMEM":
        assert machine.stat()["kernel"] == 0


def test_a_limit_refuses_without_killing(machine):
    machine.kernel.set_memory_knob("/g", "max", 64 << 10)
    assert outcome(lambda: machine.create("ringbuf", 0, 0, 65536)) == "ENOMEM"
    assert machine.stat()["kernel"] == 0
    events = machine.kernel.memcg.events(machine.kernel.memcg.lookup("/g"))
    assert (events["oom_kill"], events["max"]) == (0, 18)
