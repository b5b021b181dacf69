"""Cgroup storages (kernel/bpf/local_storage.c): a value for each cgroup a program is attached to.

A row is an attachment: its key is the cgroup's inode number (the id of its record) and, in maps
with keys of 16 bytes, the attach type. Rows lie newest first, as the kernel's list. A row's aux is
the objcg that pays for the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import PERCPU, Ref, Row, Sizes
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType, round_up
from bpfctl.kernel.mm.gfp import GFP_USER
from bpfctl.kernel.records import MapRecord, SimObject, Task
from bpfctl.kernel.storage import Cell
from bpfctl.uapi import (
    BPF_ANY,
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_NUMA_NODE,
    MapCreateAttr,
)
from bpfctl_maps.percpu import pack, unpack

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
SHARED_KEY, ISOLATED_KEY = 8, 16
STORAGE, VALUE = "storage", "value"
MAX_SEQ = (1 << 62) - 1


class CgroupStorage(MapType):
    """BPF_MAP_TYPE_CGROUP_STORAGE."""

    name = "cgroup_storage"
    family = "local_storage"
    # Elements come with programs that are attached to a cgroup.
    example = Example(key_size=16, max_entries=0, writable=False)
    inner_allowed = False
    one_per_prog = True
    btf_allowed = True
    special_fields = frozenset({"spin_lock"})

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return None, super().row_sizes(rec, cpus)[1]

    @classmethod
    def refers(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        for key, _, _, _ in rows:
            yield "cgroup", int.from_bytes(key[:8], "little")

    # --- creation --------------------------------------------------------

    @property
    def max_value(self) -> int:
        """Largest value in bytes."""
        return self.kernel.profile.limits.cgroup_storage_value

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.key_size not in (SHARED_KEY, ISOLATED_KEY) or not attr.value_size:
            raise KernelError(E.INVAL, "sizes")
        if attr.value_size > self.max_value:
            raise KernelError(E.BIG, "value_size")
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if attr.max_entries:
            raise KernelError(E.INVAL, "max_entries")

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if self.rec.key_size == SHARED_KEY:
            fits = key_type.is_plain_int(64)
        else:
            members = key_type.members() if key_type.kind_name == "STRUCT" else []
            fits = [at for at, _ in members] == [0, 64] and all(
                member.is_plain_int(bits)
                for (_, member), bits in zip(members, (64, 32), strict=True)
            )
        if not fits:
            raise KernelError(E.INVAL, "key type")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("bpf_cgroup_storage_map")

    def alloc(self) -> None:
        self.struct_alloc("map", self.sizeof("bpf_cgroup_storage_map"))

    def mem_usage(self) -> int:
        return self.sizeof("bpf_cgroup_storage_map")

    # --- attachments -----------------------------------------------------

    @property
    def buffer_size(self) -> int:
        """Bytes of a value in memory."""
        return self.sizeof("bpf_storage_buffer") + self.rec.value_size

    @property
    def _locked_pages(self) -> int:
        """Pages that one attachment is held against RLIMIT_MEMLOCK (rlimit era)."""
        size = self.sizeof("bpf_cgroup_storage") + self.buffer_size
        return self.page_align(size) // self.kernel.config.page_size

    def _alloc_value(self, nr: int, gfp: int) -> int:
        return self.map_mem().kmalloc(VALUE, self.buffer_size, gfp, nr)

    def _free_value(self, payer: int) -> None:
        self.mem.free(VALUE, 1, payer)

    def zeros(self) -> bytes:
        """Return what a row keeps of a new value."""
        return bytes(self.rec.value_size)

    def attached(self, path: str, attach_type: int) -> None:
        """Make the storage of a program that is being attached to the cgroup at ``path``.

        One that is there already is used again (bpf_cgroup_storages_alloc). It stays when the
        program is detached, and goes with the cgroup or the map.

        :raises KernelError: ENOENT for the cgroup; EPERM past RLIMIT_MEMLOCK; ENOMEM.
        """
        cgroup = self.kernel.objects.find_or_create("cgroup", self.kernel.memcg.lookup(path).path)
        key = self._key_of(cgroup.priv["memcg"], attach_type)
        if self.cells.get(key) is not None:
            return
        payer = self._alloc_attachments(1)
        self.kernel.objects.enter(cgroup, self.rec.id)
        self.rec.nr_elems += 1
        self.cells.put(key, self.zeros(), MAX_SEQ - self.next_seq(), payer)

    def _key_of(self, cgroup_id: int, attach_type: int) -> bytes:
        key = cgroup_id.to_bytes(8, "little")
        if self.rec.key_size == ISOLATED_KEY:
            key += attach_type.to_bytes(8, "little")
        return key

    def _alloc_attachments(self, nr: int) -> int:
        """Charge and allocate ``nr`` attachments; return who pays for the values."""
        kernel, rec = self.kernel, self.rec
        pages = self._locked_pages * nr if kernel.profile.precharges(self.family) else 0
        if pages:
            kernel.memlock.charge(kernel.ctx.in_task, rec.uid, pages)
        mem, gfp = self.map_mem(), GFP_USER | self.account()
        try:
            payer = mem.kmalloc(STORAGE, self.sizeof("bpf_cgroup_storage"), gfp, nr)
            try:
                payer = self._alloc_value(nr, gfp)
            except BaseException:
                mem.free(STORAGE, nr, payer)
                raise
        except BaseException:
            if pages:
                kernel.memlock.uncharge(rec.uid, pages)
            raise
        rec.memlock_pages += pages
        return payer

    def _remove(self, key: bytes, payer: int) -> None:
        kernel, rec = self.kernel, self.rec
        self.cells.delete(key)
        self.mem.free(STORAGE)
        self._free_value(payer)
        rec.nr_elems -= 1
        if kernel.profile.precharges(self.family):
            kernel.memlock.uncharge(rec.uid, self._locked_pages)
            rec.memlock_pages -= self._locked_pages
        kernel.objects.leave(self._cgroup_of(key), rec.id)

    def _cgroup_of(self, key: bytes) -> SimObject:
        memcg = self.kernel.memcg.get(int.from_bytes(key[:8], "little"))
        return self.kernel.objects.find_or_create("cgroup", memcg.path)

    def object_gone(self, found: SimObject) -> None:
        cgroup_id = found.priv["memcg"].to_bytes(8, "little")
        rows = [(key, payer) for key, _, _, payer in self.cells.rows() if key[:8] == cgroup_id]
        for key, payer in rows:
            self._remove(key, payer)

    def free(self) -> None:
        for key in [key for key, _, _, _ in self.cells.rows()]:
            self.kernel.objects.leave(self._cgroup_of(key), self.rec.id)

    def fill(self, entries: int) -> None:
        self._alloc_attachments(entries)
        self.rec.nr_elems += entries

    # --- elements --------------------------------------------------------

    def _row(self, key: bytes) -> tuple[bytes, Cell]:
        """Return the row's key, without the padding of ``key``, and the row.

        :raises KernelError: ENOENT.
        """
        row_key = key[:12].ljust(len(key), b"\0")
        cell = self.cells.get(row_key)
        if cell is None:
            raise KernelError(E.NOENT)
        return row_key, cell

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self._row(key)[1][0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags & ~(BPF_F_LOCK | BPF_EXIST):
            raise KernelError(E.INVAL)
        row_key, (_, pos, payer) = self._row(key)
        if not flags & BPF_F_LOCK:
            old, payer = payer, self._alloc_value(1, self.update_gfp())
            self._free_value(old)
        self.cells.put(row_key, value, pos, payer)

    def delete(self, key: bytes) -> None:
        raise KernelError(E.INVAL)

    def next_key(self, key: bytes | None) -> bytes:
        following = self.cells.after(None if key is None else self._row(key)[1][1])
        if following is None:
            raise KernelError(E.NOENT)
        return following[0]


class PercpuCgroupStorage(CgroupStorage):
    """BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE."""

    name = "percpu_cgroup_storage"
    values = PERCPU
    special_fields = frozenset()

    @property
    def max_value(self) -> int:
        return self.kernel.profile.limits.cgroup_storage_percpu_value

    @property
    def slot_size(self) -> int:
        """Bytes of one CPU's value."""
        return round_up(self.rec.value_size, 8)

    @property
    def _locked_pages(self) -> int:
        return self.page_align(self.slot_size * self.cpus) // self.kernel.config.page_size

    def _alloc_value(self, nr: int, gfp: int) -> int:
        self.map_mem().alloc_percpu(VALUE, self.rec.value_size, gfp, nr)
        return 0

    def _free_value(self, payer: int) -> None:
        # A per-CPU value is never replaced, so whoever pays for one pays for all of its cgroup.
        self.mem.free(VALUE)

    def zeros(self) -> bytes:
        return bytes(self.slot_size)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return unpack(super().lookup(key), self.slot_size, self.cpus)

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags not in (BPF_ANY, BPF_EXIST):
            raise KernelError(E.INVAL)
        row_key, (_, pos, payer) = self._row(key)
        self.cells.put(row_key, pack(value, self.slot_size), pos, payer)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [CgroupStorage, PercpuCgroupStorage]
