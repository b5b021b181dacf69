"""Lookups written out in the text of a program, where the map is known when it is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.facts import State
    from bpfctl.kernel.bpf.vm.py.emit import Emitter
    from bpfctl.kernel.bpf.vm.vm import Vm

TABLE, CELLS = "table", "cells"


@dataclass(frozen=True)
class MapShape:
    """How a map lies in memory: all that the text of a program depends on."""

    id: int
    kind: str
    key_size: int
    slot: int
    stride: int
    entries: int
    percpu: bool


def shape_of(vm: Vm, map_id: int) -> MapShape | None:
    """Return the shape of a map whose lookups need no call of its type."""
    from bpfctl.kernel.bpf.map import MapType
    from bpfctl.kernel.bpf.vm.resident import ResidentTable

    handle = vm.handle(map_id)
    resident = handle.resident
    if resident is None or type(handle.map).prog_found is not MapType.prog_found:
        return None
    kind = TABLE if isinstance(resident, ResidentTable) else CELLS
    layout = resident.layout
    rec = handle.rec
    return MapShape(
        map_id, kind, rec.key_size, layout.slot, layout.size, rec.max_entries, layout.percpu
    )


def lookup(emit: Emitter, shape: MapShape, state: State) -> bool:
    """Write bpf_map_lookup_elem() on a map; False: it has to be called."""
    if shape.kind == TABLE:
        _table(emit, shape, state)
        return True
    if shape.key_size in (4, 8):
        _cells(emit, shape, state)
        return True
    return False


def _key(emit: Emitter, size: int, state: State) -> str:
    text = emit._read(2, 0, size, state)
    emit.lines.append(f"k = {text}")
    return "k"


def _cpu(emit: Emitter, shape: MapShape) -> str:
    if not shape.percpu:
        return ""
    emit.needs.cpu.add(shape.slot)
    return f" + q{shape.slot}"


def _table(emit: Emitter, shape: MapShape, state: State) -> None:
    key = _key(emit, 4, state)
    base = emit.needs.bind(f"t{shape.id}", "table", shape.id)
    found = f"{base} + {key} * {shape.stride}{_cpu(emit, shape)}"
    emit.lines.append(f"{emit.reg(0)} = {found} if {key} < {shape.entries} else 0")


def _cells(emit: Emitter, shape: MapShape, state: State) -> None:
    key = _key(emit, shape.key_size, state)
    get = emit.needs.bind(f"t{shape.id}", "cells", shape.id)
    load = emit.needs.bind(f"l{shape.id}", "load", shape.id)
    r0 = emit.reg(0)
    emit.lines.append(f"{r0} = {get}({key}) or {load}({key})")
    if shape.percpu:
        emit.lines.append(f"if {r0}: {r0} = {r0}{_cpu(emit, shape)}")
