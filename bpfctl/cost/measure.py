"""Create a plan's maps and programs on one machine, fill the maps, and note what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from bpfctl import plugins
from bpfctl.cost.boot import Actor, Live, Standing, World
from bpfctl.cost.choices import EMPTY, FULL, NOW, Limit, Machine, fill_passes
from bpfctl.cost.plan import MapItem, Plan, ProgItem, Source
from bpfctl.errors import E, KernelError, errno_name
from bpfctl.libbpf.mapspec import STRUCT_OPS
from bpfctl.light import field_names
from bpfctl.uapi import ALL_CAPS, MapCreateAttr

OOM_KILL = "OOM kill"
_WITHOUT_ELEMENTS = frozenset(("ringbuf", "user_ringbuf"))


@dataclass(slots=True)
class Figures:
    """What one object (or all together) costs at one moment.

    ``memlock`` is the number that fdinfo shows, ``rlimit_pages`` what is held against
    RLIMIT_MEMLOCK, ``charged`` the bytes that the memory cgroup pays: ``slab``, ``vmalloc``,
    ``percpu`` and single ``pages``. ``uncharged`` bytes are taken from the machine and charged
    to nobody. ``descriptors`` is what open files cost; it is part of ``charged`` only in totals.
    """

    memlock: int = 0
    rlimit_pages: int = 0
    charged: int = 0
    slab: int = 0
    vmalloc: int = 0
    percpu: int = 0
    pages: int = 0
    uncharged: int = 0
    descriptors: int = 0

    def plus(self, other: Figures, times: int = 1) -> Figures:
        """Return the sum with ``times`` times another."""
        return Figures(
            self.memlock + times * other.memlock,
            self.rlimit_pages + times * other.rlimit_pages,
            self.charged + times * other.charged,
            self.slab + times * other.slab,
            self.vmalloc + times * other.vmalloc,
            self.percpu + times * other.percpu,
            self.pages + times * other.pages,
            self.uncharged + times * other.uncharged,
            self.descriptors + times * other.descriptors,
        )


@dataclass(slots=True)
class Refusal:
    """Why something cannot be created whatever the limits: an errno and a reason (or "")."""

    errno: str
    reason: str


@dataclass(slots=True)
class ItemCost:
    """What one map or program costs, per copy.

    ``figures`` has one entry for the creation and one for each fill level, ``entries`` the
    elements at each. ``max_entries`` and ``map_flags`` are those of the kernel. ``most_locked``
    pages of RLIMIT_MEMLOCK are needed while it is made: a map of maps needs an inner one then.
    """

    source: Source
    item: MapItem | ProgItem
    max_entries: int = 0
    map_flags: int = 0
    most_locked: int = 0
    figures: list[Figures] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    refused: Refusal | None = None

    @property
    def created(self) -> Figures:
        """Figures right after the creation."""
        return self.figures[0] if self.figures else Figures()


@dataclass(slots=True)
class Break:
    """Where a limit stops the loading.

    ``what`` is create, load or fill. ``position`` counts maps (for load: programs) from 1, copies
    included; ``copy`` counts those of one map; ``element`` is the insert that fails, from 1.
    ``errno`` is a symbol, or OOM_KILL.
    """

    what: str
    name: str
    type_name: str
    position: int
    copy: int
    copies: int
    errno: str
    element: int = 0
    entries: int = 0


@dataclass(slots=True)
class Verdict:
    """Whether a limit holds: True, False, or None where some object was refused anyway."""

    limit: Limit
    holds: bool | None
    breaks: Break | None = None


@dataclass(slots=True)
class MachineCost:
    """The answer for one machine. ``totals`` go with the creation and each fill level.

    ``current`` is memory.current at each of these moments; ``most_pages`` the highest that the
    cgroup's page counter has been, ``most_locked`` the same of the user's locked pages.
    """

    machine: Machine
    fills: list[int | str]
    maps: list[ItemCost] = field(default_factory=list)
    programs: list[ItemCost] = field(default_factory=list)
    totals: list[Figures] = field(default_factory=list)
    current: list[int] = field(default_factory=list)
    most_pages: int = 0
    most_locked: int = 0
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def memlock_enough(self) -> int:
        """Smallest RLIMIT_MEMLOCK under which everything succeeds, in bytes."""
        return self.most_locked * self.machine.page_size

    @property
    def memory_max_enough(self) -> int:
        """A memory.max under which no charge is ever refused, in bytes.

        A smaller one may do, too: an area that kmalloc cannot have in a power of two of pages is
        tried again with vmalloc, and a cache that was not refilled still hands out what it has.
        """
        return self.most_pages * self.machine.page_size

    @property
    def refused(self) -> list[ItemCost]:
        """Maps and programs that this kernel does not take."""
        return [cost for cost in (*self.maps, *self.programs) if cost.refused]


def target_of(
    fill: int | str, item: MapItem, max_entries: int, present: int, cpus: int
) -> int:
    """Return how many elements a fill level means for a map.

    Maps that declare no size (storages of sockets, tasks, ...) have no "full"; a map of CPUs is
    full when it has all that are possible.
    """
    if item.type_name == "cpumap":
        max_entries = min(max_entries, cpus)
    if fill == EMPTY or item.type_name in _WITHOUT_ELEMENTS:
        return present
    if fill == FULL:
        return max(max_entries, present)
    if isinstance(fill, str) and fill.endswith("%"):
        return max(max_entries * int(fill[:-1]) // 100, present)
    wanted = item.now if fill == NOW else int(fill)
    return max(min(wanted, max_entries) if max_entries else wanted, present)


def refusal_of(machine: Machine, cost: ItemCost, exc: KernelError) -> Refusal:
    """Return why a kernel refuses an object, in words where it is plain."""
    reason = ""
    profile = machine.profile
    if isinstance(cost.item, MapItem):
        name = cost.item.type_name
        cls = plugins.type_class(cost.item.spec.type)
        if cls is None or not cls.offered(profile):
            reason = f"kernel {machine.release} has no map type {name}"
        elif cost.item.spec.type == STRUCT_OPS:
            known = ", ".join(ops.name for ops in profile.struct_ops.types)
            reason = f"struct is {cost.item.ops or 'not said'}; this kernel has {known}"
        elif exc.call is not None:
            reason = _mended(machine, exc.call[1], exc.code) or exc.detail
    elif not cost.item.spec.type:
        reason = f"no program type claims section '{cost.item.spec.section}'"
    elif cost.item.spec.type >= profile.prog_types:
        reason = f"kernel {machine.release} has no program type {cost.item.type_name}"
    return Refusal(errno_name(exc.code), reason)


def _mended(machine: Machine, attr: Any, errno: int) -> str:
    """Return what would make a map that a check refuses, "" if that is not known."""
    if not isinstance(attr, MapCreateAttr) or attr.inner_map_fd or attr.btf_value_type_id:
        return ""
    numbers = tuple(
        (name, value)
        for name in field_names(MapCreateAttr)
        if isinstance(value := getattr(attr, name), int)
    )
    return _mending(machine.kernel, machine.patch, machine.page_size, numbers, errno)


@lru_cache(maxsize=256)
def _mending(
    kernel: str, patch: int | None, page_size: int, attr: tuple[tuple[str, int], ...], errno: int
) -> str:
    """The same for all CPU counts: no check looks at them."""
    from bpfctl.kernel.config import Config
    from bpfctl.why.trial import Trial
    from bpfctl.why.words import for_creation

    config = Config(kernel=kernel, patch=patch, page_size=page_size)
    given: dict[str, Any] = dict(attr)
    return for_creation(Trial(MapCreateAttr(**given), config, 0, ALL_CAPS), errno)


class Pricing:
    """One pass over a plan: create everything, then fill level by level."""

    def __init__(
        self, plan: Plan, machine: Machine, fills: Sequence[int | str], actor: Actor
    ) -> None:
        self.plan = plan
        self.world = World(machine, actor)
        self.cost = MachineCost(machine, list(fills))
        self.lives: list[tuple[ItemCost, list[Live]]] = []
        self._descriptors = 0

    def run(self) -> MachineCost:
        """Return the figures."""
        for source in self.plan.sources:
            self._load(source)
        self._total()
        for fill in self.cost.fills:
            for cost, lives in self.lives:
                self._fill(cost, lives, fill)
            for program in self.cost.programs:
                if program.figures:  # it was loaded
                    program.figures.append(program.created)
                    program.entries.append(0)
            self._total()
        self.cost.most_pages = self.world.most_pages()
        return self.cost

    def _load(self, source: Source) -> None:
        world = self.world
        before = world.standing().charged
        world.start(source)
        self._descriptors += world.standing().charged - before
        made: list[Live] = []
        for item in source.maps:
            cost = ItemCost(source, item)
            self.cost.maps.append(cost)
            lives = self._create(source, cost, item)
            made += lives
            self.lives.append((cost, lives))
        for live in made:
            self._initial(source, live)
        for program in source.programs:
            cost = ItemCost(source, program)
            self.cost.programs.append(cost)
            self._load_program(source, cost, program)

    def _create(self, source: Source, cost: ItemCost, item: MapItem) -> list[Live]:
        world = self.world
        lives: list[Live] = []
        try:
            for _ in range(item.copies):
                before = world.standing()
                live = world.create(source, item)
                lives.append(live)
                self._note_locked(live.locked_pages)
                if len(lives) == 1:
                    figures = self._of_object(before, "map", live.map_id)
                    figures.memlock = world.kernel.memlock_shown(live.map_id)
                    cost.figures.append(figures)
                    cost.entries.append(0)
                    cost.most_locked = live.locked_pages - before.locked_pages
                    rec = world.kernel.maps.get(live.map_id).rec
                    cost.max_entries, cost.map_flags = rec.max_entries, rec.map_flags
        except KernelError as exc:
            cost.refused = refusal_of(self.cost.machine, cost, exc)
        self._descriptors += cost.created.descriptors * len(lives)
        return lives

    def _of_object(self, before: Standing, kind: str, obj_id: int) -> Figures:
        """Return what a new object moved; its descriptor's part apart."""
        world = self.world
        after = world.standing()
        charged, uncharged = world.owned(kind, obj_id)
        descriptors = after.charged - before.charged - charged
        figures = difference(before, after)
        figures.charged -= descriptors
        figures.slab -= descriptors
        figures.uncharged, figures.descriptors = uncharged, descriptors
        return figures

    def _initial(self, source: Source, live: Live) -> None:
        """Store initial elements; what they cost counts as creation."""
        if not live.item.spec.slots:
            return
        cost = next(cost for cost, lives in self.lives if any(each is live for each in lives))
        before = self.world.standing()
        try:
            self.world.store_initial(source, live)
        except KernelError as exc:
            cost.refused = refusal_of(self.cost.machine, cost, exc)
            return
        figures = cost.created.plus(difference(before, self.world.standing()))
        figures.memlock = self.world.kernel.memlock_shown(live.map_id)
        cost.figures[0], cost.entries[0] = figures, live.elements

    def _load_program(self, source: Source, cost: ItemCost, item: ProgItem) -> None:
        world = self.world
        loaded = 0
        try:
            for _ in range(item.copies):
                before = world.standing()
                prog_id = world.load(source, item)
                loaded += 1
                if loaded == 1:
                    figures = self._of_object(before, "prog", prog_id)
                    figures.memlock = int(world.kernel.progs.fdinfo(prog_id)["memlock"])
                    cost.most_locked = figures.rlimit_pages
                    cost.figures.append(figures)
                    cost.entries.append(0)
        except KernelError as exc:
            cost.refused = refusal_of(self.cost.machine, cost, exc)
            if exc.code == E.BADF:
                cost.refused = self._missing_map(item) or cost.refused
        self._descriptors += cost.created.descriptors * loaded

    def _missing_map(self, item: ProgItem) -> Refusal | None:
        """Return the refusal of a program whose map could not be made, and what to set."""
        used = {reference.name for reference in item.spec.references}
        for each in self.cost.maps:
            if each.refused is not None and not each.figures and each.item.name in used:
                refused, name = each.refused, each.item.name
                why = f" ({refused.reason})" if refused.reason else ""
                return Refusal(
                    "EBADF",
                    f"it uses map {name}, which is refused with {refused.errno}{why}: say --set "
                    f"{name}.max_entries=... or another attribute",
                )
        return None

    def _fill(self, cost: ItemCost, lives: list[Live], fill: int | str) -> None:
        if not lives:
            return
        world = self.world
        last = cost.figures[-1]
        before = world.standing()
        assert isinstance(cost.item, MapItem)
        cpus = world.machine.cpus
        target = target_of(fill, cost.item, cost.max_entries, lives[0].elements, cpus)
        moved = target > lives[0].elements
        try:
            for number, live in enumerate(lives):
                world.fill(live, target)
                if number:
                    continue
                figures = last
                if moved:
                    figures = last.plus(difference(before, world.standing()))
                    figures.memlock = world.kernel.memlock_shown(live.map_id)
                    figures.uncharged = world.owned("map", live.map_id)[1]
                cost.figures.append(figures)
                cost.entries.append(target)
                cost.most_locked = max(cost.most_locked, figures.rlimit_pages)
        except KernelError as exc:
            cost.refused = Refusal(errno_name(exc.code), f"inserting {target} elements")
            cost.figures.append(cost.figures[-1])
            cost.entries.append(cost.entries[-1])

    def _note_locked(self, pages: int) -> None:
        self.cost.most_locked = max(self.cost.most_locked, pages)

    def _total(self) -> None:
        """Note the totals of this moment, from the counters of the cgroup and the user."""
        now = self.world.standing()
        self._note_locked(now.locked_pages)
        total = difference(Standing(0, 0, 0, 0, 0), now)
        for cost in (*self.cost.maps, *self.cost.programs):
            if cost.figures:
                total.memlock += cost.figures[-1].memlock * cost.item.copies
                total.uncharged += cost.figures[-1].uncharged * cost.item.copies
        total.descriptors = self._descriptors
        self.cost.totals.append(total)
        self.cost.current.append(self.world.current())


