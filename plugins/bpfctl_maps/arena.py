"""Arenas (kernel/bpf/arena.c): sparse memory that programs and a process share by address.

A row is a page that exists, under its number, without the zeros at its end. Pages come when a
process touches them or a program asks, and stay until a program or the last reference lets go.
"""

from __future__ import annotations

from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import NONE
from bpfctl.kernel.bpf.map import MapType, round_up
from bpfctl.kernel.mm.gfp import GFP_KERNEL
from bpfctl.kernel.records import Task
from bpfctl.uapi import (
    BPF_F_MMAPABLE,
    BPF_F_NO_USER_CONV,
    BPF_F_SEGV_ON_FAULT,
    MapCreateAttr,
)

CREATE_FLAGS = BPF_F_SEGV_ON_FAULT | BPF_F_MMAPABLE | BPF_F_NO_USER_CONV
SZ_4G = 1 << 32
U64_MASK = (1 << 64) - 1
PAGES = "pages"


class Arena(MapType):
    """BPF_MAP_TYPE_ARENA. max_entries: pages; map_extra: the user address, 0 for any."""

    name = "arena"
    family = "arena"
    priv_needed = ("start", "end")
    capability = "bpf"
    mmapable = True
    faults = True
    btf_allowed = True
    values = NONE
    map_extra = "address of the mapping in user space"
    example = Example(key_size=0, value_size=0, map_flags=BPF_F_MMAPABLE, writable=False)

    # --- creation --------------------------------------------------------

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        flags = attr.map_flags
        if not flags & BPF_F_MMAPABLE or flags & ~CREATE_FLAGS:
            raise KernelError(E.INVAL, f"map_flags {flags:#x}")
        if attr.key_size or attr.value_size or not attr.max_entries:
            raise KernelError(E.INVAL, "sizes")
        if attr.map_extra % self._page:
            raise KernelError(E.INVAL, "map_extra")
        length = attr.max_entries * self._page
        if length > SZ_4G:
            raise KernelError(E.BIG, "max_entries")
        last = attr.map_extra + length - 1 & U64_MASK
        if attr.map_extra // SZ_4G != last // SZ_4G:
            # Programs hold the lower 32 bits of addresses only.
            raise KernelError(E.RANGE, "map_extra")

    @property
    def _page(self) -> int:
        return self.kernel.config.page_size

    def alloc(self) -> None:
        facts = self.kernel.profile.arena
        self.struct_alloc("arena", self.sizeof("bpf_arena"))
        if facts.range_node:
            self.mem.kmalloc("range_node", facts.range_node, GFP_KERNEL | self.account("area"))
        if facts.scratch_page:
            self.mem.alloc_pages("scratch", 1, GFP_KERNEL | self.account("area"))
        start = self.rec.map_extra
        end = start + self.rec.max_entries * self._page if start else 0
        self.rec.priv.update(start=start, end=end)

    def mem_usage(self) -> int:
        counted = self.kernel.profile.arena.usage_counts_pages
        return self.rec.nr_elems * self._page if counted else 0

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        """Take any types; those of a real map have sizes, which this one has not."""

    def direct_value_size(self) -> int:
        return self.rec.max_entries * self.kernel.config.page_size

    # --- system calls ----------------------------------------------------

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        raise KernelError(E.INVAL)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        raise KernelError(E.OPNOTSUPP)

    def delete(self, key: bytes) -> None:
        raise KernelError(E.OPNOTSUPP)

    def next_key(self, key: bytes | None) -> bytes:
        raise KernelError(E.OPNOTSUPP)

    # --- mapping ---------------------------------------------------------

    def get_unmapped_area(self, addr: int, free: int, length: int, offset: int) -> int:
        """Keep all mappings at one address and within 4 GiB (arena_get_unmapped_area).

        :raises KernelError: EINVAL; E2BIG.
        """
        if offset:
            raise KernelError(E.INVAL, "offset")
        if length > SZ_4G:
            raise KernelError(E.BIG, "length")
        start, end = self.rec.priv["start"], self.rec.priv["end"]
        if start:
            if length != end - start or addr != start:
                raise KernelError(E.INVAL, f"the arena is {end - start} bytes at {start:#x}")
            return addr
        wanted = addr or free
        if wanted // SZ_4G == (wanted + length - 1) // SZ_4G:
            return wanted
        return round_up(wanted, SZ_4G)

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        """Refuse nothing: :meth:`get_unmapped_area` did."""

    def mapped(self, start: int, length: int) -> None:
        self.rec.priv.update(start=start, end=start + length)

    def _touch(self, number: int) -> bytes:
        """Return page ``number``, new if need be (arena_vm_fault).

        :raises KernelError: EFAULT with BPF_F_SEGV_ON_FAULT, or when there is no memory.
        """
        cell = self.cells.get(self._row(number))
        if cell is None:
            if self.rec.map_flags & BPF_F_SEGV_ON_FAULT:
                raise KernelError(E.FAULT, f"page {number}: BPF_F_SEGV_ON_FAULT")
            try:
                self._add_pages(number, 1)
            except KernelError as exc:
                raise KernelError(E.FAULT, f"page {number}: no memory", exc.hint) from exc
            return bytes(self._page)
        return cell[0].ljust(self._page, b"\0")

    def mapped_read(self, offset: int, size: int) -> bytes:
        return b"".join(
            [
                self._touch(number)[at : at + part]
                for number, at, part in self._parts(offset, size)
            ]
        )

    def mapped_write(self, offset: int, content: bytes) -> None:
        done = 0
        for number, at, part in self._parts(offset, len(content)):
            old = self._touch(number)
            new = old[:at] + content[done : done + part] + old[at + part :]
            self.cells.put(self._row(number), new.rstrip(b"\0"), number)
            done += part

    def _parts(self, offset: int, size: int) -> list[tuple[int, int, int]]:
        """Split bytes at page borders: page number, offset in it, size."""
        found = []
        while size > 0:
            number, at = divmod(offset, self._page)
            part = min(size, self._page - at)
            found.append((number, at, part))
            offset, size = offset + part, size - part
        return found

    # --- pages -----------------------------------------------------------

    @staticmethod
    def _row(number: int) -> bytes:
        return number.to_bytes(4, "little")

    def _charge(self, count: int) -> None:
        """Allocate pages at the creator's expense, whoever touches them (bpf_map_alloc_pages)."""
        self.map_mem().alloc_pages(PAGES, count, GFP_KERNEL | self.account("area"))
        self.rec.nr_elems += count

    def _add_pages(self, first: int, count: int) -> None:
        self._charge(count)
        for number in range(first, first + count):
            self.cells.put(self._row(number), b"", number)

    def alloc_pages(self, count: int, first: int | None = None) -> int | None:
        """Make ``count`` zeroed pages, at page ``first`` or where room is (bpf_arena_alloc_pages).

        :return: number of the first page, None when they cannot be had.
        """
        most = self.rec.max_entries
        if not 0 < count <= most:
            return None
        if first is None:
            first = self._free_run(count)
        if first is None or first > most - count:
            return None
        if any(self.cells.get(self._row(first + step)) for step in range(count)):
            return None
        try:
            self._add_pages(first, count)
        except KernelError:
            return None
        return first

    def _free_run(self, count: int) -> int | None:
        start = 0
        for _, _, pos, _ in self.cells.rows():
            if int(pos) - start >= count:
                break
            start = int(pos) + 1
        return start if start + count <= self.rec.max_entries else None

    def free_pages(self, first: int, count: int) -> None:
        """Give pages back; those that do not exist are stepped over (bpf_arena_free_pages)."""
        rows = [self._row(first + step) for step in range(count)]
        present = [row for row in rows if self.cells.get(row) is not None]
        for row in present:
            self.cells.delete(row)
        self.mem.free(PAGES, len(present))
        self.rec.nr_elems -= len(present)

    def address_of(self, number: int) -> int:
        """Return the user address of a page, once the arena has one."""
        return int(self.rec.priv["start"]) + number * self._page

    def fill(self, entries: int) -> None:
        """Charge ``entries`` pages that are touched."""
        count = min(entries, self.rec.max_entries - self.rec.nr_elems)
        if count > 0:
            self._charge(count)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [Arena]
