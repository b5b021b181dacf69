"""CPU maps (kernel/bpf/cpumap.c): CPUs to hand packets to, each with a queue and a thread.

A row's value is the queue size and the program's id, 4 bytes each; its aux is the objcg that
pays for the entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.facts import Ref, Row, Sizes
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.mm.gfp import GFP_KERNEL
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import BPF_F_NUMA_NODE, BPF_NOEXIST, MapCreateAttr
from bpfctl_maps.arraymap import index_of
from bpfctl_maps.indexed import IndexedMap
from bpfctl_maps.xdp_prog import XdpValue, XdpValues, programs_of

BPF_XDP_CPUMAP = 35
MAX_QUEUE = 16384
POINTER = 8
ENTRY, BULK_QUEUE, RING = "entry", "bulk_queue", "ptr_ring"


class CpuMap(IndexedMap):
    """BPF_MAP_TYPE_CPUMAP."""

    name = "cpumap"
    family = "cpumap"
    counts_rows = True
    priv_kept = {}
    capability = "bpf"

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (rec.key_size,), (8,)

    @classmethod
    def holds(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        return programs_of(rows)

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        sizes = attr.max_entries and attr.key_size == 4 and attr.value_size in (4, 8)
        if not sizes or attr.map_flags & ~BPF_F_NUMA_NODE:
            raise KernelError(E.INVAL, "sizes or map_flags")
        if attr.max_entries > self.kernel.profile.limits.nr_cpus:
            raise KernelError(E.BIG, "max_entries above NR_CPUS")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.rec.max_entries * POINTER

    def alloc(self) -> None:
        self.struct_alloc("cmap", self.sizeof("bpf_cpu_map"))
        self.area_alloc("slots", self.rec.max_entries * POINTER)

    def mem_usage(self) -> int:
        return self.sizeof("bpf_cpu_map") + self.rec.max_entries * POINTER

    def free(self) -> None:
        for _, stored, _, _ in self.cells.rows():
            self.xdp_values.drop(stored)

    # --- entries ---------------------------------------------------------

    @property
    def xdp_values(self) -> XdpValues:
        """Values of this map: queue size and program."""
        return XdpValues(self, BPF_XDP_CPUMAP)

    def _alloc_entries(self, nr: int = 1) -> int:
        """Allocate entries: struct, per-CPU bulk queue, ring. The ring's slots cost nobody."""
        mem, gfp = self.map_mem(), GFP_KERNEL | self.account()
        payer = mem.kmalloc(ENTRY, self.sizeof("bpf_cpu_map_entry"), gfp, nr)
        try:
            mem.alloc_percpu(BULK_QUEUE, self.sizeof("xdp_bulk_queue"), gfp, nr)
        except BaseException:
            mem.free(ENTRY, nr, payer)
            raise
        try:
            mem.kmalloc(RING, self.sizeof("ptr_ring"), gfp, nr)
        except BaseException:
            mem.free(BULK_QUEUE, nr, payer)
            mem.free(ENTRY, nr, payer)
            raise
        return payer

    def _free_entry(self, payer: int) -> None:
        for label in (ENTRY, BULK_QUEUE, RING):
            self.mem.free(label, 1, payer)

    def _remove(self, key: bytes) -> None:
        old = self.cells.get(key)
        if old is not None:
            self.cells.delete(key)
            self.rec.nr_elems -= 1
            self._free_entry(old[2])
            self.xdp_values.drop(old[0])

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self.row(key)[0][: self.rec.value_size]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        wanted = XdpValue.parse(value)
        if flags > 2:
            raise KernelError(E.INVAL)
        cpu = index_of(key)
        if cpu >= self.rec.max_entries:
            raise KernelError(E.BIG)
        if flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if wanted.word > MAX_QUEUE:
            raise KernelError(E.OVERFLOW, f"queue of {wanted.word} packets")
        if cpu >= self.cpus:
            raise KernelError(E.NODEV, f"CPU {cpu}")
        if not wanted.word:
            self._remove(key)
            return
        payer = self._alloc_entries()
        try:
            # Whatever is wrong with the program, the entry could not be made: ENOMEM.
            stored = self.xdp_values.take(wanted, E.NOMEM)
        except BaseException:
            self._free_entry(payer)
            raise
        self._remove(key)
        self.cells.put(key, stored, cpu, payer)
        self.rec.nr_elems += 1

    def delete(self, key: bytes) -> None:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.INVAL)
        self._remove(key)

    def fill(self, entries: int) -> None:
        entries = min(entries, min(self.rec.max_entries, self.cpus) - self.rec.nr_elems)
        self._alloc_entries(entries)
        self.rec.nr_elems += entries


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [CpuMap]
