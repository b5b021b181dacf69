"""Allocation is the charge: the allocators as the owner of an object calls them.

An owner is a map, a program or an open file. It names what it allocates (``label``); under a
label all objects have one size, so any number of them is one :class:`Alloc` record.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.errors import E, KernelError, Refusal
from bpfctl.kernel.mm.charge import OomKill
from bpfctl.kernel.mm.footprint import Footprint
from bpfctl.kernel.mm.gfp import (
    GFP_ACCOUNT,
    GFP_KERNEL,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_USER,
    Reclaim,
    reclaim,
)
from bpfctl.kernel.mm.memcg import MemcgTree
from bpfctl.kernel.mm.page import PAGE_ALLOC_COSTLY_ORDER, page_footprint, pagetable_footprint
from bpfctl.kernel.mm.percpu import PCPU_MIN_UNIT_SIZE, percpu_footprint
from bpfctl.kernel.mm.slab import KMALLOC_MAX_SIZE, cache_footprint, kmalloc_footprint
from bpfctl.kernel.mm.vmalloc import vmalloc_footprint
from bpfctl.kernel.records import Alloc, Counter, Objcg
from bpfctl.kernel.storage import Storage

MEMORY_IN_USE = "memory_in_use"
ChargeObserver = Callable[[str, int, str, int, int], None]


class Allocators:
    """What all owners share: machine memory, the cgroup tree, live allocations.

    ``percpu_owners``: per-CPU allocations are charged for their owner pointers too.
    ``fail_nth``: the number of the allocation that fails next (failslab), 0 for none.
    ``observe(path, nbytes, owner_kind, owner_id, gfp)`` is told of every charge (bytes above
    zero) and uncharge (below).
    """

    def __init__(
        self,
        storage: Storage,
        memcg: MemcgTree,
        page_size: int,
        cpus: int,
        memory: int,
        percpu_owners: bool,
        vmalloc_large_orders: bool = False,
    ) -> None:
        self.memcg = memcg
        self.page_size = page_size
        self.cpus = cpus
        self.memory = memory
        self.percpu_owners = percpu_owners
        self.vmalloc_large_orders = vmalloc_large_orders
        self.allocs = storage.registry(Alloc)
        self.counters = storage.registry(Counter)
        self.fail_nth = 0
        self.nr_allocations = 0
        self.observe: ChargeObserver | None = None

    def boot(self) -> None:
        """Start with nothing in use."""
        self.counters.add(Counter(MEMORY_IN_USE))

    def in_use(self) -> int:
        """Bytes of machine memory that BPF objects take, charged or not."""
        counter = self.counters.get(MEMORY_IN_USE)
        return counter.value if counter else 0

    def use(self, nbytes: int) -> None:
        """Take (or, below zero, return) machine memory."""
        counter = self.counters.get(MEMORY_IN_USE)
        assert counter is not None
        counter.value += nbytes

    def inject(self) -> None:
        """Count an allocation, and fail it if it is the chosen one.

        :raises KernelError: ENOMEM.
        """
        self.nr_allocations += 1
        if self.nr_allocations == self.fail_nth:
            raise KernelError(E.NOMEM, "failslab")


class Mem:
    """The allocators for one owner, whose accounted allocations charge ``objcg``.

    ``objcg`` is an id, 0 for nobody. Methods raise ENOMEM (nothing stays charged), or
    :class:`OomKill` where the GFP flags let the OOM killer act.
    """

    def __init__(self, mm: Allocators, owner_kind: str, owner_id: int, objcg: int) -> None:
        self.mm = mm
        self.owner_kind = owner_kind
        self.owner_id = owner_id
        self.objcg = objcg

    # --- allocators ------------------------------------------------------

    def kmalloc(self, label: str, size: int, gfp: int, nr: int = 1) -> int:
        """Allocate ``nr`` slab objects of ``size`` bytes (above 8 KiB: page orders).

        :return: id of the objcg that pays, 0 for nobody.
        """
        if size > KMALLOC_MAX_SIZE:
            raise KernelError(E.NOMEM, f"kmalloc({size})")
        return self._obtain(label, size, kmalloc_footprint(size, self.mm.page_size), gfp, nr)

    def kmem_cache_alloc(self, label: str, object_size: int, gfp: int, reclaimable: bool) -> None:
        """Allocate one object of a SLAB_ACCOUNT cache."""
        footprint = cache_footprint(object_size, reclaimable)
        self._obtain(label, object_size, footprint, gfp | GFP_ACCOUNT, 1)

    def vmalloc(self, label: str, size: int, gfp: int) -> None:
        """Allocate ``size`` bytes in whole pages, each charged on its own."""
        self._obtain(label, size, vmalloc_footprint(size, self.mm.page_size), gfp, 1)

    def alloc_percpu(self, label: str, size: int, gfp: int, nr: int = 1) -> None:
        """Allocate ``nr`` times ``size`` bytes on every possible CPU."""
        if size > PCPU_MIN_UNIT_SIZE:
            raise KernelError(E.NOMEM, f"alloc_percpu({size})")
        footprint = percpu_footprint(size, self.mm.cpus, self.mm.percpu_owners)
        self._obtain(label, size, footprint, gfp, nr)

    def alloc_pages(self, label: str, nr_pages: int, gfp: int) -> None:
        """Allocate single pages in a loop."""
        self._obtain(label, self.mm.page_size, page_footprint(1, self.mm.page_size), gfp, nr_pages)

    def alloc_pagetables(self, label: str, nr: int, gfp: int) -> None:
        """Allocate page tables of a process (pte_alloc_one)."""
        self._obtain(label, self.mm.page_size, pagetable_footprint(self.mm.page_size), gfp, nr)

    def area_alloc(self, label: str, size: int, account: int = GFP_ACCOUNT) -> None:
        """Allocate zeroed map storage (bpf_map_area_alloc).

        Up to 32 KiB (PAGE_SIZE << PAGE_ALLOC_COSTLY_ORDER) kmalloc is tried first; vmalloc
        serves the rest. ``account`` is GFP_ACCOUNT or 0.
        """
        if size <= self.mm.page_size << PAGE_ALLOC_COSTLY_ORDER:
            try:
                self.kmalloc(label, size, GFP_USER | GFP_NORETRY | account)
            except KernelError:
                pass
            else:
                return
        self.vmalloc(label, size, GFP_KERNEL | GFP_RETRY_MAYFAIL | account)

    def area_mmapable_alloc(self, label: str, size: int, account: int = GFP_ACCOUNT) -> None:
        """Allocate map storage that user space can map: always vmalloc."""
        self.vmalloc(label, size, GFP_KERNEL | GFP_RETRY_MAYFAIL | account)

    # --- charging --------------------------------------------------------

    def room(self, gfp: int) -> int | None:
        """Pages that an allocation with ``gfp`` may charge before a limit refuses; None: any."""
        objcg = self._payer(gfp)
        charger = self.mm.memcg.charger
        return None if objcg is None else charger.room(charger.chain(objcg.memcg))

    def _payer(self, gfp: int) -> Objcg | None:
        return self.mm.memcg.pays(self.objcg) if gfp & GFP_ACCOUNT else None

    def _obtain(self, label: str, size: int, footprint: Footprint, gfp: int, nr: int) -> int:
        if nr == 0:
            return 0
        mm = self.mm
        mm.inject()
        if mm.in_use() + nr * footprint.real > mm.memory:
            refusal = Refusal("memory", "", mm.memory, mm.in_use(), nr * footprint.real)
            raise KernelError(E.NOMEM, label, refusal)
        objcg = self._payer(gfp)
        if objcg is not None and not self._charge(objcg, footprint, reclaim(gfp), nr):
            raise KernelError(E.NOMEM, f"{label}: memory.max")
        self._record(label, size, footprint, objcg, nr)
        mm.use(nr * footprint.real)
        if objcg is not None:
            mm.memcg.charger.account(objcg, footprint, nr)
            self._tell(objcg, nr * footprint.charge(mm.page_size), gfp)
        return objcg.id if objcg is not None else 0

    def _charge(self, objcg: Objcg, footprint: Footprint, kind: Reclaim, nr: int) -> bool:
        mm = self.mm
        charger = mm.memcg.charger
        if footprint.nbytes:
            return charger.charge_bytes(objcg, footprint.nbytes, kind, nr)
        if footprint.allocator == "kmalloc_large":
            return charger.charge_pages(objcg, nr * footprint.pages, kind)
        pages = nr * footprint.pages
        if footprint.allocator != "vmalloc":
            return charger.charge_single_pages(objcg, pages, kind)
        done = pages - charger.charge_large_orders(objcg, pages) if mm.vmalloc_large_orders else 0
        return charger.charge_single_pages(objcg, pages, kind, 2, done)

    def _record(
        self, label: str, size: int, footprint: Footprint, objcg: Objcg | None, nr: int
    ) -> None:
        payer = objcg.id if objcg is not None else 0
        key = self._key(label, payer)
        alloc = self.mm.allocs.get(key)
        if alloc is None:
            charge = footprint.charge(self.mm.page_size) if payer else 0
            alloc = Alloc(*key, footprint.allocator, size, 0, charge)
            self.mm.allocs.add(alloc)
        alloc.nr += nr

    def _tell(self, objcg: Objcg, nbytes: int, gfp: int) -> None:
        if self.mm.observe is not None:
            path = self.mm.memcg.get(objcg.memcg).path
            self.mm.observe(path, nbytes, self.owner_kind, self.owner_id, gfp)

    # --- freeing ---------------------------------------------------------

    def footprint(self, alloc: Alloc) -> Footprint:
        """Return what one object of ``alloc`` costs."""
        size, page_size = alloc.size, self.mm.page_size
        if alloc.allocator in ("kmalloc", "kmalloc_large"):
            return kmalloc_footprint(size, page_size)
        if alloc.allocator == "vmalloc":
            return vmalloc_footprint(size, page_size)
        if alloc.allocator == "percpu":
            return percpu_footprint(size, self.mm.cpus, self.mm.percpu_owners)
        if alloc.allocator == "page":
            return page_footprint(1, page_size)
        if alloc.allocator == "pagetable":
            return pagetable_footprint(page_size)
        return cache_footprint(size, alloc.label == "dentry")

    def free(self, label: str, nr: int = 1, objcg: int | None = None) -> None:
        """Free ``nr`` objects of ``label`` and uncharge exactly what they were charged.

        ``objcg`` says whose, where several pay for one label; otherwise any payer's are taken.
        """
        for payer in (self.objcg, 0) if objcg is None else (objcg,):
            nr = self._free_some(self.mm.allocs.get(self._key(label, payer)), nr)
        if nr and objcg is None:
            for alloc in self.allocations():
                if alloc.label == label:
                    nr = self._free_some(alloc, nr)

    def _key(self, label: str, payer: int) -> tuple[str, int, str, int]:
        return (self.owner_kind, self.owner_id, label, payer)

    def _free_some(self, alloc: Alloc | None, nr: int) -> int:
        if alloc is None or not nr:
            return nr
        freed = min(nr, alloc.nr)
        self._release(alloc, freed)
        return nr - freed

    def free_all(self) -> None:
        """Free everything that the owner still has."""
        for alloc in list(self.allocations()):
            self._release(alloc, alloc.nr)

    def allocations(self) -> list[Alloc]:
        """Return the owner's live allocations."""
        found = self.mm.allocs.find(owner_kind=self.owner_kind, owner_id=self.owner_id)
        return list(found)

    def nr_objects(self, label: str) -> int:
        """Count live objects of ``label``."""
        return sum(alloc.nr for alloc in self.allocations() if alloc.label == label)

    def _release(self, alloc: Alloc, nr: int) -> None:
        mm = self.mm
        footprint = self.footprint(alloc)
        alloc.nr -= nr
        if alloc.nr == 0:
            mm.allocs.remove((alloc.owner_kind, alloc.owner_id, alloc.label, alloc.objcg))
        mm.use(-nr * footprint.real)
        objcg = mm.memcg.objcgs.get(alloc.objcg) if alloc.objcg else None
        if objcg is not None:
            self._uncharge(objcg, footprint, nr)

    def _uncharge(self, objcg: Objcg, footprint: Footprint, nr: int) -> None:
        memcg = self.mm.memcg
        charger = memcg.charger
        if footprint.nbytes:
            charger.uncharge_bytes(objcg, nr * footprint.nbytes)
        else:
            charger.uncharge_pages(objcg, nr * footprint.pages)
        charger.account(objcg, footprint, -nr)
        self._tell(objcg, -nr * footprint.charge(self.mm.page_size), 0)
        orphan = memcg.get(objcg.memcg).objcg != objcg.id
        if orphan and not objcg.nbytes and not objcg.pages:
            charger.release(objcg)
            memcg.objcgs.remove(objcg.id)


__all__ = ["Allocators", "Mem", "OomKill"]
