"""Which map elements keep other objects alive."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

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
