"""Ring buffers from the consumer's side: what libbpf's ring_buffer__new() and friends do.

A ring is read through its mappings, as a process would: the consumer's position in a page that it
may write, the producer's and the data in pages that it may only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import pack, unpack

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.light import dataclass
from bpfctl.uapi import MAP_TYPE_NUMBER

BUSY_BIT = 1 << 31
DISCARD_BIT = 1 << 30
HEADER_SIZE = 8
PAGE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its bytes, and whether the producer gave it up."""

    data: bytes
    discarded: bool


class Ring:
    """One ring buffer map, mapped into the process.

    :raises KernelError: EINVAL for another type of map, and what mmap(2) says.
    """

    def __init__(self, bpf: Bpf, map_fd: int) -> None:
        info = bpf.map_info(map_fd)
        if info.type != MAP_TYPE_NUMBER["ringbuf"]:
            raise KernelError(E.INVAL, "not a ring buffer")
        self._bpf = bpf
        self._kernel = bpf.kernel
        self.size = info.max_entries
        """Bytes of data."""
        page = self._kernel.page_size()
        self._consumer = self._kernel.mmap(bpf.pid, map_fd, 0, page, True)
        self._producer = self._kernel.mmap(
            bpf.pid, map_fd, page, page + 2 * self.size, False
        )
        self._page = page

    def close(self) -> None:
        """Unmap."""
        for mapping in (self._consumer, self._producer):
            self._kernel.munmap(self._bpf.pid, mapping)

    def positions(self) -> tuple[int, int]:
        """Return the positions of consumer and producer, bytes since the beginning."""
        pid = self._bpf.pid
        raw = (
            self._kernel.mem_read(pid, self._consumer, 0, 8),
            self._kernel.mem_read(pid, self._producer, 0, 8),
        )
        return unpack("<Q", raw[0])[0], unpack("<Q", raw[1])[0]

    def available(self) -> int:
        """Bytes that wait, headers included."""
        consumer, producer = self.positions()
        return producer - consumer

    def records(self) -> Iterator[Record]:
        """Yield the records that are complete, each consumed as it is taken."""
        consumer, producer = self.positions()
        while consumer < producer:
            at = self._page + consumer % self.size
            word = unpack("<I", self._read(at, 4))[0]
            if word & BUSY_BIT:
                return
            length = word & ~DISCARD_BIT
            data = self._read(at + HEADER_SIZE, length)
            consumer += -(-(length + HEADER_SIZE) // 8) * 8
            self._kernel.mem_write(self._bpf.pid, self._consumer, 0, pack("<Q", consumer))
            yield Record(data, bool(word & DISCARD_BIT))
            producer = max(producer, self.positions()[1])

    def _read(self, at: int, size: int) -> bytes:
        found: bytes = self._kernel.mem_read(self._bpf.pid, self._producer, at, size)
        return found


class RingBuffer:
    """Several rings and what to do with their records (struct ring_buffer).

    A callback gets a record's bytes; it may return a negative number to stop.
    """

    def __init__(self, bpf: Bpf) -> None:
        self._bpf = bpf
        self._rings: list[tuple[Ring, Callable[[bytes], int | None]]] = []

    def add(self, map_fd: int, callback: Callable[[bytes], int | None]) -> Ring:
        """Map another ring (ring_buffer__add).

        :raises KernelError: as :class:`Ring`.
        """
        ring = Ring(self._bpf, map_fd)
        self._rings.append((ring, callback))
        return ring

    def consume(self) -> int:
        """Pass on what waits; return the number of records, or a callback's negative number."""
        passed = 0
        for ring, callback in self._rings:
            for record in ring.records():
                if record.discarded:
                    continue
                result = callback(record.data)
                if result is not None and result < 0:
                    return result
                passed += 1
        return passed

    def poll(self, timeout_ns: int = 0) -> int:
        """Wait for records and pass them on (ring_buffer__poll).

        Nothing else runs while a simulated process waits but what falls due in that time.
        """
        passed = self.consume()
        if not passed and timeout_ns:
            self._bpf.kernel.sleep(self._bpf.pid, timeout_ns)
            passed = self.consume()
        return passed

    def close(self) -> None:
        """Unmap all rings (ring_buffer__free)."""
        for ring, _ in self._rings:
            ring.close()
        self._rings.clear()
