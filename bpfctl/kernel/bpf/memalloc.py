"""bpf_mem_alloc: per-CPU caches of equal objects, charged when they are filled (6.1 on).

Models kernel/bpf/memalloc.c: prefill at creation, a refill in batches when a CPU's count falls
under the low mark, a release when it rises over the high mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.mm.alloc import Mem, OomKill
from bpfctl.kernel.mm.gfp import GFP_BY_NAME, GFP_NOWAIT

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapType

LLIST_NODE = 8
PERCPU_CARRIER = 16
SMALL_OBJECT = 256
MOST_OF_ONE_INSERT = 2


class MemCache:
    """The caches of one kind of object of ``owner``, ``size`` bytes each (per CPU: of a copy).

    How many objects each CPU has at hand is kept in ``owner.rec.priv``.
    """

    def __init__(self, owner: MapType, label: str, size: int, percpu: bool = False) -> None:
        self.owner = owner
        self.label = label
        self.percpu = percpu
        self.unit = size if percpu else size + LLIST_NODE
        small = percpu and owner.kernel.profile.mem_alloc.small_percpu_caches
        if small:
            self.low, self.high, self.batch, self.nr_prefill = 1, 3, 1, 1
        elif self.unit <= SMALL_OBJECT:
            self.low, self.high, self.batch, self.nr_prefill = 32, 96, 48, 4
        else:
            self.low = max(8192 // self.unit, 1)
            self.high = max(24576 // self.unit, 3)
            self.batch = max((self.high - self.low) // 4 * 3, 1)
            self.nr_prefill = 1

    @property
    def _at_hand(self) -> dict[str, int]:
        caches = self.owner.rec.priv.setdefault("mem_alloc", {})
        found: dict[str, int] = caches.setdefault(self.label, {})
        return found

    def _count(self, cpu: int) -> int:
        return self._at_hand.get(str(cpu), self._at_hand.get("others", 0))

    def _set_count(self, cpu: int, count: int) -> None:
        self._at_hand[str(cpu)] = count

    def prefill(self) -> None:
        """Fill every possible CPU's cache, charged to the creating task.

        Up to 6.1 a failure is ignored.

        :raises KernelError: ENOMEM; the OOM killer may act.
        """
        owner = self.owner
        gfp = GFP_BY_NAME[owner.kernel.profile.accounting.prefill_gfp] | owner.account()
        wanted = self.nr_prefill * owner.cpus
        if gfp & ~owner.account() != GFP_NOWAIT:
            self._prefill_waiting(gfp, wanted)
            self._at_hand["others"] = self.nr_prefill
            return
        got = self._obtain_what_fits(owner.mem, gfp, wanted)
        full, rest = divmod(got, self.nr_prefill)
        self._at_hand["others"] = self.nr_prefill if got == wanted else 0
        if got < wanted:
            for cpu in range(full):
                self._set_count(cpu, self.nr_prefill)
            self._set_count(full, rest)

    def _prefill_waiting(self, gfp: int, wanted: int) -> None:
        """Fill with allocations that may wake the OOM killer: every CPU's turn may, in vain."""
        if self._certain(self.owner.mem, gfp, wanted):
            self._obtain(self.owner.mem, gfp, wanted)
            return
        for _ in range(self.owner.cpus):
            try:
                for _ in range(self.nr_prefill):
                    self._obtain(self.owner.mem, gfp, 1)
            except OomKill:
                continue  # the task dies when its system call ends

    def _certain(self, mem: Mem, gfp: int, nr: int) -> bool:
        """Tell whether no limit can refuse ``nr`` objects."""
        room = mem.room(gfp)
        copies = 2 * self.owner.cpus if self.percpu else 1
        return room is None or room >= nr * (2 + self.unit * copies // mem.mm.page_size)

    def take(self, cpu: int) -> bool:
        """Take an object from the cache of ``cpu``, False when it is empty."""
        count = self._count(cpu)
        if count:
            self._set_count(cpu, count - 1)
        return count > 0

    def refill_if_low(self, cpu: int) -> None:
        """Add a batch, or what fits of it, if ``cpu`` has fewer objects than the low mark."""
        count = self._count(cpu)
        if count < self.low:
            gfp = GFP_NOWAIT | self.owner.account()
            got = self._obtain_what_fits(self.owner.map_mem(), gfp, self.batch)
            self._set_count(cpu, count + got)

    def free(self, cpu: int) -> None:
        """Give an object back to the cache of ``cpu``."""
        count = self._count(cpu) + 1
        if count > self.high:
            keep = (self.low + self.high) // 2
            self._release(count - keep)
            count = keep
        self._set_count(cpu, count)

    def free_rcu(self, nr: int = 1) -> None:
        """Free objects after a grace period: they go back to the slab, not to a cache."""
        self._release(nr)

    def alloc_many(self, cpu: int, nr: int) -> None:
        """Take ``nr`` objects on one CPU, at the cost of one.

        The few that one insert takes go the way of an insert, which a limit may let have what is
        left in the cache.

        :raises KernelError: ENOMEM; of many objects none is taken then.
        """
        if nr <= MOST_OF_ONE_INSERT:
            for _ in range(nr):
                alloc_elem([self], cpu)
            return
        count = self._count(cpu)
        batches = 0
        if count - nr < self.low:
            batches = (self.low - (count - nr) + self.batch - 1) // self.batch
            self._obtain(
                self.owner.map_mem(), GFP_NOWAIT | self.owner.account(), batches * self.batch
            )
        self._set_count(cpu, count + batches * self.batch - nr)

    def _obtain_what_fits(self, mem: Mem, gfp: int, nr: int) -> int:
        if self._certain(mem, gfp, nr):
            try:
                self._obtain(mem, gfp, nr)
            except KernelError:
                pass  # not a limit: perhaps the machine's memory
            else:
                return nr
        for got in range(nr):
            try:
                self._obtain(mem, gfp, 1)
            except KernelError:
                return got
        return nr

    def _obtain(self, mem: Mem, gfp: int, nr: int) -> None:
        if not self.percpu:
            mem.kmalloc(self.label, self.unit, gfp, nr)
            return
        try:
            mem.kmalloc(f"{self.label}_carrier", PERCPU_CARRIER, gfp, nr)
        except KernelError:
            # Both are asked for before either is looked at.
            mem.alloc_percpu(self.label, self.unit, gfp, nr)
            mem.free(self.label, nr)
            raise
        try:
            mem.alloc_percpu(self.label, self.unit, gfp, nr)
        except BaseException:
            mem.free(f"{self.label}_carrier", nr)
            raise

    def _release(self, nr: int) -> None:
        self.owner.mem.free(self.label, nr)
        if self.percpu:
            self.owner.mem.free(f"{self.label}_carrier", nr)


def alloc_elem(caches: list[MemCache], cpu: int) -> None:
    """Take one object from each of ``caches``.

    Refills are interrupt work: they run after the bucket lock is released, the last raised
    first.

    :raises KernelError: ENOMEM when one is empty; nothing is taken then.
    """
    taken = []
    for cache in caches:
        if not cache.take(cpu):
            break
        taken.append(cache)
    complete = len(taken) == len(caches)
    if not complete:
        for cache in taken:
            cache.free(cpu)
    for cache in reversed(caches[: len(taken) + 1]):
        cache.refill_if_low(cpu)
    if not complete:
        raise KernelError(E.NOMEM, f"{caches[len(taken)].label} cache of CPU {cpu} is empty")
