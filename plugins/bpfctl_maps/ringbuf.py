"""Ring buffers (kernel/bpf/ringbuf.c): records in a ring that both sides have mapped.

What can be mapped: a page with the consumer's position, one with the producer's, then the data
twice, so that no record is ever split. Rows are chunks of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import pack, unpack

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import NONE
from bpfctl.kernel.bpf.map import MapType, round_up
from bpfctl.kernel.mm.gfp import GFP_KERNEL, GFP_RETRY_MAYFAIL
from bpfctl.kernel.records import Task
from bpfctl.uapi import BPF_F_NUMA_NODE, BPF_F_RB_OVERWRITE, MapCreateAttr
from bpfctl_maps.sparse import SparseBytes

META_PAGES = 3
"""One page of the kernel's own, and one for each position."""
POSITION_PAGES = META_PAGES - 1
POINTER = 8
CHUNK = 256

# Record header: u32 length and flags, u32 page number of the record within the ring.
HEADER_SIZE = 8
BUSY_BIT = 1 << 31
DISCARD_BIT = 1 << 30
MAX_RECORD = 0xFFFFFFFF // 4
DYNPTR_MAX_SIZE = (1 << 24) - 1
MAX_USER_SAMPLES = 128 * 1024

BPF_RB_NO_WAKEUP = 1
BPF_RB_FORCE_WAKEUP = 2
BPF_RB_AVAIL_DATA, BPF_RB_RING_SIZE, BPF_RB_CONS_POS, BPF_RB_PROD_POS = range(4)

CONSUMER, PRODUCER, PENDING = "consumer_pos", "producer_pos", "pending_pos"
U64_MASK = (1 << 64) - 1


def record_size(size: int) -> int:
    """Bytes of the ring that a record of ``size`` bytes takes, header included."""
    return round_up(size + HEADER_SIZE, 8)


