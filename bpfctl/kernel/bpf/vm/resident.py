"""Maps resident in the arena: values as memory of programs, behind the Cells of their type.

The type goes on working on its cells: inserts, deletes and evictions, their charges and their
errors are its own. Only where a value is kept changes. What programs changed is written back to
the storage by :meth:`flush`, when the run ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.vm.arena import READ, RW, WRITE, Arena, Region
from bpfctl.kernel.storage import Cell, Cells, Pos
from bpfctl.uapi import BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapType

CHUNK = 4096
_ZEROS = bytes(CHUNK)
MAX_TABLE = 1 << 27
"""Bytes up to which an array lies in the arena as one table; a larger one element by element."""


def prog_perm(map_flags: int) -> int:
    """Return how programs may access the values of a map."""
    perm = RW
    if map_flags & BPF_F_RDONLY_PROG:
        perm &= ~WRITE
    if map_flags & BPF_F_WRONLY_PROG:
        perm &= ~READ
    return perm


class Layout:
    """How one value lies in memory: a slot of ``slot`` bytes for each of ``copies`` CPUs."""

    def __init__(self, map_: MapType) -> None:
        self.value_size = map_.rec.value_size
        self.slot = -(-self.value_size // 8) * 8
        self.copies = map_.cpus if map_.percpu else 1
        self.percpu = map_.percpu
        self.size = self.slot * self.copies
        self.perm = prog_perm(map_.rec.map_flags)
        self.owner = map_.rec.id

    def expand(self, stored: bytes) -> bytes:
        """Return the memory image of what a row keeps."""
        if self.percpu and len(stored) == self.slot:
            return stored * self.copies
        return stored.ljust(self.size, b"\0")

    def shrink(self, image: bytes) -> bytes:
        """Return what a row keeps of a memory image."""
        if not self.percpu:
            return image[: self.value_size]
        first = image[: self.slot]
        return first if first * self.copies == image else image


class ResidentTable(Cells):
    """An array as one table: element ``i`` is at ``region.start + i * layout.size``."""

    def __init__(self, base: Cells, arena: Arena, map_: MapType) -> None:
        self.base = base
        self.layout = layout = Layout(map_)
        self._arena = arena
        self._entries = map_.rec.max_entries
        nbytes = self._entries * layout.size
        self.region: Region = arena.alloc(
            nbytes, "map", layout.perm, layout.owner, layout.slot, layout.value_size
        )
        self._written: dict[int, bytes] = {}
        for _, stored, pos, _ in base.rows():
            at = self.region.start + int(pos) * layout.size
            arena.buf[at : at + layout.size] = layout.expand(stored)
        start = self.region.start
        for at in range(0, nbytes, CHUNK):
            chunk = bytes(arena.buf[start + at : start + min(at + CHUNK, nbytes)])
            if chunk != _ZEROS[: len(chunk)]:
                self._written[at] = chunk

    def address(self, key: bytes) -> int:
        """Return where the value of ``key`` (CPU 0's) is, 0 when there is none."""
        index = int.from_bytes(key[:4], "little")
        return self.region.start + index * self.layout.size if index < self._entries else 0

    def get(self, key: bytes) -> Cell | None:
        addr = self.address(key)
        if not addr:
            return None
        layout = self.layout
        image = bytes(self._arena.buf[addr : addr + layout.size])
        return layout.shrink(image), int.from_bytes(key[:4], "little"), 0

    def put(self, key: bytes, value: bytes, pos: Pos, aux: int = 0) -> None:
        addr = self.address(key)
        self._arena.buf[addr : addr + self.layout.size] = self.layout.expand(value)
        self.base.put(key, value, pos, aux)

    def delete(self, key: bytes) -> None:
        self.flush()
        self.base.delete(key)

    def after(self, pos: Pos | None) -> tuple[bytes, Pos] | None:
        self.flush()
        return self.base.after(pos)

    def rows(self, pos: Pos | None = None) -> Iterator[tuple[bytes, bytes, Pos, int]]:
        self.flush()
        return self.base.rows(pos)

    def clear(self) -> None:
        self.base.clear()

    def flush(self) -> None:
        """Write back the elements that changed."""
        start, nbytes = self.region.start, self.region.size
        buf, written = self._arena.buf, self._written
        changed: set[int] = set()
        for at in range(0, nbytes, CHUNK):
            now = bytes(buf[start + at : start + min(at + CHUNK, nbytes)])
            was = written.get(at, _ZEROS[: len(now)])
            if now == was:
                continue
            written[at] = now
            changed |= self._elements(at, was, now)
        layout = self.layout
        for index in sorted(changed):
            addr = start + index * layout.size
            stored = layout.shrink(bytes(buf[addr : addr + layout.size]))
            self.base.put(index.to_bytes(4, "little"), stored, index)

    def _elements(self, at: int, was: bytes, now: bytes) -> set[int]:
        """Return the elements that differ between two states of the chunk at ``at``."""
        size = self.layout.size
        found = set()
        first, last = at // size, (at + len(now) - 1) // size
        for index in range(first, last + 1):
            low = max(index * size - at, 0)
            high = min((index + 1) * size - at, len(now))
            if was[low:high] != now[low:high]:
                found.add(index)
        return found

    def settle(self) -> None:
        """Nothing of an array is ever replaced."""

    def release(self) -> None:
        """Leave the arena."""
        self._arena.free(self.region)


class ResidentCells(Cells):
    """Elements as slots, moved in when a program looks them up.

    A replaced or deleted element stays readable until :meth:`settle`: programs may still hold its
    address, as under RCU.
    """

    SLAB = 64

    def __init__(self, base: Cells, arena: Arena, map_: MapType, always: bool = False) -> None:
        self.base = base
        self.layout = Layout(map_)
        self._arena = arena
        self._entries = map_.rec.max_entries if always else 0
        self._key_size = map_.rec.key_size
        self.small = map_.rec.key_size in (4, 8)
        """Keys of 4 and 8 bytes are numbers in ``table``."""
        self.table: dict[bytes | int, int] = {}
        self._written: dict[bytes | int, bytes] = {}
        self._spare: list[int] = []
        self._retired: list[int] = []
        self._slabs: list[Region] = []

    def _slot(self) -> int:
        layout = self.layout
        if not self._spare:
            slab = self._arena.alloc(
                self.SLAB * layout.size,
                "map",
                layout.perm,
                layout.owner,
                layout.slot,
                layout.value_size,
            )
            self._slabs.append(slab)
            self._spare = list(range(slab.start, slab.end, layout.size))[::-1]
        return self._spare.pop()

    def name(self, key: bytes) -> bytes | int:
        """Return a key as ``table`` has it."""
        return int.from_bytes(key, "little") if self.small else key

    def key(self, name: bytes | int) -> bytes:
        """Return the key that :meth:`name` made a name of."""
        return name if isinstance(name, bytes) else name.to_bytes(self._key_size, "little")

    def _base_get(self, key: bytes) -> Cell | None:
        cell = self.base.get(key)
        if cell is None and self._entries:
            index = int.from_bytes(key[:4], "little")
            if index < self._entries:
                return self.layout.shrink(bytes(self.layout.size)), index, 0
        return cell

    def address(self, key: bytes) -> int:
        """Return where the value of ``key`` (CPU 0's) is, 0 when there is none."""
        name = self.name(key)
        addr = self.table.get(name)
        if addr is not None:
            return addr
        cell = self._base_get(key)
        if cell is None:
            return 0
        addr = self._slot()
        image = self.layout.expand(cell[0])
        self._arena.buf[addr : addr + self.layout.size] = image
        self.table[name] = addr
        self._written[name] = image
        return addr

    def get(self, key: bytes) -> Cell | None:
        cell = self._base_get(key)
        addr = self.table.get(self.name(key))
        if cell is None or addr is None:
            return cell
        image = bytes(self._arena.buf[addr : addr + self.layout.size])
        return self.layout.shrink(image), cell[1], cell[2]

    def put(self, key: bytes, value: bytes, pos: Pos, aux: int = 0) -> None:
        name = self.name(key)
        addr = self.table.get(name)
        if addr is not None:
            old = self.base.get(key)
            if old is None or old[1] == pos:
                image = self.layout.expand(value)
                self._arena.buf[addr : addr + self.layout.size] = image
                self._written[name] = image
            else:
                self._retire(name)
        self.base.put(key, value, pos, aux)

    def _retire(self, name: bytes | int) -> None:
        addr = self.table.pop(name, None)
        if addr is not None:
            del self._written[name]
            self._retired.append(addr)

    def delete(self, key: bytes) -> None:
        self._retire(self.name(key))
        self.base.delete(key)

    def after(self, pos: Pos | None) -> tuple[bytes, Pos] | None:
        return self.base.after(pos)

    def rows(self, pos: Pos | None = None) -> Iterator[tuple[bytes, bytes, Pos, int]]:
        self.flush()
        return self.base.rows(pos)

    def clear(self) -> None:
        for name in list(self.table):
            self._retire(name)
        self.base.clear()

    def flush(self) -> None:
        """Write back the elements that changed."""
        layout, buf, written = self.layout, self._arena.buf, self._written
        for name, addr in self.table.items():
            image = bytes(buf[addr : addr + layout.size])
            if image != written[name]:
                key = self.key(name)
                cell = self._base_get(key)
                if cell is not None:
                    self.base.put(key, layout.shrink(image), cell[1], cell[2])
                written[name] = image

    def settle(self) -> None:
        """Use the slots of replaced elements again: no program holds an address any more."""
        self._spare += self._retired
        self._retired = []

    def release(self) -> None:
        """Leave the arena."""
        for slab in self._slabs:
            self._arena.free(slab)


def make_resident(map_: MapType, arena: Arena) -> ResidentTable | ResidentCells | None:
    """Move the values of a map into the arena, once; None for a type that does not offer it."""
    cells = map_.cells
    if isinstance(cells, ResidentTable | ResidentCells):
        return cells
    if not map_.resident:
        return None
    resident: ResidentTable | ResidentCells
    if map_.resident == "table" and map_.rec.max_entries * Layout(map_).size <= MAX_TABLE:
        resident = ResidentTable(cells, arena, map_)
    else:
        resident = ResidentCells(cells, arena, map_, map_.resident == "table")
    map_.use_cells(resident)
    return resident
