"""Hash maps (kernel/bpf/hashtab.c): preallocated or not, per-CPU, LRU, of maps.

A row's position is its bucket and, within the bucket, newest first: the kernel's walk order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import MAP, PERCPU
from bpfctl.kernel.bpf.map import (
    BPF_F_ACCESS_MASK,
    NUMA_NO_NODE,
    MapType,
    round_up,
    roundup_pow_of_two,
)
from bpfctl.kernel.bpf.memalloc import MemCache, alloc_elem
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.mm.gfp import GFP_USER
from bpfctl.kernel.mm.percpu import PCPU_MIN_UNIT_SIZE
from bpfctl.kernel.records import LruNode, Task
from bpfctl.kernel.storage import Cell
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_NO_COMMON_LRU,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_F_ZERO_SEED,
    BPF_NOEXIST,
    U32_MAX,
    MapCreateAttr,
)
from bpfctl_maps import examples, map_in_map
from bpfctl_maps.percpu import pack, unpack

if TYPE_CHECKING:
    from bpfctl_maps.bpf_lru_list import CommonLru, PercpuLru

CREATE_FLAGS = (
    BPF_F_NO_PREALLOC
    | BPF_F_NO_COMMON_LRU
    | BPF_F_NUMA_NODE
    | BPF_F_ACCESS_MASK
    | BPF_F_ZERO_SEED
)
MAX_BPF_STACK = 512
LOCK_COUNTERS = 8
POINTER = 8
MAX_SEQ = (1 << 35) - 1
BUCKET_SHIFT = 35


class Htab(MapType):
    """BPF_MAP_TYPE_HASH, and the base of the others."""

    name = "hash"
    family = "hashtab"
    counts_rows = True
    priv_kept = {"seed": int, "lru": dict, "mem_alloc": dict, "inner": dict}
    batch_is_walk = True
    btf_allowed = True
    special_fields = frozenset({"spin_lock", "timer", "kptr", "list", "rbtree"})
    resident = "cells"
    lru = False

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        flags = attr.map_flags
        if flags & BPF_F_ZERO_SEED and not capable(task, CAP_SYS_ADMIN):
            raise KernelError(E.PERM, "BPF_F_ZERO_SEED")
        self.check_access_flags(flags, CREATE_FLAGS)
        if not self.lru and flags & BPF_F_NO_COMMON_LRU:
            raise KernelError(E.INVAL, "NO_COMMON_LRU")
        if self.lru and flags & BPF_F_NO_PREALLOC:
            raise KernelError(E.NOTSUPP, "an LRU map is always preallocated")
        own_lists = self.percpu or flags & BPF_F_NO_COMMON_LRU
        if own_lists and self.numa_node(attr) != NUMA_NO_NODE:
            raise KernelError(E.INVAL, "numa node")
        if not (attr.max_entries and attr.key_size and attr.value_size):
            raise KernelError(E.INVAL, "sizes")
        self._check_sizes(attr)

    def _check_sizes(self, attr: MapCreateAttr) -> None:
        limits = self.kernel.profile.limits
        key, value = attr.key_size, attr.value_size
        head = self.sizeof("htab_elem")
        if limits.hash_key:
            too_big = key > limits.hash_key or value >= limits.hash_total - MAX_BPF_STACK - head
        else:
            too_big = key + value >= limits.hash_total - head
        if too_big or (self.percpu and round_up(value, 8) > PCPU_MIN_UNIT_SIZE):
            raise KernelError(E.BIG, "key_size, value_size")

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        rec = self.rec
        if rec.map_flags & BPF_F_NO_COMMON_LRU:
            rounded = round_up(rec.max_entries, self.cpus)
            rec.max_entries = rounded if rounded <= U32_MAX else rounded - self.cpus
        if self.nr_buckets * self.sizeof("bucket") > U32_MAX:
            raise KernelError(E.BIG, "max_entries")
        seed = self.kernel.config.hash_seed
        if seed and not rec.map_flags & BPF_F_ZERO_SEED:
            rec.priv["seed"] = seed

    @property
    def nr_buckets(self) -> int:
        """Hash buckets: max_entries rounded up to a power of two."""
        return roundup_pow_of_two(self.rec.max_entries)

    @property
    def slot_size(self) -> int:
        """Bytes of a value in memory (of one CPU's)."""
        return round_up(self.rec.value_size, 8)

    @property
    def elem_size(self) -> int:
        """Bytes of an element: struct, key, and the value or a pointer to per-CPU values."""
        value = POINTER if self.percpu else self.slot_size
        return self.sizeof("htab_elem") + round_up(self.rec.key_size, 8) + value

    @property
    def has_spares(self) -> bool:
        """Tell whether each CPU has a spare element to replace with."""
        return self.prealloc and not self.percpu and not self.lru

    def _percpu_values(self, entries: int) -> int:
        return entries * self.slot_size * self.cpus if self.percpu else 0

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        entries = self.rec.max_entries
        spares = 0 if self.percpu else self.elem_size * self.cpus
        values = self._percpu_values(entries)
        return self.nr_buckets * self.sizeof("bucket") + self.elem_size * entries + spares + values

    def alloc(self) -> None:
        self.struct_alloc("htab", self.sizeof("bpf_htab"))
        self.area_alloc("buckets", self.nr_buckets * self.sizeof("bucket"))
        gfp = GFP_USER | self.account()
        locks = self.kernel.profile.hashtab.map_locked
        self.map_mem().alloc_percpu("map_locked", 4, gfp, locks)
        if self.prealloc:
            self._prealloc(gfp)
        elif self.cached:
            for cache in self.caches():
                cache.prefill()

    def _prealloc(self, gfp: int) -> None:
        entries = self.rec.max_entries
        spares = self.cpus if self.has_spares else 0
        self.area_alloc("elems", self.elem_size * (entries + spares))
        if self.percpu:
            self.map_mem().alloc_percpu("values", self.slot_size, gfp, entries)
        if spares:
            self.map_mem().alloc_percpu("extra_elems", POINTER, gfp)

    def mem_usage(self) -> int:
        rec = self.rec
        usage = self.sizeof("bpf_htab") + self.nr_buckets * self.sizeof("bucket")
        if self.kernel.profile.hashtab.usage_counts_locks:
            usage += LOCK_COUNTERS * 4 * self.cpus
        if not self.prealloc:
            usage += (self.elem_size + POINTER) * rec.nr_elems
            if self.percpu:
                usage += 2 * POINTER * rec.nr_elems + self._percpu_values(rec.nr_elems)
            return usage
        usage += self.elem_size * rec.max_entries + self._percpu_values(rec.max_entries)
        if self.has_spares:
            usage += self.elem_size * self.cpus + POINTER * self.cpus
        return usage

    # --- elements that are not preallocated ------------------------------

    @property
    def cached(self) -> bool:
        """Tell whether elements come from bpf_mem_alloc."""
        return self.family in self.kernel.profile.mem_alloc.families

    def caches(self) -> list[MemCache]:
        """Return the caches of elements and of per-CPU values."""
        caches = [MemCache(self, "elem", self.elem_size)]
        if self.percpu:
            caches.append(MemCache(self, "value", self.slot_size, percpu=True))
        return caches

    @property
    def cpu(self) -> int:
        """CPU that the system call runs on."""
        return self.kernel.ctx.cpu

    def _alloc_elem(self, nr: int = 1) -> int:
        """Allocate ``nr`` elements and return the id of the objcg that pays, 0 for nobody."""
        if self.cached:
            if nr == 1:
                alloc_elem(self.caches(), self.cpu)
            else:
                for cache in self.caches():
                    cache.alloc_many(self.cpu, nr)
            return 0
        mem, gfp = self.map_mem(), self.update_gfp()
        payer = mem.kmalloc("elem", self.elem_size, gfp, nr)
        if self.percpu:
            try:
                mem.alloc_percpu("value", self.slot_size, gfp, nr)
            except BaseException:
                mem.free("elem", nr, payer)
                raise
        return payer

    def _free_elem(self, payer: int) -> None:
        if self.cached:
            for cache in self.caches():
                cache.free(self.cpu)
            return
        self.mem.free("elem", 1, payer)
        if self.percpu:
            self.mem.free("value", 1, payer)

    def fill(self, entries: int) -> None:
        entries = min(entries, self.rec.max_entries)
        if not self.prealloc and entries:
            self._alloc_elem(entries)
        self.rec.nr_elems += entries

    # --- lookup and walk -------------------------------------------------

    def bucket_of(self, key: bytes) -> int:
        """Return the bucket of ``key``."""
        mask = self.nr_buckets - 1
        return jhash(key, self.rec.priv.get("seed", 0)) & mask if mask else 0

    def _head_of(self, bucket: int) -> int:
        return bucket << BUCKET_SHIFT | MAX_SEQ - self.next_seq() % MAX_SEQ

    def stored(self, value: bytes) -> bytes:
        """Return what a row keeps of ``value``."""
        return pack(value, self.slot_size) if self.percpu else value

    def loaded(self, stored: bytes) -> bytes:
        """Return the value that a row keeps."""
        return unpack(stored, self.slot_size, self.cpus) if self.percpu else stored

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return self.loaded(cell[0])

    def lookup_each(self, keys: Sequence[bytes], from_prog: bool) -> list[bytes | None]:
        if from_prog or self.percpu:
            return super().lookup_each(keys, from_prog)
        return [cell and cell[0] for cell in map(self.cells.get, keys)]

    def next_key(self, key: bytes | None) -> bytes:
        at = self.cells.get(key) if key is not None else None
        following = self.cells.after(None if at is None else at[1])
        if following is None:
            raise KernelError(E.NOENT)
        return following[0]

    def batch_rows(
        self, cursor: bytes | None, count: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None, int]:
        """Read whole buckets; the cursor is the number of the next bucket (u32)."""
        start = 0 if cursor is None else int.from_bytes(cursor[:4], "little")
        rows: list[tuple[bytes, bytes]] = []
        complete, bucket = 0, start
        behind = (start << BUCKET_SHIFT) - 1
        for key, stored, pos, _ in self.cells.rows(behind):
            at = int(pos) >> BUCKET_SHIFT
            if at != bucket:
                complete, bucket = len(rows), at
            if len(rows) == count:
                err = E.NOSPC if not complete else 0
                return rows[:complete], bucket.to_bytes(4, "little"), err
            rows.append((key, self.loaded(stored)))
        return rows, self.nr_buckets.to_bytes(4, "little"), E.NOENT

    # --- update and delete -----------------------------------------------

    @staticmethod
    def check_presence(old: Cell | None, flags: int) -> None:
        """Apply BPF_NOEXIST and BPF_EXIST.

        :raises KernelError: EEXIST; ENOENT.
        """
        wanted = flags & ~BPF_F_LOCK
        if old is not None and wanted == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is None and wanted == BPF_EXIST:
            raise KernelError(E.NOENT)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags:
            if self.percpu and self.check_percpu_flags(flags):
                before = self.cells.get(key)
                old_value = self.loaded(before[0]) if before else bytes(self.slot_size * self.cpus)
                value = self.one_value(old_value, value, flags)
            elif not self.percpu:
                self.check_update_flags(flags)
            self.check_lock(flags)
        old = self.cells.get(key)
        if flags:
            self.check_presence(old, flags)
        if old is not None and (self.percpu or flags & BPF_F_LOCK):
            self.cells.put(key, self.stored(value), old[1], old[2])
            return
        if old is None and self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.BIG)
        payer = 0 if self.prealloc else self._alloc_elem()
        if old is None:
            bucket = self.bucket_of(key)
            self.rec.nr_elems += 1
        else:
            bucket = int(old[1]) >> BUCKET_SHIFT
        self.cells.put(key, self.stored(value), self._head_of(bucket), payer)
        if old is not None and not self.prealloc:
            self._free_elem(old[2])

    def delete(self, key: bytes) -> None:
        old = self.cells.get(key)
        if old is None:
            raise KernelError(E.NOENT)
        self._remove(key, old)

    def _remove(self, key: bytes, old: Cell) -> None:
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        if not self.prealloc:
            self._free_elem(old[2])

    def lookup_and_delete(self, key: bytes, flags: int) -> bytes:
        value = self.lookup(key)
        self.delete(key)
        return value


