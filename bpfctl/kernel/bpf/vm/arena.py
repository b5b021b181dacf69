"""The memory of programs: one buffer, addressed by 32-bit offsets, and a table of what is mapped.

A pointer in a register is an offset into the arena; NULL is 0 and the first page is never mapped,
so no address of the host exists for a program. The region table says what is mapped and how: the
interpreter asks it for every access, probe_read() and the bodies of helpers too.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from collections.abc import Iterator

from bpfctl.errors import E, KernelError

PAGE = 4096
MIN_ADDR = 1 << 16
"""Nothing is mapped below, as with vm.mmap_min_addr: small numbers are never good pointers."""
GUARD = 16
"""Unmapped bytes behind every region, so that an access that runs over its end is noticed."""
CAPACITIES = (1 << 30, 1 << 28, 1 << 26)
"""Bytes of address space to ask the host for, the first that it gives. Only what is touched
takes memory."""

READ, WRITE = 1, 2
RW = READ | WRITE


class Fault(Exception):
    """A program or helper touched memory that it must not: ``size`` bytes at ``addr``.

    For a program that the verifier accepted this is a bug of the verifier.
    """

    def __init__(self, addr: int, size: int, write: bool) -> None:
        access = "write" if write else "read"
        super().__init__(f"invalid {access} of {size} bytes at {addr:#x}")
        self.addr = addr
        self.size = size
        self.write = write


class Region:
    """A mapped range. ``kind`` says what it is: ctx, stack, packet, map, mem, cell, mirror.

    ``stride`` and ``valid``, in bytes, are given for tables of values: of each ``stride`` only the
    first ``valid`` may be touched, by one access at a time.
    """

    __slots__ = ("end", "kind", "owner", "perm", "start", "stride", "valid")

    def __init__(
        self, start: int, size: int, kind: str, perm: int, owner: int, stride: int, valid: int
    ) -> None:
        self.start = start
        self.end = start + size
        self.kind = kind
        self.perm = perm
        self.owner = owner
        self.stride = stride
        self.valid = valid

    def __repr__(self) -> str:
        return f"<{self.kind} {self.start:#x}-{self.end:#x} perm {self.perm}>"

    @property
    def size(self) -> int:
        """Bytes mapped."""
        return self.end - self.start

    def allows(self, addr: int, size: int, perm: int) -> bool:
        """Tell whether ``size`` bytes at ``addr`` may be accessed."""
        if addr < self.start or addr + size > self.end or perm & ~self.perm:
            return False
        return not self.stride or (addr - self.start) % self.stride + size <= self.valid


def _reserve() -> mmap.mmap | bytearray:
    for size in CAPACITIES:
        try:
            if hasattr(mmap, "MAP_PRIVATE"):
                flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
                return mmap.mmap(-1, size, flags=flags)
            return mmap.mmap(-1, CAPACITIES[-1])
        except (OSError, ValueError, MemoryError):
            continue
    return bytearray(CAPACITIES[-1] >> 2)


class Arena:
    """The buffer and its regions. Engines use ``buf`` and the typed views directly.

    A view over a host's memory may be given instead (``buf``), as WebAssembly engines need.
    """

    def __init__(self, buf: memoryview | None = None) -> None:
        self._owner = None if buf is not None else _reserve()
        self.buf: memoryview = buf if buf is not None else memoryview(self._owner)  # type: ignore[arg-type]
        self.capacity = len(self.buf)
        self.m2 = self.buf.cast("H")
        self.m4 = self.buf.cast("I")
        self.m8 = self.buf.cast("Q")
        self._brk = MIN_ADDR
        self._starts: list[int] = []
        self._regions: dict[int, Region] = {}
        self._free: dict[int, list[int]] = {}
        self._last = Region(0, 0, "none", 0, 0, 0, 0)

    # --- regions -----------------------------------------------------------

    def alloc(
        self,
        size: int,
        kind: str,
        perm: int = RW,
        owner: int = 0,
        stride: int = 0,
        valid: int = 0,
    ) -> Region:
        """Map ``size`` bytes of zeros, aligned to 8 (to a page if that large).

        :raises KernelError: ENOMEM.
        """
        taken = self._size_of(size)
        pool = self._free.get(taken)
        if pool:
            start = pool.pop()
            self.buf[start : start + taken] = bytes(taken)
        else:
            align = PAGE if size >= PAGE else 64
            start = -(-self._brk // align) * align
            if start + taken > self.capacity:
                raise KernelError(E.NOMEM, "arena", hint="the memory of programs is full")
            self._brk = start + taken
        region = Region(start, size, kind, perm, owner, stride, valid)
        self._regions[start] = region
        insort(self._starts, start)
        return region

    @staticmethod
    def _size_of(size: int) -> int:
        return -(-(size + GUARD) // 64) * 64

    def free(self, region: Region) -> None:
        """Unmap a region; its memory is used again."""
        del self._regions[region.start]
        del self._starts[bisect_right(self._starts, region.start) - 1]
        self._free.setdefault(self._size_of(region.size), []).append(region.start)
        if self._last is region:
            self._last = Region(0, 0, "none", 0, 0, 0, 0)

    def find(self, addr: int) -> Region | None:
        """Return the region that ``addr`` is in."""
        last = self._last
        if last.start <= addr < last.end:
            return last
        at = bisect_right(self._starts, addr) - 1
        if at < 0:
            return None
        region = self._regions[self._starts[at]]
        if addr >= region.end:
            return None
        self._last = region
        return region

    def regions(self) -> Iterator[Region]:
        """Yield what is mapped, in order of addresses."""
        for start in self._starts:
            yield self._regions[start]

    def mapped(self, addr: int, size: int, perm: int = READ) -> bool:
        """Tell whether ``size`` bytes at ``addr`` may be accessed."""
        if size <= 0:
            return size == 0
        region = self.find(addr)
        return region is not None and region.allows(addr, size, perm)

    def check(self, addr: int, size: int, perm: int) -> None:
        """Test an access.

        :raises Fault: it is not allowed.
        """
        last = self._last
        if last.start <= addr and addr + size <= last.end:
            if not last.stride and not perm & ~last.perm:
                return
            if last.allows(addr, size, perm):
                return
        elif self.mapped(addr, size, perm):
            return
        raise Fault(addr, size, bool(perm & WRITE))

    # --- access by helpers: checked -----------------------------------------

    def load(self, addr: int, size: int) -> int:
        """Return a little-endian number of 1, 2, 4 or 8 bytes.

        :raises Fault: the memory is not mapped; so with the others.
        """
        self.check(addr, size, READ)
        return int.from_bytes(self.buf[addr : addr + size], "little")

    def store(self, addr: int, size: int, value: int) -> None:
        """Store the low ``size`` bytes of ``value``."""
        self.check(addr, size, WRITE)
        mask = (1 << 8 * size) - 1
        self.buf[addr : addr + size] = (value & mask).to_bytes(size, "little")

    def read(self, addr: int, size: int) -> bytes:
        """Return ``size`` bytes."""
        if size:
            self.check(addr, size, READ)
        return bytes(self.buf[addr : addr + size])

    def write(self, addr: int, content: bytes | bytearray | memoryview) -> None:
        """Store bytes."""
        size = len(content)
        if size:
            self.check(addr, size, WRITE)
            self.buf[addr : addr + size] = content

    def poke(self, addr: int, content: bytes | bytearray | memoryview) -> None:
        """Store bytes as the kernel does: also where a program may not."""
        if content:
            self.check(addr, len(content), 0)
            self.buf[addr : addr + len(content)] = content

    def poke_int(self, addr: int, size: int, value: int) -> None:
        """Store a number as the kernel does; see :meth:`poke`."""
        self.poke(addr, (value & ((1 << 8 * size) - 1)).to_bytes(size, "little"))

    def c_string(self, addr: int, limit: int) -> bytes | None:
        """Return the bytes up to a NUL, at most ``limit``; None when memory ends before both."""
        region = self.find(addr)
        if region is None or not region.perm & READ:
            return None
        end = min(addr + limit, region.end)
        text = bytes(self.buf[addr:end])
        at = text.find(b"\0")
        if at >= 0:
            return text[:at]
        return text if end == addr + limit else None
