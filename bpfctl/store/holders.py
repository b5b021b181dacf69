"""Which map elements keep other objects alive."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from bpfctl.store.schema import json_dict
from bpfctl.uapi import MAP_TYPE_NUMBER

# Map type: what its elements hold, and where in the stored value the 4-byte id stands.
_HELD: dict[str, tuple[str, int]] = {
    "array_of_maps": ("map", 0),
    "hash_of_maps": ("map", 0),
    "prog_array": ("prog", 0),
    "devmap": ("prog", 4),
    "devmap_hash": ("prog", 4),
    "cpumap": ("prog", 4),
}

# What a registered struct_ops map holds: its programs, and itself.
_STRUCT_OPS_PRIV = "SELECT id, priv FROM map WHERE type = ?"
_INUSE = 1

_VALUES = """
SELECT map.type, elem.value FROM map JOIN elem ON elem."map" = map.id WHERE map.type IN ({})
"""


def held_by_elements(conn: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    """Yield (kind, id) of the object behind every element that holds one."""
    by_number = {MAP_TYPE_NUMBER[name]: held for name, held in _HELD.items()}
    numbers = ", ".join(str(number) for number in by_number)
    for number, value in conn.execute(_VALUES.format(numbers)):
        kind, at = by_number[number]
        obj_id = int.from_bytes(value[at : at + 4], "little")
        if obj_id:
            yield kind, obj_id
    yield from _held_by_struct_ops(conn)


def _held_by_struct_ops(conn: sqlite3.Connection) -> Iterator[tuple[str, int]]:
    for map_id, text in conn.execute(_STRUCT_OPS_PRIV, (MAP_TYPE_NUMBER["struct_ops"],)):
        priv = json_dict(text)
        progs = priv.get("progs", ())
        if isinstance(progs, list):
            yield from (("prog", prog_id) for prog_id in progs if isinstance(prog_id, int))
        if priv.get("state") == _INUSE:
            yield "map", map_id
