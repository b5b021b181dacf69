"""Device maps (kernel/bpf/devmap.c): net devices to redirect packets to, by index or by key.

A row's value is the interface index and the program's id, 4 bytes each; its aux is the objcg
that pays for the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.facts import Ref, Row, Sizes
from bpfctl.kernel.bpf.map import MapType, roundup_pow_of_two
from bpfctl.kernel.records import MapRecord, SimObject, Task
from bpfctl.kernel.storage import Pos
from bpfctl.uapi import (
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_RDONLY_PROG,
    BPF_F_WRONLY,
    BPF_NOEXIST,
    U32_MAX,
    MapCreateAttr,
)
from bpfctl_maps.arraymap import index_of
from bpfctl_maps.buckets import Buckets
from bpfctl_maps.indexed import IndexedMap
from bpfctl_maps.xdp_prog import XdpValue, XdpValues, programs_of

BPF_XDP_DEVMAP = 33
CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
ENTRY = "netdev"
POINTER = 8


class Dtab(IndexedMap):
    """BPF_MAP_TYPE_DEVMAP, and the base of the other.

    ``priv["items"]`` counts entries as the kernel does for the memory it shows: an update of an
    empty slot adds one even if it stores nothing, one that empties a slot takes none away.
    """

    name = "devmap"
    family = "devmap"
    capability = "net_admin"
    charge_errno = E.INVAL

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (rec.key_size,), (8,)

    @classmethod
    def holds(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        return programs_of(rows)

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        if self.kernel.profile.checks.capability == "common":
            self._check(attr)

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if self.kernel.profile.checks.capability == "type":
            self._check(attr)
        # Looking a device up must not give programs a way to change it.
        self.rec.map_flags |= BPF_F_RDONLY_PROG

    def _check(self, attr: MapCreateAttr) -> None:
        sizes = attr.max_entries and attr.key_size == 4 and attr.value_size in (4, 8)
        if not sizes or attr.map_flags & ~CREATE_FLAGS:
            raise KernelError(E.INVAL, "sizes or map_flags")

    @property
    def nr_slots(self) -> int:
        """Pointers in the table."""
        return self.rec.max_entries

    @property
    def entry_size(self) -> int:
        """Bytes of an entry."""
        return self.sizeof("bpf_dtab_netdev")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.nr_slots * POINTER

    def alloc(self) -> None:
        self.struct_alloc("dtab", self.sizeof("bpf_dtab"))
        self.area_alloc("slots", self.nr_slots * POINTER)

    def mem_usage(self) -> int:
        entries = self.items * self.entry_size
        return self.sizeof("bpf_dtab") + self.nr_slots * POINTER + entries

    @property
    def items(self) -> int:
        """Entries, as the kernel counts them."""
        return int(self.rec.priv.get("items", 0))

    @items.setter
    def items(self, count: int) -> None:
        self.rec.priv["items"] = count

    def free(self) -> None:
        for _, stored, _, _ in self.cells.rows():
            self.xdp_values.drop(stored)

    # --- entries ---------------------------------------------------------

    @property
    def xdp_values(self) -> XdpValues:
        """Values of this map: interface index and program."""
        return XdpValues(self, BPF_XDP_DEVMAP)

    def _new_entry(self, value: XdpValue) -> tuple[bytes, int]:
        """Allocate an entry; return what a row keeps of it, and who pays.

        :raises KernelError: ENOMEM; EINVAL for an unknown device or another kind of program.
        """
        mem = self.map_mem()
        payer = mem.kmalloc(ENTRY, self.entry_size, self.update_gfp())
        try:
            if self.kernel.objects.netdev(value.word) is None:
                raise KernelError(E.INVAL, f"ifindex {value.word}")
            return self.xdp_values.take(value, E.INVAL), payer
        except BaseException:
            mem.free(ENTRY, 1, payer)
            raise

    def _free_entry(self, stored: bytes, payer: int) -> None:
        self.mem.free(ENTRY, 1, payer)
        self.xdp_values.drop(stored)

    def _remove(self, key: bytes) -> None:
        """Empty a used slot."""
        stored, _, payer = self.row(key)
        self.cells.delete(key)
        self.items -= 1
        self._free_entry(stored, payer)

    def object_gone(self, found: SimObject) -> None:
        gone = found.priv["ifindex"].to_bytes(4, "little")
        for key in [key for key, stored, _, _ in self.cells.rows() if stored[:4] == gone]:
            self._remove(key)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self.row(key)[0][: self.rec.value_size]

    def _put(self, key: bytes, value: XdpValue, pos: Pos) -> None:
        stored, payer = self._new_entry(value)
        old = self.cells.get(key)
        self.cells.put(key, stored, pos, payer)
        if old is None:
            self.items += 1
        else:
            self._free_entry(old[0], old[2])

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > 2:
            raise KernelError(E.INVAL)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        if flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        wanted = XdpValue.parse(value)
        if wanted.word:
            self._put(key, wanted, index)
        elif wanted.prog_fd > 0:
            raise KernelError(E.INVAL, "a program without a device")
        else:
            self._clear(key)

    def _clear(self, key: bytes) -> None:
        old = self.cells.get(key)
        if old is None:
            self.items += 1
            return
        self.cells.delete(key)
        self._free_entry(old[0], old[2])

    def delete(self, key: bytes) -> None:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.INVAL)
        if self.cells.get(key) is not None:
            self._remove(key)

    def fill(self, entries: int) -> None:
        entries = min(entries, self.rec.max_entries - self.items)
        self.map_mem().kmalloc(ENTRY, self.entry_size, self.update_gfp(), entries)
        self.items += entries


class DtabHash(Dtab):
    """BPF_MAP_TYPE_DEVMAP_HASH: any u32 is a key, and its own hash."""

    name = "devmap_hash"

    def _check(self, attr: MapCreateAttr) -> None:
        super()._check(attr)
        if roundup_pow_of_two(attr.max_entries) > U32_MAX:
            raise KernelError(E.INVAL, "max_entries")

    @property
    def nr_slots(self) -> int:
        return roundup_pow_of_two(self.rec.max_entries)

    @property
    def buckets(self) -> Buckets:
        """The order of rows."""
        return Buckets(self.cells, self.rec)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        wanted = XdpValue.parse(value)
        if flags > 2 or not wanted.word:
            raise KernelError(E.INVAL)
        present = self.cells.get(key) is not None
        if present and flags & BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if not present and self.items >= self.rec.max_entries:
            self._refuse_full(wanted)
        self._put(key, wanted, self.buckets.head(index_of(key) & self.nr_slots - 1))

    def _refuse_full(self, value: XdpValue) -> None:
        """Fail as a full map does: the entry is made, and freed again, before the count is read."""
        stored, payer = self._new_entry(value)
        self._free_entry(stored, payer)
        raise KernelError(E.BIG)

    def delete(self, key: bytes) -> None:
        if self.cells.get(key) is None:
            raise KernelError(E.NOENT)
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        return self.buckets.next_key(key)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [Dtab, DtabHash]

