"""Whether simulated objects and the map elements that refer to them agree."""

from __future__ import annotations

import sqlite3
from collections import Counter as Tally
from collections.abc import Iterable, Iterator

from bpfctl.kernel.records import SimObject
from bpfctl.store.holders import stored_maps, stored_rows


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
    for cls, rec in stored_maps(conn):
        for what, number in cls.refers(rec, stored_rows(conn, rec.id)):
            yield rec.id, what, number