class PercpuHtab(Htab):
    """BPF_MAP_TYPE_PERCPU_HASH."""

    name = "percpu_hash"
    values = PERCPU
    cpu_flags = True
    special_fields = frozenset({"kptr"})


class LruHtab(Htab):
    """BPF_MAP_TYPE_LRU_HASH: evicts instead of refusing. A row's aux is its node."""

    name = "lru_hash"
    capability = "bpf"
    capability_in_alloc_check = True
    special_fields = frozenset({"timer", "kptr", "list", "rbtree"})
    lru = True
    _lru: CommonLru | PercpuLru | None = None

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.need_capability(task)
        super().alloc_check(attr, task)

    def lists(self) -> CommonLru | PercpuLru:
        """Return the LRU lists, as they were left."""
        from bpfctl_maps.bpf_lru_list import CommonLru, NodeLists, PercpuLru

        if self._lru is None:
            nodes = NodeLists(self.kernel.storage.registry(LruNode), self.rec.id)
            state: dict[str, Any] = self.rec.priv.setdefault("lru", {})
            entries, cpus = self.rec.max_entries, self.cpus
            if self.rec.map_flags & BPF_F_NO_COMMON_LRU:
                self._lru = PercpuLru(nodes, state, entries, cpus, self._evict)
            else:
                scaled = self.kernel.profile.hashtab.lru_target_free == "scaled"
                target = min(max(entries // cpus // 2, 1), 128) if scaled else 128
                self._lru = CommonLru(nodes, state, entries, cpus, target, self._evict)
        return self._lru

    def _evict(self, node: LruNode) -> None:
        self.cells.delete(node.key)
        self.rec.nr_elems -= 1

    def _pop(self, key: bytes) -> LruNode:
        node = self.lists().pop(self.cpu, key)
        if node is None:
            raise KernelError(E.NOMEM, "no LRU node")
        return node

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        # The node is taken before the key is looked up: even a refused update may evict.
        node = self._pop(key)
        old = self.cells.get(key)
        try:
            self.check_presence(old, flags)
        except KernelError:
            self.lists().push_free(node)
            raise
        bucket = int(old[1]) >> BUCKET_SHIFT if old is not None else self.bucket_of(key)
        self.cells.put(key, self.stored(value), self._head_of(bucket), node.node)
        if old is None:
            self.rec.nr_elems += 1
        else:
            node.ref = 1
            self.lists().push_free(self.lists().lists.node(old[2]))

    def _remove(self, key: bytes, old: Cell) -> None:
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        self.lists().push_free(self.lists().lists.node(old[2]))

    def prog_found(self, key: bytes) -> bool:
        cell = self.cells.get(key)
        if cell is None:
            return False
        self.lists().lists.node(cell[2]).ref = 1
        return True

    def prog_lookup(self, key: bytes) -> bytes | None:
        return self.lookup(key) if self.prog_found(key) else None

    def free(self) -> None:
        self.lists().lists.clear()


class LruPercpuHtab(LruHtab):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH."""

    name = "lru_percpu_hash"
    values = PERCPU
    cpu_flags = True
    special_fields = frozenset({"kptr"})

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        named = self.check_percpu_flags(flags)
        node = self._pop(key) if flags != BPF_EXIST else None
        old = self.cells.get(key)
        if named:
            before = self.loaded(old[0]) if old else bytes(self.slot_size * self.cpus)
            value = self.one_value(before, value, flags)
        try:
            self.check_presence(old, flags)
            if old is not None:
                self.lists().lists.node(old[2]).ref = 1
                self.cells.put(key, self.stored(value), old[1], old[2])
            elif node is not None:
                self.cells.put(
                    key, self.stored(value), self._head_of(self.bucket_of(key)), node.node
                )
                self.rec.nr_elems += 1
                node = None
        finally:
            if node is not None:
                self.lists().push_free(node)


class HtabOfMaps(Htab):
    """BPF_MAP_TYPE_HASH_OF_MAPS: descriptors go in, rows keep ids."""

    name = "hash_of_maps"
    btf_allowed = False
    special_fields = frozenset()
    values = MAP
    resident = ""
    example = Example(
        value_size=4, elements=examples.inner_maps, prepare=examples.inner_template
    )

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.value_size != 4:
            raise KernelError(E.INVAL, "value_size")
        super().alloc_check(attr, task)

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        map_in_map.set_template(self, attr, task)
        super().attr_check(attr, task)

    @property
    def has_spares(self) -> bool:
        return super().has_spares and self.kernel.profile.hashtab.hash_of_maps_spares

    def mem_usage(self) -> int:
        spare_pointers = POINTER * self.cpus if self.prealloc and not self.has_spares else 0
        return super().mem_usage() + spare_pointers

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        map_id = map_in_map.take(self, int.from_bytes(value, "little"))
        old = self.cells.get(key)
        try:
            super().update(key, map_id.to_bytes(4, "little"), flags)
        except BaseException:
            self.kernel.maps.put(map_id, user=False)
            raise
        if old is not None:
            self._drop(old)

    def _drop(self, old: Cell) -> None:
        self.kernel.maps.put(int.from_bytes(old[0], "little"), user=False)

    def _remove(self, key: bytes, old: Cell) -> None:
        super()._remove(key, old)
        self._drop(old)

    def free(self) -> None:
        for stored in [stored for _, stored, _, _ in self.cells.rows()]:
            self.kernel.maps.put(int.from_bytes(stored, "little"), user=False)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [Htab, PercpuHtab, LruHtab, LruPercpuHtab, HtabOfMaps]
