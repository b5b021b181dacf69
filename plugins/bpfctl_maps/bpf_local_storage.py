"""Local storages (kernel/bpf/bpf_local_storage.c): a value beside each socket, inode, task, cgroup.

A key is a descriptor of the owner; a row's key is the owner's object id and its aux the objcg that
pays for the element. All storages of one kind that an owner has hang on one ``bpf_local_storage``,
allocated by the first map that needs it: ``owner.priv["storage"][kind]`` says for how many
elements it is there, which map allocated it (0: the owner's own memory now) and who pays.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Ref, Row, Sizes
from bpfctl.kernel.bpf.map import MapType, roundup_pow_of_two
from bpfctl.kernel.bpf.memalloc import MemCache
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_USER
from bpfctl.kernel.objects import is_dead
from bpfctl.kernel.records import MapRecord, SimObject, Task
from bpfctl.kernel.storage import Cell
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_CLONE,
    BPF_F_LOCK,
    BPF_F_NO_PREALLOC,
    BPF_NOEXIST,
    MapCreateAttr,
)
from bpfctl_maps import examples

CREATE_FLAGS = BPF_F_NO_PREALLOC | BPF_F_CLONE
MAX_VALUE = 65535 - 128
ELEM, STORAGE = "elem", "storage"


class LocalStorage(MapType):
    """Base of the four types; ``kind`` names what owners they have."""

    family = "bpf_local_storage"
    counts_rows = True
    priv_kept = {"storages": int, "mem_alloc": dict}
    capability = "bpf"
    capability_in_alloc_check = True
    btf_allowed = True
    special_fields = frozenset({"spin_lock", "kptr"})
    resident = "cells"
    kind: ClassVar[str]

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (8,), (rec.value_size,)

    @classmethod
    def refers(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        for key, _, _, _ in rows:
            yield "object", int.from_bytes(key[:8], "little")

    @staticmethod
    def example_of(kind: str) -> Example:
        """Return an example with simulated objects of ``kind`` as owners."""
        return Example(
            max_entries=0,
            map_flags=BPF_F_NO_PREALLOC,
            elements=examples.owned_by(kind, 8),
            prepare=examples.int_and_chars(8),
        )

    @abstractmethod
    def owner(self, fd: int, create: bool) -> SimObject | None:
        """Return the owner that a descriptor stands for, None if it never had a storage.

        :raises KernelError: EBADF and the like.
        """

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        flags = attr.map_flags
        sizes = not attr.max_entries and attr.key_size == 4 and attr.value_size
        types = attr.btf_key_type_id and attr.btf_value_type_id
        if flags & ~CREATE_FLAGS or not flags & BPF_F_NO_PREALLOC or not sizes or not types:
            raise KernelError(E.INVAL, "map_flags, sizes or BTF types")
        self.need_capability(task)
        if attr.value_size > MAX_VALUE:
            raise KernelError(E.BIG, "value_size")

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if not key_type.is_plain_int(32):
            raise KernelError(E.INVAL, "key type")

    @property
    def _buckets_size(self) -> int:
        nr = max(2, roundup_pow_of_two(self.cpus))
        return nr * self.sizeof("bpf_local_storage_map_bucket")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self._buckets_size + self.sizeof("bpf_local_storage_map")

    def alloc(self) -> None:
        self.struct_alloc("smap", self.sizeof("bpf_local_storage_map"))
        self.map_mem().kmalloc("buckets", self._buckets_size, GFP_USER | self.account())
        if self.cached:
            for label in (ELEM, STORAGE):
                self._cache(label).prefill()

    def mem_usage(self) -> int:
        return self.sizeof("bpf_local_storage_map") + self._buckets_size

    # --- memory of elements ----------------------------------------------

    @property
    def cached(self) -> bool:
        """Tell whether elements come from bpf_mem_alloc."""
        return self.name in self.kernel.profile.mem_alloc.families

    @property
    def elem_size(self) -> int:
        """Bytes of an element."""
        return self.kernel.profile.local_storage.elem_head + self.rec.value_size

    @property
    def storage_size(self) -> int:
        """Bytes of what an owner's elements hang on."""
        return self.sizeof("bpf_local_storage")

    def _size(self, label: str) -> int:
        return self.elem_size if label == ELEM else self.storage_size

    def _cache(self, label: str) -> MemCache:
        return MemCache(self, label, self._size(label))

    @property
    def _cpu(self) -> int:
        return self.kernel.ctx.cpu

    def _obtain(self, label: str) -> int:
        """Allocate an element or a storage; return the objcg that pays, 0 for a cache's own."""
        if not self.cached:
            return self.map_mem().kmalloc(label, self._size(label), self.update_gfp())
        cache = self._cache(label)
        taken = cache.take(self._cpu)
        cache.refill_if_low(self._cpu)
        if not taken:
            raise KernelError(E.NOMEM, f"{label} cache of CPU {self._cpu} is empty")
        return 0

    def _release(self, label: str, payer: int, reuse: bool = False) -> None:
        """Free an element or a storage; only ``reuse`` gives it back to the cache it is from."""
        if not self.cached:
            self.mem.free(label, 1, payer)
        elif reuse:
            self._cache(label).free(self._cpu)
        else:
            self.mem.free(label)

    def charge_owner(self, owner: SimObject, nbytes: int) -> None:
        """Charge memory to the owner itself.

        :raises KernelError: ENOMEM.
        """

    def uncharge_owner(self, owner: SimObject, nbytes: int) -> None:
        """Undo :meth:`charge_owner`."""

    # --- elements --------------------------------------------------------

    def _living_owner(self, key: bytes, create: bool = False) -> SimObject | None:
        owner = self.owner(int.from_bytes(key, "little"), create)
        if owner is not None and is_dead(owner):
            raise KernelError(E.NOENT, f"object {owner.id} is gone")
        return owner

    @staticmethod
    def _row_key(owner: SimObject) -> bytes:
        return owner.id.to_bytes(8, "little")

    def _row(self, key: bytes) -> tuple[SimObject, Cell]:
        """Return an owner and its element.

        :raises KernelError: ENOENT.
        """
        owner = self._living_owner(key)
        cell = self.cells.get(self._row_key(owner)) if owner is not None else None
        if owner is None or cell is None:
            raise KernelError(E.NOENT)
        return owner, cell

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self._row(key)[1][0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        owner = self._living_owner(key, create=True)
        assert owner is not None
        self.check_update_flags(flags)
        row_key = self._row_key(owner)
        old = self.cells.get(row_key)
        if old is not None and flags & ~BPF_F_LOCK == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is None and flags & ~BPF_F_LOCK == BPF_EXIST:
            raise KernelError(E.NOENT)
        if old is None:
            payer = self._first_elem(owner)
        elif flags & BPF_F_LOCK:
            payer = old[2]
        else:
            payer = self._replacement(owner, old)
        self.cells.put(row_key, value, owner.id, payer)

    def _new_elem(self, owner: SimObject, charge: bool) -> int:
        if charge:
            self.charge_owner(owner, self.elem_size)
        try:
            return self._obtain(ELEM)
        except BaseException:
            if charge:
                self.uncharge_owner(owner, self.elem_size)
            raise

    def _replacement(self, owner: SimObject, old: Cell) -> int:
        """Allocate an element and free the one that it replaces."""
        charge = self.kernel.profile.local_storage.replace_charges
        payer = self._new_elem(owner, charge)
        if charge:
            self.uncharge_owner(owner, self.elem_size)
        self._release(ELEM, old[2])
        return payer

    def _first_elem(self, owner: SimObject) -> int:
        """Allocate an owner's element in this map, and its storage if it has none yet."""
        payer = self._new_elem(owner, charge=True)
        try:
            self._hang_on(owner)
        except BaseException:
            self._release(ELEM, payer)
            self.uncharge_owner(owner, self.elem_size)
            raise
        self.kernel.objects.enter(owner, self.rec.id)
        self.rec.nr_elems += 1
        return payer

    def _hang_on(self, owner: SimObject) -> None:
        """Count an element at the owner's storage, allocated for the first one."""
        storages = owner.priv.setdefault("storage", {})
        if self.kind in storages:
            storages[self.kind]["elems"] += 1
            return
        self.charge_owner(owner, self.storage_size)
        try:
            payer = self._obtain(STORAGE)
        except BaseException:
            self.uncharge_owner(owner, self.storage_size)
            raise
        self._lent += 1
        storages[self.kind] = {"elems": 1, "map": self.rec.id, "payer": payer}

    def delete(self, key: bytes) -> None:
        owner, cell = self._row(key)
        self._unlink(owner, cell)

    def _unlink(self, owner: SimObject, cell: Cell, reuse: bool = False) -> None:
        """Free an element, and the owner's storage if it was the last one."""
        self.cells.delete(self._row_key(owner))
        self._release(ELEM, cell[2], reuse)
        self.uncharge_owner(owner, self.elem_size)
        self.kernel.objects.leave(owner, self.rec.id)
        self.rec.nr_elems -= 1
        storage = owner.priv["storage"][self.kind]
        storage["elems"] -= 1
        if not storage["elems"]:
            del owner.priv["storage"][self.kind]
            self.uncharge_owner(owner, self.storage_size)
            self._free_storage(owner, storage, reuse)

    def _free_storage(self, owner: SimObject, storage: dict[str, int], reuse: bool) -> None:
        payer = storage["payer"]
        if storage["map"]:
            allocator = self.kernel.maps.get(storage["map"])
            assert isinstance(allocator, LocalStorage)
            allocator._lent -= 1
            allocator._release(STORAGE, payer, reuse)
        else:
            mem = Mem(self.kernel.mm, "object", owner.id, payer)
            mem.free(self._own_label, 1, payer)

    # --- programs --------------------------------------------------------

    def prog_owner(self, owner_id: int) -> bytes:
        """Return the row of an owner's element."""
        return self._row_key(self.kernel.objects.get(owner_id))

    def prog_create(self, owner_id: int, value: bytes) -> None:
        """Give an owner an element (bpf_*_storage_get with BPF_LOCAL_STORAGE_GET_F_CREATE).

        :raises KernelError: ENOENT (a dead owner), ENOMEM.
        """
        owner = self.kernel.objects.get(owner_id)
        if is_dead(owner):
            raise KernelError(E.NOENT, f"object {owner.id} is gone")
        payer = self._first_elem(owner)
        self.cells.put(self._row_key(owner), value, owner.id, payer)

    def prog_remove(self, owner_id: int) -> None:
        """Take an owner's element away.

        :raises KernelError: ENOENT.
        """
        owner = self.kernel.objects.get(owner_id)
        cell = self.cells.get(self._row_key(owner))
        if cell is None:
            raise KernelError(E.NOENT)
        self._unlink(owner, cell)

    def object_gone(self, found: SimObject) -> None:
        cell = self.cells.get(self._row_key(found))
        if cell is not None:
            self._unlink(found, cell, reuse=True)

    # --- the end of a map ------------------------------------------------

    def free(self) -> None:
        objects = self.kernel.objects
        for owner_id in [int.from_bytes(key, "little") for key, _, _, _ in self.cells.rows()]:
            self.object_gone(objects.get(owner_id))
        if self._lent:
            self._hand_over_storages()

    @property
    def _lent(self) -> int:
        """Number of owners whose storage this map allocated."""
        return int(self.rec.priv.get("storages", 0))

    @_lent.setter
    def _lent(self, count: int) -> None:
        self.rec.priv["storages"] = count

    @property
    def _own_label(self) -> str:
        return f"{self.kind}_storage"

    def _hand_over_storages(self) -> None:
        """Leave storages to the owners that have elements in other maps."""
        for other in self.kernel.maps.of_type(self.name):
            for key in [key for key, _, _, _ in other.cells.rows()]:
                owner = self.kernel.objects.get(int.from_bytes(key, "little"))
                storage = owner.priv["storage"][self.kind]
                if storage["map"] == self.rec.id:
                    storage["payer"] = self._give(owner, storage["payer"])
                    storage["map"] = 0

    def _give(self, owner: SimObject, payer: int) -> int:
        """Make an owner the owner of its storage's memory; return who goes on paying."""
        allocs = self.kernel.mm.allocs
        mine = [alloc for alloc in self.mem.allocations() if alloc.label == STORAGE]
        alloc = next(alloc for alloc in mine if self.cached or alloc.objcg == payer)
        given = replace(alloc, owner_kind="object", owner_id=owner.id, label=self._own_label, nr=1)
        alloc.nr -= 1
        if not alloc.nr:
            allocs.remove((alloc.owner_kind, alloc.owner_id, alloc.label, alloc.objcg))
        allocs.add(given)
        return given.objcg

    def fill(self, entries: int) -> None:
        if not entries:
            return
        for label in (ELEM, STORAGE):
            if self.cached:
                self._cache(label).alloc_many(self._cpu, entries)
            else:
                self.map_mem().kmalloc(label, self._size(label), self.update_gfp(), entries)
        self.rec.nr_elems += entries