def difference(before: Standing, after: Standing) -> Figures:
    """Return what moved between two standings."""
    charged = after.charged - before.charged
    slab, vmalloc = after.slab - before.slab, after.vmalloc - before.vmalloc
    percpu = after.percpu - before.percpu
    return Figures(
        rlimit_pages=after.locked_pages - before.locked_pages,
        charged=charged,
        slab=slab,
        vmalloc=vmalloc,
        percpu=percpu,
        pages=charged - slab - vmalloc - percpu,
    )


def price(
    plan: Plan, machine: Machine, fills: Sequence[int | str], actor: Actor
) -> MachineCost:
    """Create and fill everything on ``machine`` without any limit; return what it cost.

    ``fills`` are sorted (:func:`~bpfctl.cost.choices.sort_fills`). Levels that cannot be compared,
    such as 1000 and 50%, start from new maps.
    """
    passes = [Pricing(plan, machine, part, actor).run() for part in fill_passes(list(fills))]
    for other in passes[1:]:
        _append(passes[0], other)
    return passes[0]


def _append(cost: MachineCost, other: MachineCost) -> None:
    """Add the fill levels of another pass over the same plan."""
    for mine, more in zip(
        (*cost.maps, *cost.programs), (*other.maps, *other.programs), strict=True
    ):
        mine.figures += more.figures[1:]
        mine.entries += more.entries[1:]
        mine.refused = mine.refused or more.refused
        mine.most_locked = max(mine.most_locked, more.most_locked)
    cost.fills += other.fills
    cost.totals += other.totals[1:]
    cost.current += other.current[1:]
    cost.most_pages = max(cost.most_pages, other.most_pages)
    cost.most_locked = max(cost.most_locked, other.most_locked)
