"""Whether limits hold, and where they break: the same steps again, under a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bpfctl.cost.boot import Actor, Live, World
from bpfctl.cost.choices import MEMLOCK, MEMORY_MAX, Limit
from bpfctl.cost.measure import OOM_KILL, Break, ItemCost, MachineCost, Verdict, target_of
from bpfctl.cost.plan import MapItem, Plan, ProgItem, Source
from bpfctl.errors import KernelError, TaskKilled, errno_name


@dataclass(slots=True)
class _Stop(Exception):
    """The step that did not succeed."""

    found: Break


class Attempt:
    """One pass over a plan under a limit.

    ``known`` is the cost without limits: what the kernel refuses there is left out here.
    """

    def __init__(self, plan: Plan, known: MachineCost, actor: Actor, limit: Limit) -> None:
        self.plan = plan
        self.known = known
        memlock = limit.nbytes if limit.kind == MEMLOCK else None
        memory_max = limit.nbytes if limit.kind == MEMORY_MAX else None
        self.world = World(known.machine, actor, memlock, memory_max)
        self.costs: dict[int, ItemCost] = {
            id(cost.item): cost for cost in (*known.maps, *known.programs)
        }
        self.lives: list[tuple[Break, Live]] = []
        self._positions = {"create": 0, "load": 0}

    def run(self) -> Break | None:
        """Return where the limit breaks, None if it does not."""
        try:
            for source in self.plan.sources:
                self._load(source)
            for place, live in self.lives:
                self._fill(place, live)
        except _Stop as stop:
            return stop.found
        return None

    def _load(self, source: Source) -> None:
        try:
            self.world.start(source)
        except TaskKilled:
            raise _Stop(Break("load", source.label, "BTF", 0, 1, 1, OOM_KILL)) from None
        first = len(self.lives)
        for item in source.maps:
            self._copies("create", source, item)
        for place, live in self.lives[first:]:
            if live.item.spec.slots and self.costs[id(live.item)].refused is None:
                self._step(place, lambda live=live: self.world.store_initial(source, live))
        for program in source.programs:
            self._copies("load", source, program)

    def _copies(self, what: str, source: Source, item: MapItem | ProgItem) -> None:
        refused = not self.costs[id(item)].figures
        for copy in range(1, item.copies + 1):
            self._positions[what] += 1
            if refused:
                continue
            place = Break(
                what, item.name, item.type_name, self._positions[what], copy, item.copies, ""
            )
            if isinstance(item, MapItem):
                live = self._step(place, lambda: self.world.create(source, item))
                self.lives.append((place, live))
            else:
                self._step(place, lambda: self.world.load(source, item))

    def _step(self, place: Break, act: Any) -> Any:
        try:
            return act()
        except TaskKilled:
            place.errno = OOM_KILL
        except KernelError as exc:
            place.errno = errno_name(exc.code)
        raise _Stop(place)

    # --- elements ------------------------------------------------------------

    def _fill(self, place: Break, live: Live) -> None:
        cost = self.costs[id(live.item)]
        if cost.refused is not None:
            return
        targets = [
            target_of(
                fill, live.item, cost.max_entries, live.elements, self.known.machine.cpus
            )
            for fill in self.known.fills
        ]
        target = max(targets, default=0)
        if target > live.elements:
            place.what, place.entries = "fill", target
            self._fill_to(place, live, target)

    def _fill_to(self, place: Break, live: Live, target: int) -> None:
        """Insert until ``target`` is reached or an insert fails.

        Elements go in by as many at a time as fit without anything refused, at last one by one:
        a refill that fails in part leaves some elements to hand out.
        """
        world = self.world
        step = target - live.elements
        while live.elements < target:
            step = min(step, target - live.elements)
            if step <= 1:
                place.element = live.elements + 1
                self._step(place, lambda: world.fill(live, live.elements + 1))
                continue
            restore = world.checkpoint(live)
            try:
                world.fill(live, live.elements + step)
            except (KernelError, TaskKilled):
                restore()
                step //= 2


def check(plan: Plan, known: MachineCost, actor: Actor, limit: Limit) -> Verdict:
    """Tell whether a limit holds on one machine, for the creation and the highest fill level."""
    broken = None
    if not _surely_holds(known, limit):
        broken = Attempt(plan, known, actor, limit).run()
    holds = False if broken else None if known.refused else True
    return Verdict(limit, holds, broken)


def _surely_holds(known: MachineCost, limit: Limit) -> bool:
    """Tell whether nothing can be refused, so that a second pass would repeat the first."""
    machine = known.machine
    if limit.kind == MEMLOCK:
        return not machine.profile.accounting.precharged
    return limit.nbytes // machine.page_size >= known.most_pages