class Ring(MapType):
    """The memory of both types, and their positions (u64, never wrapped to the ring)."""

    family = "ringbuf"
    priv_needed = (CONSUMER, PRODUCER, PENDING)
    mmapable = True
    btf_allowed = True
    values = NONE
    example = Example(key_size=0, value_size=0, max_entries=65536, writable=False)

    # --- creation --------------------------------------------------------

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.map_flags & ~self._flags():
            raise KernelError(E.INVAL, f"map_flags {attr.map_flags:#x}")
        size = attr.max_entries
        aligned = size and not size & (size - 1) and size % self._page == 0
        if attr.key_size or attr.value_size or not aligned:
            raise KernelError(E.INVAL, "sizes")
        if 0 < self.kernel.profile.limits.ringbuf_max < size:
            raise KernelError(E.BIG, "max_entries")

    def _flags(self) -> int:
        """Return the map_flags that may be given."""
        return BPF_F_NUMA_NODE

    @property
    def _page(self) -> int:
        return self.kernel.config.page_size

    @property
    def size(self) -> int:
        """Bytes of data."""
        return self.rec.max_entries

    @property
    def _data_pages(self) -> int:
        return self.size // self._page

    def _page_array_size(self) -> int:
        return POINTER * (META_PAGES + 2 * self._data_pages)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("bpf_ringbuf_map") + META_PAGES * self._page + self.size

    def alloc(self) -> None:
        self.struct_alloc("rb_map", self.sizeof("bpf_ringbuf_map"))
        account = self.account()
        self.mem.area_alloc("page_array", self._page_array_size(), account)
        gfp = GFP_KERNEL | GFP_RETRY_MAYFAIL | account
        self.mem.alloc_pages("ring_pages", META_PAGES + self._data_pages, gfp)
        self.rec.priv.update({CONSUMER: 0, PRODUCER: 0, PENDING: 0})

    def mem_usage(self) -> int:
        pages = (META_PAGES + self._data_pages) * self._page
        return self.sizeof("bpf_ringbuf_map") + pages + self._page_array_size()

    # --- the ring --------------------------------------------------------

    @property
    def _data(self) -> SparseBytes:
        return SparseBytes(self.cells, CHUNK)

    def position(self, whose: str) -> int:
        """Return the consumer's, producer's or oldest pending position."""
        return int(self.rec.priv[whose])

    def _load(self, pos: int, size: int) -> bytes:
        return b"".join([self._data.read(at, part) for at, part in self._parts(pos, size)])

    def _store(self, pos: int, content: bytes) -> None:
        done = 0
        for at, part in self._parts(pos, len(content)):
            self._data.write(at, content[done : done + part])
            done += part

    def _parts(self, pos: int, size: int) -> Iterator[tuple[int, int]]:
        """Split ``size`` bytes at ``pos`` where the ring ends: yield offset and size."""
        while size > 0:
            at = pos % self.size
            part = min(size, self.size - at)
            yield at, part
            pos, size = pos + part, size - part

    def header(self, pos: int) -> tuple[int, int]:
        """Return length and flags (BUSY_BIT, DISCARD_BIT) of the record at ``pos``."""
        word = unpack("<I", self._load(pos, 4))[0]
        flags = word & (BUSY_BIT | DISCARD_BIT)
        return word ^ flags, flags

    def available(self) -> int:
        """Bytes between the positions of consumer and producer."""
        return self.position(PRODUCER) - self.position(CONSUMER) & U64_MASK

    # --- what processes see ----------------------------------------------

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        if offset + length > (POSITION_PAGES + 2 * self._data_pages) * self._page:
            raise KernelError(E.INVAL, "beyond the ring")

    def _regions(self, offset: int, size: int) -> Iterator[tuple[str, int, int]]:
        """Split mapped bytes: yield whose position (or "" for data), offset in it, and size."""
        while size > 0:
            page, at = divmod(offset, self._page)
            if page < POSITION_PAGES:
                part = min(size, self._page - at)
                yield (CONSUMER, PRODUCER)[page], at, part
            else:
                at, part = offset - POSITION_PAGES * self._page, size
                yield "", at, part
            offset, size = offset + part, size - part

    def mapped_read(self, offset: int, size: int) -> bytes:
        """Return positions and data; the rest of a position's page reads as zeros."""
        return b"".join(
            [
                pack("<Q", self.position(whose)).ljust(at + part, b"\0")[at : at + part]
                if whose
                else self._load(at, part)
                for whose, at, part in self._regions(offset, size)
            ]
        )

    def mapped_write(self, offset: int, content: bytes) -> None:
        """Move a position or store data; what falls behind a position is not kept."""
        done = 0
        for whose, at, part in self._regions(offset, len(content)):
            piece = content[done : done + part]
            done += part
            if not whose:
                self._store(at, piece)
                continue
            old = pack("<Q", self.position(whose))
            new = (old[:at] + piece + old[at + part :])[:8]
            self.rec.priv[whose] = unpack("<Q", new)[0]


