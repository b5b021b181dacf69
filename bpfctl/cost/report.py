"""The answer as plain data, for scripts: what docs/cost.md describes, field by field."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from bpfctl.cost.measure import Figures, ItemCost, MachineCost, Verdict
from bpfctl.cost.plan import MapItem

SCHEMA = 1
CREATED = "created"


def all_hold(costs: list[MachineCost]) -> bool | None:
    """Tell whether all limits hold; None: none breaks, but one could not be tested to the end."""
    outcomes = [verdict.holds for cost in costs for verdict in cost.verdicts]
    if False in outcomes:
        return False
    return None if None in outcomes else True


def refused_everywhere(costs: list[MachineCost]) -> list[ItemCost]:
    """Return the maps and programs that no machine accepts, as the last one refused them."""
    refusals = [{id(each.item): each for each in cost.refused} for cost in costs]
    return [
        each
        for item, each in (refusals[-1] if refusals else {}).items()
        if all(item in refused for refused in refusals)
    ]


def as_data(costs: list[MachineCost]) -> dict[str, Any]:
    """Return everything as dicts and lists."""
    return {
        "schema": SCHEMA,
        "holds": all_hold(costs),
        "machines": [_machine(cost) for cost in costs],
    }


def level_names(cost: MachineCost) -> list[str]:
    """Return the names of the levels: the creation, then the fills."""
    return [CREATED, *(str(fill) for fill in cost.fills)]


def schema_text() -> str:
    """Return the JSON Schema of the answer."""
    from importlib import resources  # takes longer to import than all else here

    return (resources.files("bpfctl.cost") / "schema.json").read_text(encoding="utf-8")


def _machine(cost: MachineCost) -> dict[str, Any]:
    names = level_names(cost)
    machine = cost.machine
    return {
        "kernel": machine.kernel,
        "measured": machine.profile.measured,
        "patch": machine.patch,
        "cpus": machine.cpus,
        "page_size": machine.page_size,
        "maps": [_item(each, names, machine.page_size) for each in cost.maps],
        "programs": [_item(each, names, machine.page_size) for each in cost.programs],
        "total": {
            name: {**_figures(figures), "descriptors": figures.descriptors, "memory_current": now}
            for name, figures, now in zip(names, cost.totals, cost.current, strict=True)
        },
        "memlock_enough": cost.memlock_enough,
        "memory_max_enough": cost.memory_max_enough,
        "limits": [_verdict(verdict) for verdict in cost.verdicts],
    }


def _figures(figures: Figures) -> dict[str, int]:
    return {
        "memlock": figures.memlock,
        "rlimit_pages": figures.rlimit_pages,
        "charged": figures.charged,
        "slab": figures.slab,
        "vmalloc": figures.vmalloc,
        "percpu": figures.percpu,
        "pages": figures.pages,
        "uncharged": figures.uncharged,
    }


def _item(cost: ItemCost, names: list[str], page_size: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": cost.item.name,
        "source": cost.source.label,
        "type": cost.item.type_name,
        "copies": cost.item.copies,
    }
    if isinstance(cost.item, MapItem):
        spec = cost.item.spec
        found["key_size"] = spec.key_size
        found["value_size"] = spec.value_size
        found["max_entries"] = cost.max_entries if cost.figures else spec.max_entries
        found["map_flags"] = cost.map_flags if cost.figures else spec.map_flags
    else:
        found["section"] = cost.item.spec.section
        found["insns"] = cost.item.spec.insn_cnt
        found["functions"] = 1 + len(cost.item.spec.subprograms)
    found["refused"] = asdict(cost.refused) if cost.refused else None
    found["descriptor"] = cost.created.descriptors
    found["memlock_enough"] = cost.most_locked * page_size
    found["at"] = {
        name: {"entries": entries, **_figures(figures)}
        for name, entries, figures in zip(names, cost.entries, cost.figures, strict=False)
    }
    return found


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "limit": verdict.limit.kind,
        "bytes": verdict.limit.nbytes,
        "holds": verdict.holds,
        "breaks": None if verdict.breaks is None else asdict(verdict.breaks),
    }
