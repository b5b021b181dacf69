"""Whether simulated objects and the map elements that refer to them agree."""

from __future__ import annotations

import sqlite3
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from bpfctl.kernel.records import SimObject
from bpfctl.uapi import MAP_TYPE_NUMBER

# Map type -> (column, what its first 8 bytes are: an object, or a cgroup by its memcg).
_REFERENCES = {
    **dict.fromkeys(
        ("sk_storage", "inode_storage", "task_storage", "cgrp_storage"), ("key", "object")
    ),
    **dict.fromkeys(("cgroup_storage", "percpu_cgroup_storage"), ("key", "cgroup")),
    **dict.fromkeys(("sockmap", "sockhash", "xskmap", "reuseport_sockarray"), ("value", "object")),
}

_ELEMENTS = """
SELECT map.id, map.type, elem.key, elem.value FROM map JOIN elem ON elem."map" = map.id
WHERE map.type IN ({})
"""


def check_objects(conn: sqlite3.Connection, objects: Iterable[SimObject]) -> Iterator[str]:
    """Compare the elements that objects count by map with those that there are."""
    by_cgroup = {}
    noted: dict[int, object] = {}
    for found in objects:
        noted[found.id] = found.priv.get("maps", {})
        if found.kind == "cgroup" and not found.priv.get("dead"):
            by_cgroup[found.priv.get("memcg")] = found.id
    elements: dict[int, Tally[str]] = {}
    for map_id, what, number in _references(conn):
        owner = by_cgroup.get(number, 0) if what == "cgroup" else number
        if owner not in noted:
            yield f"map {map_id}: an element of {what} {number}, which does not exist"
        else:
            elements.setdefault(owner, Tally())[str(map_id)] += 1
    for obj_id, maps in noted.items():
        there = dict(elements.get(obj_id, {}))
        if maps != there:
            yield f"object {obj_id}: notes the elements {maps}, there are {there}"


def _references(conn: sqlite3.Connection) -> Iterator[tuple[int, str, int]]:
    by_number = {MAP_TYPE_NUMBER[name]: where for name, where in _REFERENCES.items()}
    numbers = ", ".join(str(number) for number in by_number)
    for map_id, number, key, value in conn.execute(_ELEMENTS.format(numbers)):
        column, what = by_number[number]
        content = key if column == "key" else value
        yield map_id, what, int.from_bytes(content[:8], "little")
