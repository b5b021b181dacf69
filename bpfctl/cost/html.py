"""The answer as one HTML page with charts, which needs nothing else: no network, no scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from importlib import resources

from bpfctl import __version__
from bpfctl.cost.boot import Actor
from bpfctl.cost.measure import Figures, MachineCost, Verdict, price
from bpfctl.cost.plan import Plan
from bpfctl.cost.report import all_hold
from bpfctl.cost.svg import Bar, Series, bar_chart, line_chart, size
from bpfctl.cost.table import (
    Table,
    highest_level,
    limit_name,
    machine_table,
    machine_title,
    outcome,
    uses_rlimit,
)

_SWEEP_CPUS = (1, 2, 4, 8, 16, 32, 64, 128)
_SWEEP_FILLS: tuple[str, ...] = tuple(f"{share}%" for share in range(0, 101, 10))
_MAX_BARS = 40
_MAX_TABLES = 12
_MAX_LINES = 6
_WORDS = ("from", "name", "type", "kernel", "limit", "outcome")

_HOLDS = {
    True: ("holds", "All limits hold."),
    False: ("breaks", "A limit breaks."),
    None: ("unsure", "No limit breaks, but a kernel refuses some object whatever the limit."),
}


def render(plan: Plan, costs: list[MachineCost], actor: Actor, command: str = "") -> str:
    """Return the page. Charts of growth boot further kernels: up to 128 CPUs, every 10 % of fill.

    They are drawn for each kernel of ``costs`` at its first CPU count. ``command`` is what made the
    page.
    """
    firsts = list({cost.machine.label: cost for cost in reversed(costs)}.values())[::-1]
    style = (resources.files("bpfctl.cost") / "report.css").read_text(encoding="utf-8")
    body = [
        "<h1>What it costs</h1>",
        f'<p class="soft">{escape(_what(plan))} Simulated by bpfctl {__version__}: kernels booted '
        "in memory, every object created there, every map filled.</p>",
        f'<p class="soft">Made by <code>{escape(command)}</code></p>' if command else "",
        _limits(costs),
        _cards(costs[:_MAX_TABLES]),
        "<h2>Memory by map</h2>",
        *(_by_map(cost) for cost in costs[:_MAX_TABLES]),
        *_growth_with_cpus(plan, costs, firsts, actor),
        *_growth_with_fill(plan, costs if len(costs) <= _MAX_LINES else firsts, actor),
        "<h2>All figures</h2>",
        *(_table(machine_table(cost, size)) for cost in costs[:_MAX_TABLES]),
        _words(),
    ]
    if len(costs) > _MAX_TABLES:
        left = len(costs) - _MAX_TABLES
        body.append(f'<p class="soft">{left} more machines are in the output of --json.</p>')
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>bpfctl cost</title><style>\n{style}</style></head>\n<body><main>"
        + "\n".join(part for part in body if part)
        + "</main></body></html>\n"
    )


def _what(plan: Plan) -> str:
    maps = sum(item.copies for source in plan.sources for item in source.maps)
    programs = sum(item.copies for source in plan.sources for item in source.programs)
    labels = ", ".join(dict.fromkeys(source.label for source in plan.sources))
    parts = [f"{maps} map{'s' if maps != 1 else ''}"] if maps else []
    parts += [f"{programs} program{'s' if programs != 1 else ''}"] if programs else []
    return f"{' and '.join(parts)} from {labels}."


def _limits(costs: list[MachineCost]) -> str:
    verdicts = [(cost, verdict) for cost in costs for verdict in cost.verdicts]
    if not verdicts:
        return ""
    css, text = _HOLDS[all_hold(costs)]
    rows = []
    for (kernel, limit, told, holds), cpus in _same_outcomes(verdicts).items():
        cells = [kernel, cpu_ranges(cpus), limit]
        row = "".join(f'<td class="word">{escape(cell)}</td>' for cell in cells)
        state = _HOLDS[holds][0]
        rows.append(f'<tr>{row}<td class="word {state}">{escape(told)}</td></tr>')
    titles = ("kernel", "CPUs", "limit", "outcome")
    head = "".join(f'<th scope="col" class="word">{title}</th>' for title in titles)
    return (
        f'<h2>Limits: <span class="{css}">{text}</span></h2><div class="scroll">'
        f'<table class="limits"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


Outcome = tuple[str, str, str, bool | None]


def _same_outcomes(verdicts: list[tuple[MachineCost, Verdict]]) -> dict[Outcome, list[int]]:
    """Return the CPU counts of each kernel for which a limit ends the same way."""
    found: dict[Outcome, list[int]] = {}
    for cost, verdict in verdicts:
        kernel = f"kernel {cost.machine.label}"
        told = (kernel, limit_name(verdict.limit, size), outcome(verdict), verdict.holds)
        found.setdefault(told, []).append(cost.machine.cpus)
    return found


def cpu_ranges(counts: list[int]) -> str:
    """Return CPU counts as ``4``, ``1-8``, ``1-3, 8``."""
    parts: list[list[int]] = []
    for count in sorted(set(counts)):
        if parts and count == parts[-1][-1] + 1:
            parts[-1].append(count)
        else:
            parts.append([count])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def _cards(costs: list[MachineCost]) -> str:
    cards = []
    for cost in costs:
        top = cost.totals[highest_level(cost)]
        facts = [("memlock shown", size(cost.totals[0].memlock))]
        if uses_rlimit(cost):
            facts.append(("smallest RLIMIT_MEMLOCK", size(cost.memlock_enough)))
        facts += [
            ("charged to the cgroup, created", size(cost.totals[0].charged)),
            ("charged to the cgroup, at most", size(top.charged)),
            ("charged to nobody", size(top.uncharged)),
            ("memory.max that suffices", size(cost.memory_max_enough)),
        ]
        rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts)
        title = escape(machine_title(cost))
        cards.append(f'<section class="card"><h3>{title}</h3><dl>{rows}</dl></section>')
    return f'<h2>Together</h2><div class="cards">{"".join(cards)}</div>'


def _figure(caption: str, chart: str, table: Table) -> str:
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>{chart}"
        f"<details><summary>The same in figures</summary>{_table(table, titled=False)}</details>"
        "</figure>"
    )


def _by_map(cost: MachineCost) -> str:
    level = highest_level(cost)
    fill = "" if level == 0 else f", {cost.fills[level - 1]}"
    bars = []
    for each in (*cost.maps, *cost.programs):
        if each.figures:
            figures = Figures().plus(each.figures[level], each.item.copies)
            copies = f" x{each.item.copies}" if each.item.copies > 1 else ""
            name = f"{each.item.name}{copies} ({each.item.type_name})"
            bars.append(Bar(name, [figures.charged, figures.uncharged]))
    bars.sort(key=lambda bar: -sum(bar.parts))
    rows = [[bar.name, *map(size, bar.parts)] for bar in bars]
    rest = bars[_MAX_BARS:]
    bars = bars[:_MAX_BARS]
    if rest:
        parts = [sum(bar.parts[at] for bar in rest) for at in range(2)]
        bars.append(Bar(f"{len(rest)} others", parts))
    names = ["charged to the cgroup", "charged to nobody"]
    caption = f"{machine_title(cost)}{fill}"
    chart = bar_chart(f"Memory by map, {caption}", names, bars)
    return _figure(caption, chart, Table("", ["name", *names], rows, []))


# --- growth ------------------------------------------------------------------------------


def _taken(figures: Figures) -> int:
    return figures.charged + figures.uncharged


def _held(cost: MachineCost) -> Callable[[Figures], int]:
    """Return what a limit of this kernel is held against: locked pages, or charged bytes."""
    if uses_rlimit(cost):
        return lambda figures: figures.rlimit_pages * cost.machine.page_size
    return lambda figures: figures.charged


def _growth_with_cpus(
    plan: Plan, costs: list[MachineCost], firsts: list[MachineCost], actor: Actor
) -> list[str]:
    given = sorted({cost.machine.cpus for cost in costs})
    counts = given if len(given) > 2 else sorted({*given, *_SWEEP_CPUS})
    known = {cost.machine: cost for cost in costs}
    taken, held = [], []
    for first in firsts:
        machines = [replace(first.machine, cpus=cpus) for cpus in counts]
        found = [known.get(m) or price(plan, m, first.fills, actor) for m in machines]
        tops = [cost.totals[highest_level(cost)] for cost in found]
        taken.append(Series(first.machine.label, [_taken(top) for top in tops]))
        held.append(Series(_held_name(first), [_held(first)(top) for top in tops]))
    xs = [str(count) for count in counts]
    return ["<h2>Growth with CPUs</h2>", *_pair("possible CPUs", xs, taken, held)]


def _growth_with_fill(plan: Plan, firsts: list[MachineCost], actor: Actor) -> list[str]:
    taken, held = [], []
    several = len({first.machine.cpus for first in firsts}) > 1
    for first in firsts:
        totals = price(plan, first.machine, _SWEEP_FILLS, actor).totals[1:]
        cpus = f", {first.machine.cpus} CPUs" if several else ""
        name = f"{first.machine.label}{cpus}"
        taken.append(Series(name, [_taken(total) for total in totals]))
        held.append(
            Series(f"{_held_name(first)}{cpus}", [_held(first)(total) for total in totals])
        )
    return ["<h2>Growth with fill</h2>", *_pair("elements in every map", _SWEEP_FILLS, taken, held)]


def _held_name(cost: MachineCost) -> str:
    what = "RLIMIT_MEMLOCK" if uses_rlimit(cost) else "memory.max"
    return f"{cost.machine.label}: {what}"


def _pair(
    x_name: str, xs: Sequence[str], taken: list[Series], held: list[Series]
) -> list[str]:
    figures = []
    for caption, series in (
        ("Memory taken from the machine", taken),
        ("Memory that a limit is held against", held),
    ):
        rows = [[x, *(size(each.values[at]) for each in series)] for at, x in enumerate(xs)]
        table = Table("", [x_name, *(each.name for each in series)], rows, [])
        chart = line_chart(f"{caption} by {x_name}", x_name, xs, series)
        figures.append(_figure(caption, chart, table))
    return figures


# --- tables --------------------------------------------------------------------------------


def _table(table: Table, titled: bool = True) -> str:
    words = {at for at, name in enumerate(table.headers) if name in _WORDS}

    def css(at: int) -> str:
        return ' class="word"' if at in words else ""

    head = "".join(
        f'<th scope="col"{css(at)}>{escape(name)}</th>' for at, name in enumerate(table.headers)
    )
    rows = ""
    for row in table.rows:
        cells = "".join(f"<td{css(at)}>{escape(cell)}</td>" for at, cell in enumerate(row))
        rows += f"<tr>{cells}</tr>"
    title = f"<h3>{escape(table.title)}</h3>" if titled else ""
    notes = "".join(f"<li>{escape(note)}</li>" for note in table.notes)
    return (
        f'{title}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f"</table></div>{f'<ul>{notes}</ul>' if notes else ''}"
    )


def _words() -> str:
    return (
        "<h2>The words</h2><p>memlock is the number that fdinfo and bpftool show. Charged bytes "
        "count against memory.max of the loader's cgroup, uncharged ones are taken from the "
        "machine and counted against nobody. Kernels up to 5.10 hold an estimate against "
        "RLIMIT_MEMLOCK of the user instead.</p>"
    )


