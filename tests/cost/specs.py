"""Plans of one map, from the specs that the measured cases use."""

from __future__ import annotations

from typing import Any

from bpfctl.cost.boot import Actor
from bpfctl.cost.choices import Limit, Machine
from bpfctl.cost.limits import check
from bpfctl.cost.measure import Break, ItemCost, MachineCost, price
from bpfctl.cost.plan import MapItem, Plan, Source
from bpfctl.libbpf.mapspec import MapSpec
from oracle.making import blob_of, type_number

Spec = dict[str, Any]
ROOT = Actor()


def map_spec(spec: Spec) -> MapSpec:
    """Return the map that ``spec`` asks for, with its inner template."""
    blob = blob_of(spec)
    return MapSpec(
        spec.get("name", "map1"),
        type_number(spec["type"]),
        spec.get("key", 0),
        spec.get("value", 0),
        spec.get("max", 0),
        spec.get("flags", 0),
        spec.get("numa", 0),
        spec.get("extra", 0),
        btf_key_type_id=blob[1] if blob else 0,
        btf_value_type_id=blob[2] if blob else 0,
        inner=map_spec(spec["inner"]) if "inner" in spec else None,
    )


def plan_of(*specs: Spec) -> Plan:
    """Return a plan with a source for each map."""
    sources = []
    for spec in specs:
        blob = blob_of(spec)
        sources.append(Source("test", [MapItem(map_spec(spec))], btf=blob[0] if blob else None))
    return Plan(sources)


def priced(machine: Machine, fills: list[int | str], *specs: Spec) -> MachineCost:
    return price(plan_of(*specs), machine, fills, ROOT)


def only_map(cost: MachineCost) -> ItemCost:
    assert len(cost.maps) == 1
    return cost.maps[0]


def broken(machine: Machine, fills: list[int | str], limit: Limit, *specs: Spec) -> Break | None:
    """Return where a limit breaks."""
    plan = plan_of(*specs)
    return check(plan, price(plan, machine, fills, ROOT), ROOT, limit).breaks
