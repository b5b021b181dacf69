"""Resizable hash maps (kernel/bpf/hashtab.c, BPF_MAP_TYPE_RHASH, 7.3): a table that grows.

Elements come from bpf_mem_alloc; the table of buckets is never charged, nor its growth. A row's
position is the hash of its key. The kernel walks by bucket, so its order changes as the table
grows; here it stays.
"""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType, round_up
from bpfctl.kernel.bpf.memalloc import MemCache, alloc_elem
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.records import Task
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    MapCreateAttr,
)
from bpfctl_maps.buckets import Buckets

CREATE_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
MAX_ENTRIES = 1 << 31
MAX_FIRST_SIZE = 0xFFFF
U32_BITS = 32


class Rhtab(MapType):
    """BPF_MAP_TYPE_RHASH. map_extra: for how many elements the table is made at first."""

    name = "rhash"
    family = "rhash"
    capability = "bpf"
    map_extra = "for how many elements the table is made at first"
    btf_allowed = True
    special_fields = frozenset({"spin_lock", "timer", "kptr"})
    example = Example(map_flags=BPF_F_NO_PREALLOC)

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if not attr.map_flags & BPF_F_NO_PREALLOC:
            raise KernelError(E.INVAL, "BPF_F_NO_PREALLOC missing")
        if not (attr.max_entries and attr.key_size and attr.value_size):
            raise KernelError(E.INVAL, "sizes")
        if attr.map_extra >> U32_BITS:
            raise KernelError(E.INVAL, "map_extra")
        if attr.map_extra > MAX_FIRST_SIZE or attr.max_entries > MAX_ENTRIES:
            raise KernelError(E.BIG, "map_extra, max_entries")
        if attr.map_extra > attr.max_entries:
            raise KernelError(E.INVAL, "map_extra is above max_entries")
        total = self.kernel.profile.limits.hash_total - self.sizeof("rhtab_elem")
        if attr.key_size + attr.value_size >= total:
            raise KernelError(E.BIG, "key_size, value_size")

    @property
    def elem_size(self) -> int:
        """Bytes of an element."""
        key, value = round_up(self.rec.key_size, 8), round_up(self.rec.value_size, 8)
        return self.sizeof("rhtab_elem") + key + value

    def alloc(self) -> None:
        self.struct_alloc("rhtab", self.sizeof("bpf_rhtab"))
        self._cache().prefill()

    def mem_usage(self) -> int:
        return self.sizeof("bpf_rhtab") + self.rec.nr_elems * self.elem_size

    # --- elements --------------------------------------------------------

    def _cache(self) -> MemCache:
        return MemCache(self, "elem", self.elem_size)

    @property
    def _cpu(self) -> int:
        return self.kernel.ctx.cpu

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def next_key(self, key: bytes | None) -> bytes:
        return Buckets(self.cells, self.rec).next_key(key)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        old = self.cells.get(key)
        if old is not None and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is None and flags == BPF_EXIST:
            raise KernelError(E.NOENT)
        if old is not None:
            self.cells.put(key, value, old[1])
            return
        if self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.BIG)
        alloc_elem([self._cache()], self._cpu)
        self.rec.nr_elems += 1
        self.cells.put(key, value, Buckets(self.cells, self.rec).head(jhash(key, 0) >> 4))

    def delete(self, key: bytes) -> None:
        if self.cells.get(key) is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        self._cache().free_rcu()

    def fill(self, entries: int) -> None:
        entries = min(entries, self.rec.max_entries - self.rec.nr_elems)
        if entries > 0:
            self._cache().alloc_many(self._cpu, entries)
            self.rec.nr_elems += entries


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [Rhtab]
