"""Charging a memory cgroup: page counters, object stocks, and what happens at memory.max.

Models try_charge_memcg(), obj_cgroup_charge() and drain_all_stock() of mm/memcontrol.c. The
number of ``max`` events that a refused charge leaves behind is part of the model: it was
measured on 6.1 and 6.12.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.kernel.mm.footprint import Footprint
from bpfctl.kernel.mm.gfp import Reclaim
from bpfctl.kernel.records import Memcg, Objcg
from bpfctl.kernel.storage import Registry
from bpfctl.light import dataclass

MAX_RECLAIM_RETRIES = 16
MAX_PAGE_ORDER = 10


class OomKill(Exception):
    """The OOM killer was invoked for ``memcg``; the allocating task is the victim."""

    def __init__(self, memcg: Memcg) -> None:
        super().__init__(memcg.path)
        self.memcg = memcg


@dataclass(slots=True)
class RefusedCharge:
    """The last charge that a limit refused (all in pages)."""

    path: str
    max_pages: int
    usage_pages: int
    asked_pages: int


class Charger:
    """Moves page counters, stocks and statistics of the cgroup tree.

    ``kill``: the OOM killer took the task whose system call runs; it dies when that ends.
    ``most_pages`` is the highest that the counter of a charged cgroup has been in this process:
    under a limit that high nothing would have been refused.
    """

    def __init__(
        self,
        memcgs: Registry[Memcg],
        objcgs: Registry[Objcg],
        page_size: int,
        atomic_counts_max: bool,
        nowait_counts_max: bool = False,
    ) -> None:
        self.memcgs = memcgs
        self.objcgs = objcgs
        self.page_size = page_size
        self.atomic_counts_max = atomic_counts_max
        self.nowait_counts_max = nowait_counts_max
        self.refusal: RefusedCharge | None = None
        self.kill: OomKill | None = None
        self.most_pages = 0

    def chain(self, memcg_id: int) -> list[Memcg]:
        """Return the cgroup and its ancestors, the root last."""
        found = []
        while memcg_id:
            memcg = self.memcgs.get(memcg_id)
            assert memcg is not None, f"memcg {memcg_id} is referred to but gone"
            found.append(memcg)
            memcg_id = memcg.parent
        return found

    def subtree(self, memcg_id: int) -> Iterator[int]:
        """Yield the ids of a cgroup and all its descendants."""
        waiting = [memcg_id]
        while waiting:
            found = waiting.pop()
            yield found
            waiting += reversed([child.id for child in self.memcgs.find(parent=found)])

    def event(self, memcg: Memcg, name: str) -> None:
        """Count an event in memory.events.local of ``memcg`` and memory.events up the tree."""
        setattr(memcg, f"local_{name}", getattr(memcg, f"local_{name}") + 1)
        for level in self.chain(memcg.id):
            setattr(level, f"ev_{name}", getattr(level, f"ev_{name}") + 1)

    # --- pages -----------------------------------------------------------

    @staticmethod
    def room(chain: list[Memcg]) -> int | None:
        """Pages that fit below every limit of ``chain``; None without a limit."""
        limited = [m.max_pages - m.usage_pages for m in chain if m.max_pages is not None]
        return min(limited) if limited else None

    @staticmethod
    def _refusing(chain: list[Memcg], pages: int) -> Memcg | None:
        for memcg in chain:
            if memcg.max_pages is not None and memcg.usage_pages + pages > memcg.max_pages:
                return memcg
        return None

    @staticmethod
    def _add(chain: list[Memcg], pages: int) -> None:
        for memcg in chain:
            memcg.usage_pages += pages

    def _add_checked(self, chain: list[Memcg], pages: int) -> None:
        self._add(chain, pages)
        if chain[0].usage_pages > self.most_pages:
            self.most_pages = chain[0].usage_pages
        for memcg in chain:
            if memcg.high_pages is not None and memcg.usage_pages > memcg.high_pages:
                self.event(memcg, "high")
                break

    def charge_pages(self, objcg: Objcg, pages: int, kind: Reclaim) -> bool:
        """Add ``pages`` to the counters of ``objcg``'s cgroup and its ancestors.

        :return: False when a limit refused.
        :raises OomKill: ``kind`` is OOM and the limit stands after all retries.
        """
        chain = self.chain(objcg.memcg)
        refusing = self._refusing(chain, pages)
        if refusing is None:
            self._add_checked(chain, pages)
            return True
        if kind is Reclaim.NOWAIT:
            if self.nowait_counts_max:
                self.event(refusing, "max")
            self._note(refusing, pages)
            return False
        if kind is Reclaim.ATOMIC:
            if self.atomic_counts_max:
                self.event(refusing, "max")
            self._add(chain, pages)
            return True
        return self._charge_after_reclaim(chain, refusing, pages, kind)

    def _charge_after_reclaim(
        self, chain: list[Memcg], refusing: Memcg, pages: int, kind: Reclaim
    ) -> bool:
        self.event(refusing, "max")
        self.drain(refusing.id)
        again = self._refusing(chain, pages)
        if again is None:
            self._add_checked(chain, pages)
            return True
        self.event(again, "max")
        self._note(again, pages)
        if kind is Reclaim.NORETRY:
            return False
        self._events(again, "max", MAX_RECLAIM_RETRIES)
        if kind is Reclaim.MAYFAIL:
            return False
        self.event(again, "oom")
        if self.kill is None:
            self.event(chain[0], "oom_kill")
            self.kill = OomKill(again)
        self._events(again, "max", MAX_RECLAIM_RETRIES + 1)
        raise self.kill

    def _note(self, memcg: Memcg, pages: int) -> None:
        """Remember who refused, for the hint."""
        assert memcg.max_pages is not None
        self.refusal = RefusedCharge(memcg.path, memcg.max_pages, memcg.usage_pages, pages)

    def _events(self, memcg: Memcg, name: str, times: int) -> None:
        for _ in range(times):
            self.event(memcg, name)

    def charge_large_orders(self, objcg: Objcg, pages: int) -> int:
        """Charge what vmalloc gets in large orders first, without waiting (7.3).

        :return: how many of ``pages`` are left for single ones.
        """
        most = MAX_PAGE_ORDER
        while (order := min(most, pages.bit_length() - 1)) > 0:
            if self.charge_pages(objcg, 1 << order, Reclaim.NOWAIT):
                pages -= 1 << order
            else:
                most = order - 1
        return pages

    def charge_single_pages(
        self, objcg: Objcg, pages: int, kind: Reclaim, tries: int = 1, done: int = 0
    ) -> bool:
        """Charge ``pages`` one at a time, as vmalloc and the page loops do.

        ``tries``: attempts for the first page. ``done`` of the pages are charged already. Nothing
        stays charged after a failure.
        """
        chain = self.chain(objcg.memcg)
        left = first = pages - done
        while left:
            room = self.room(chain)
            fits = left if room is None else min(left, max(room, 0))
            if fits:
                self._add_checked(chain, fits)
                left -= fits
                continue
            attempts = tries if left == first else 1
            try:
                if not any(self.charge_pages(objcg, 1, kind) for _ in range(attempts)):
                    self._give_up(chain, pages, left)
                    return False
            except OomKill:
                self._give_up(chain, pages, left)
                raise
            left -= 1
        return True

    def _give_up(self, chain: list[Memcg], pages: int, left: int) -> None:
        """Take back what was charged of ``pages``; the hint is about all of them."""
        self._add(chain, left - pages)
        if self.refusal is not None:
            self.refusal.usage_pages -= pages - left
            self.refusal.asked_pages = pages

    def uncharge_pages(self, objcg: Objcg, pages: int) -> None:
        """Take ``pages`` off the counters."""
        self._add(self.chain(objcg.memcg), -pages)

    # --- bytes -----------------------------------------------------------

    def charge_bytes(self, objcg: Objcg, nbytes: int, kind: Reclaim, nr: int = 1) -> bool:
        """Charge ``nbytes`` through the object stock, ``nr`` times; whole pages move the counters.

        A charge that the stock cannot pay takes all its pages anew, and leaves what the stock
        had: so ``nr`` charges are not one of ``nr`` times the size. Nothing stays charged when a
        limit refuses one of them.
        """
        if nr > 1 and objcg.stock is None:
            return self._charge_first_apart(objcg, nbytes, kind, nr)
        total = nr * nbytes
        stock = objcg.stock or 0
        if objcg.stock is not None and stock >= total:
            objcg.stock -= total
            return True
        size = self.page_size
        step = -(-nbytes // size)
        pages = -(-(total - stock) // (step * size)) * step if nr > 1 else step
        if not self.charge_pages(objcg, pages, kind):
            return False
        drained = objcg.stock is None
        if drained and nr > 1:
            # What the stock was counted on for is gone.
            self.uncharge_pages(objcg, pages)
            return self._charge_first_apart(objcg, nbytes, kind, nr)
        if objcg.stock is None:
            objcg.stock, objcg.parked = objcg.parked, 0
        objcg.stock += pages * size - total
        if drained:
            self._trim(objcg)
        return True

    def _charge_first_apart(self, objcg: Objcg, nbytes: int, kind: Reclaim, nr: int) -> bool:
        """Charge ``nr`` times where there is no stock: the first charge makes one."""
        if not self.charge_bytes(objcg, nbytes, kind):
            return False
        try:
            charged = self.charge_bytes(objcg, nbytes, kind, nr - 1)
        except OomKill:
            self.uncharge_bytes(objcg, nbytes)
            raise
        if not charged:
            self.uncharge_bytes(objcg, nbytes)
        return charged

    def uncharge_bytes(self, objcg: Objcg, nbytes: int) -> None:
        """Give ``nbytes`` back to the stock; more than a page there goes back to the counters."""
        if objcg.stock is None:
            objcg.stock, objcg.parked = objcg.parked, 0
        objcg.stock += nbytes
        self._trim(objcg)

    def _trim(self, objcg: Objcg) -> None:
        assert objcg.stock is not None
        if objcg.stock > self.page_size:
            pages, objcg.stock = divmod(objcg.stock, self.page_size)
            self.uncharge_pages(objcg, pages)

    def drain(self, memcg_id: int) -> None:
        """Empty the object stocks of a subtree: whole pages are uncharged, the rest parked."""
        for level in self.subtree(memcg_id):
            for objcg in self.objcgs.find(memcg=level):
                self._drain_stock(objcg)

    def _drain_stock(self, objcg: Objcg) -> None:
        if objcg.stock is not None:
            pages, rest = divmod(objcg.stock, self.page_size)
            objcg.parked += rest
            objcg.stock = None
            if pages:
                self.uncharge_pages(objcg, pages)

    def release(self, objcg: Objcg) -> None:
        """Give back what an objcg without live allocations holds (obj_cgroup_release)."""
        self._drain_stock(objcg)
        pages, objcg.parked = divmod(objcg.parked, self.page_size)
        if pages:
            self.uncharge_pages(objcg, pages)

    # --- allocations -----------------------------------------------------

    def account(self, objcg: Objcg, footprint: Footprint, nr: int) -> None:
        """Move the statistics by ``nr`` (negative: freed) objects of ``footprint``."""
        size = self.page_size
        before = -(-objcg.nbytes // size) + objcg.pages
        objcg.nbytes += nr * footprint.nbytes
        objcg.pages += nr * footprint.pages
        delta = -(-objcg.nbytes // size) + objcg.pages - before
        stat = footprint.stat
        amount = nr * footprint.charge(size)
        for memcg in self.chain(objcg.memcg):
            memcg.kernel_pages += delta
            if memcg.kernel_pages > memcg.peak_pages:
                memcg.peak_pages = memcg.kernel_pages
            if stat:
                setattr(memcg, stat, getattr(memcg, stat) + amount)
