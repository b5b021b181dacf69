"""The answer for the eye: tables of text, and a sentence for every limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bpfctl.cost.choices import EMPTY, MEMLOCK, Limit
from bpfctl.cost.measure import OOM_KILL, Break, Figures, ItemCost, MachineCost, Verdict
from bpfctl.cost.plan import MapItem
from bpfctl.cost.report import CREATED

# So many machines get a table each; of more there is one line each.
FULL_TABLES = 3
_WIDEST = 9
_WORDS = ("from", "name", "type", "kernel")

Amount = Callable[[int], str]


@dataclass(slots=True)
class Table:
    """A titled table; ``notes`` are lines below it."""

    title: str
    headers: list[str]
    rows: list[list[str]]
    notes: list[str]

    def lines(self, blocks: Sequence[Sequence[int]] | None = None) -> Iterator[str]:
        """Yield the title, the rows in aligned columns (words left, figures right), the notes.

        ``blocks`` are the columns that stand side by side, one group below the other; all of them
        by default.
        """
        yield self.title
        widths = [max(map(len, column)) for column in zip(self.headers, *self.rows, strict=True)]
        words = {at for at, name in enumerate(self.headers) if name in _WORDS}
        for block in blocks or [range(len(widths))]:
            yield ""
            for row in (self.headers, *self.rows):
                cells = [
                    row[at].ljust(widths[at]) if at in words else row[at].rjust(widths[at])
                    for at in block
                ]
                yield "  ".join(cells).rstrip()
        if self.notes:
            yield ""
            yield from self.notes


@dataclass(slots=True)
class _Column:
    """One column of figures: how it is called, and which figure at which level it shows."""

    header: str
    level: int
    value: Callable[[Figures], int]


def tables(costs: list[MachineCost], amount: Amount) -> Iterator[Table]:
    """Yield the tables; ``amount`` writes bytes."""
    if len(costs) <= FULL_TABLES:
        for cost in costs:
            yield machine_table(cost, amount)
        return
    yield _summary(costs, amount)
    yield _by_map(costs, amount)


def machine_title(cost: MachineCost) -> str:
    """Return what a machine is called: ``kernel 6.12, 4 possible CPUs``."""
    cpus = cost.machine.cpus
    return f"kernel {cost.machine.label}, {cpus} possible CPU{'s' if cpus > 1 else ''}"


def uses_rlimit(cost: MachineCost) -> bool:
    """Tell whether the kernel holds anything against RLIMIT_MEMLOCK."""
    return bool(cost.machine.profile.accounting.precharged)


# --- one machine -----------------------------------------------------------------


def _columns(cost: MachineCost) -> list[_Column]:
    """Return the columns that say something: a level only where it differs from the one before."""
    columns = _by_level(cost, "memlock", lambda f: f.memlock)
    if uses_rlimit(cost):
        columns.append(_Column("RLIMIT pages", 0, lambda f: f.rlimit_pages))
    if any(figures.charged for figures in cost.totals):
        columns += _by_level(cost, "charged", lambda f: f.charged)
    if any(figures.uncharged for figures in cost.totals):
        columns += _by_level(cost, "uncharged", lambda f: f.uncharged)
    return columns


def _by_level(cost: MachineCost, header: str, value: Callable[[Figures], int]) -> list[_Column]:
    columns = [_Column(header, 0, value)]
    shown = 0
    for level, fill in enumerate(cost.fills, 1):
        items = [each for each in (*cost.maps, *cost.programs) if len(each.figures) > level]
        same = all(value(each.figures[level]) == value(each.figures[shown]) for each in items)
        if fill != EMPTY and not same:
            columns.append(_Column(f"{header}, {fill}", level, value))
            shown = level
    return columns


def machine_table(cost: MachineCost, amount: Amount) -> Table:
    columns = _columns(cost)
    sourced = len({each.source.label for each in (*cost.maps, *cost.programs)}) > 1
    headers = ["name", "type", "entries", *(column.header for column in columns)]
    if sourced:
        headers.insert(0, "from")
    rows = []
    for each in (*cost.maps, *cost.programs):
        row = [_name(each), _type(each), _entries(each)]
        lead = [each.source.label] if sourced else []
        rows.append([*lead, *row, *_cells(each, columns, amount)])
    lead = [""] if sourced else []
    if any(figures.descriptors for figures in cost.totals):
        cells = [
            amount(cost.totals[0].descriptors) if column.header == "charged" else ""
            for column in columns
        ]
        rows.append([*lead, "(descriptors)", "", "", *cells])
    cells = [_figure(column, cost.totals[column.level], amount) for column in columns]
    rows.append([*lead, "total", "", "", *cells])
    return Table(machine_title(cost), headers, rows, notes(cost, amount))


def _name(cost: ItemCost) -> str:
    copies = cost.item.copies
    return f"{cost.item.name} x{copies}" if copies > 1 else cost.item.name


def _type(cost: ItemCost) -> str:
    """Return the type, for a program with its section where that says more."""
    item = cost.item
    section = "" if isinstance(item, MapItem) else item.spec.section
    return item.type_name if section in ("", item.type_name) else f"{item.type_name} ({section})"


def _entries(cost: ItemCost) -> str:
    item = cost.item
    if isinstance(item, MapItem):
        return str(cost.max_entries if cost.figures else item.spec.max_entries)
    return f"{item.spec.insn_cnt} insns"


def _figure(column: _Column, figures: Figures, amount: Amount) -> str:
    value = column.value(figures)
    return str(value) if column.header == "RLIMIT pages" else amount(value)


def _cells(cost: ItemCost, columns: list[_Column], amount: Amount) -> list[str]:
    if not cost.figures:
        assert cost.refused is not None
        return [cost.refused.errno, *([""] * (len(columns) - 1))]
    copies = cost.item.copies
    times = cost.figures if copies == 1 else [Figures().plus(f, copies) for f in cost.figures]
    return [_figure(column, times[column.level], amount) for column in columns]


def notes(cost: MachineCost, amount: Amount) -> list[str]:
    """Return the sentences about a machine: refusals, limits that suffice, limits tested."""
    lines = []
    for each in cost.refused:
        assert each.refused is not None
        reason = f": {each.refused.reason}" if each.refused.reason else ""
        lines.append(f"{each.item.name}: {each.refused.errno}{reason}")
    if uses_rlimit(cost):
        lines.append(f"smallest RLIMIT_MEMLOCK that works: {amount(cost.memlock_enough)}")
    if cost.most_pages:
        lines.append(f"memory.max that suffices: {amount(cost.memory_max_enough)}")
    lines += [f"{limit_name(v.limit, amount)}: {outcome(v)}" for v in cost.verdicts]
    return lines


# --- limits ------------------------------------------------------------------------


def limit_name(limit: Limit, amount: Amount) -> str:
    """Return ``RLIMIT_MEMLOCK 64K``."""
    name = "RLIMIT_MEMLOCK" if limit.kind == MEMLOCK else limit.kind
    return f"{name} {amount(limit.nbytes).replace('.0', '')}"


def outcome(verdict: Verdict) -> str:
    """Return ``holds``, or where the limit breaks, in words."""
    if verdict.breaks is not None:
        return f"breaks {place(verdict.breaks)}"
    if verdict.holds is None:
        return "holds for what this kernel accepts; the rest it refuses whatever the limit"
    return "holds"


def place(found: Break) -> str:
    """Return which map or program, which element, and how it ends."""
    copy = f", copy {found.copy} of {found.copies}" if found.copies > 1 else ""
    how = "the OOM killer ends the loader" if found.errno == OOM_KILL else found.errno
    if found.what == "fill":
        return (
            f"at element {found.element} of {found.entries} in map {found.position} "
            f"({found.name}{copy}): {how}"
        )
    if found.what == "load":
        number = f" {found.position}" if found.position else ""
        return f"at program{number} ({found.name}{copy}): {how}"
    return f"at map {found.position} ({found.name}{copy}): {how}"


# --- many machines -------------------------------------------------------------------


def highest_level(cost: MachineCost) -> int:
    """Return the level that takes most."""
    return max(range(len(cost.totals)), key=lambda level: cost.totals[level].charged
               + cost.totals[level].uncharged)


def _summary(costs: list[MachineCost], amount: Amount) -> Table:
    """Return a line for each machine: totals, limits that suffice, limits tested."""
    rlimit = any(uses_rlimit(cost) for cost in costs)
    names = [CREATED, *(str(fill) for fill in costs[0].fills if fill != EMPTY)]
    levels = [0, *(at for at, fill in enumerate(costs[0].fills, 1) if fill != EMPTY)]
    headers = ["kernel", "CPUs", "memlock"]
    headers += ["needs RLIMIT_MEMLOCK"] if rlimit else []
    headers += [f"charged, {name}" for name in names]
    headers += ["uncharged", "needs memory.max"]
    headers += [limit_name(verdict.limit, amount) for verdict in costs[0].verdicts]
    rows = []
    for cost in costs:
        row = [cost.machine.label, str(cost.machine.cpus), amount(cost.totals[0].memlock)]
        row += [amount(cost.memlock_enough) if uses_rlimit(cost) else "-"] if rlimit else []
        row += [amount(cost.totals[level].charged) for level in levels]
        row += [amount(cost.totals[highest_level(cost)].uncharged), amount(cost.memory_max_enough)]
        row += [_short(verdict) for verdict in cost.verdicts]
        rows.append(row)
    refusals: dict[str, None] = {}
    for cost in costs:
        for each in cost.refused:
            assert each.refused is not None
            kernel, name = cost.machine.label, each.item.name
            refusals[f"kernel {kernel} refuses {name}: {each.refused.errno}"] = None
    return Table("all together", headers, rows, list(refusals))


def _short(verdict: Verdict) -> str:
    found = verdict.breaks
    if found is None:
        return "holds" if verdict.holds else "unknown"
    how = "OOM" if found.errno == OOM_KILL else found.errno
    element = f"[{found.element}]" if found.element else ""
    return f"{how} at {found.name}{element}"


def _by_map(costs: list[MachineCost], amount: Amount) -> Table:
    """Return a line for each map: the memory it takes, charged or not, on each machine."""
    chosen = costs
    if len(costs) > _WIDEST:
        # Only the fewest and the most CPUs of each kernel.
        by_kernel: dict[str, list[MachineCost]] = {}
        for cost in costs:
            by_kernel.setdefault(cost.machine.label, []).append(cost)
        chosen = [c for found in by_kernel.values() for c in (found[0], found[-1])]
    headers = ["name", "type", "entries"]
    headers += [f"{cost.machine.release}/{cost.machine.cpus}" for cost in chosen]
    rows = []
    for index, each in enumerate((*costs[0].maps, *costs[0].programs)):
        row = [_name(each), _type(each), _entries(each)]
        for cost in chosen:
            found = (*cost.maps, *cost.programs)[index]
            if found.figures:
                figures = found.figures[highest_level(cost)]
                row.append(amount((figures.charged + figures.uncharged) * found.item.copies))
            else:
                row.append(found.refused.errno if found.refused else "")
        rows.append(row)
    level = str(costs[0].fills[-1]) if costs[0].fills else CREATED
    title = f"memory taken by kernel/CPUs, charged or not ({level})"
    return Table(title, headers, rows, [])