class Ringbuf(Ring):
    """BPF_MAP_TYPE_RINGBUF: programs produce, a process consumes."""

    name = "ringbuf"

    def _flags(self) -> int:
        overwrite = self.kernel.profile.checks.ringbuf_overwrite
        return super()._flags() | (BPF_F_RB_OVERWRITE if overwrite else 0)

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        if writable and (offset != 0 or length != self._page):
            raise KernelError(E.PERM, "only the consumer's position may be written")
        super().mmap(offset, length, writable)

    # --- helpers of programs ---------------------------------------------

    def reserve(self, size: int) -> int | None:
        """Make room for a record of ``size`` bytes (bpf_ringbuf_reserve).

        :return: its position, for :meth:`write`, :meth:`submit` and :meth:`discard`; None when
            the ring has no room.
        """
        taken = record_size(size)
        if size > MAX_RECORD or taken > self.size:
            return None
        pos = self.position(PRODUCER)
        behind = pos + taken
        oldest = self._skip_committed(pos)
        if behind - self.position(CONSUMER) >= self.size or behind - oldest >= self.size:
            return None
        page = META_PAGES + pos % self.size // self._page
        self._store(pos, pack("<II", size | BUSY_BIT, page))
        self.rec.priv[PRODUCER] = behind
        return pos

    def _skip_committed(self, end: int) -> int:
        """Move the pending position to the oldest record that is still being written.

        The consumer's position is in user space's hands; this one is not.
        """
        pos = self.position(PENDING)
        while pos < end:
            size, flags = self.header(pos)
            if flags & BUSY_BIT:
                break
            pos += record_size(size)
        self.rec.priv[PENDING] = pos
        return pos

    def write(self, pos: int, content: bytes, at: int = 0) -> None:
        """Store ``content`` at ``at`` of the reserved record at ``pos``."""
        self._store(pos + HEADER_SIZE + at, content)

    def submit(self, pos: int, flags: int = 0) -> bool:
        """Hand a reserved record to the consumer (bpf_ringbuf_submit).

        :return: whether the consumer is woken up.
        """
        return self._commit(pos, flags, 0)

    def discard(self, pos: int, flags: int = 0) -> bool:
        """Give a reserved record up: the consumer steps over it (bpf_ringbuf_discard)."""
        return self._commit(pos, flags, DISCARD_BIT)

    def _commit(self, pos: int, flags: int, mark: int) -> bool:
        size, _ = self.header(pos)
        self._store(pos, pack("<I", size | mark))
        if flags & BPF_RB_FORCE_WAKEUP:
            return True
        caught_up = self.position(CONSUMER) % self.size == pos % self.size
        return caught_up and not flags & BPF_RB_NO_WAKEUP

    def output(self, content: bytes, flags: int = 0) -> bool:
        """Copy ``content`` in as one record (bpf_ringbuf_output).

        :return: whether the consumer is woken up.
        :raises KernelError: EINVAL for unknown flags; EAGAIN without room.
        """
        if flags & ~(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP):
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        pos = self.reserve(len(content))
        if pos is None:
            raise KernelError(E.AGAIN, "the ring is full")
        self.write(pos, content)
        return self.submit(pos, flags)

    def query(self, what: int) -> int:
        """Return bytes of data, size of the ring or a position (bpf_ringbuf_query); else 0."""
        if what == BPF_RB_AVAIL_DATA:
            return self.available()
        if what == BPF_RB_RING_SIZE:
            return self.size
        if what == BPF_RB_CONS_POS:
            return self.position(CONSUMER)
        return self.position(PRODUCER) if what == BPF_RB_PROD_POS else 0

    def readable(self) -> bool:
        """Tell whether poll(2) says EPOLLIN."""
        return self.available() > 0


class UserRingbuf(Ring):
    """BPF_MAP_TYPE_USER_RINGBUF: a process produces, programs consume."""

    name = "user_ringbuf"

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        if writable and offset == 0:
            raise KernelError(E.PERM, "the consumer's position is the kernel's")
        super().mmap(offset, length, writable)

    def _peek(self) -> tuple[bytes | None, int] | None:
        """Return the sample (None: a discarded one) and the bytes to step on, None when none waits.

        :raises KernelError: EINVAL, E2BIG for what no honest producer writes.
        """
        consumer, producer = self.position(CONSUMER), self.position(PRODUCER)
        if producer % 8:
            raise KernelError(E.INVAL, "producer position")
        if consumer >= producer:
            return None
        size, flags = self.header(consumer)
        taken = record_size(size)
        if taken > producer - consumer:
            raise KernelError(E.INVAL, "a sample beyond the producer's position")
        if taken > self.size or size > DYNPTR_MAX_SIZE:
            raise KernelError(E.BIG, "sample")
        if flags & DISCARD_BIT:
            return None, taken
        if flags & BUSY_BIT:
            return None
        return self._load(consumer + HEADER_SIZE, size), taken

    def drain(self, callback: Callable[[bytes], int], flags: int = 0) -> int:
        """Pass samples to ``callback`` until it returns other than 0 (bpf_user_ringbuf_drain).

        :return: number of samples passed.
        :raises KernelError: EINVAL for unknown flags, or with E2BIG for a malformed ring.
        """
        if flags & ~(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP):
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        passed = 0
        for _ in range(MAX_USER_SAMPLES):
            found = self._peek()
            if found is None:
                break
            sample, taken = found
            stop = 0
            if sample is not None:
                stop = callback(sample)
                passed += 1
            self.rec.priv[CONSUMER] = self.position(CONSUMER) + taken
            if stop:
                break
        return passed

    def writable(self) -> bool:
        """Tell whether poll(2) says EPOLLOUT."""
        return self.available() < self.size


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [Ringbuf, UserRingbuf]
