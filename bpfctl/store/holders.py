"""What maps keep alive and what they refer to, told by their types from what is stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from bpfctl import plugins
from bpfctl.kernel.records import MapRecord
from bpfctl.store.schema import Table

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.facts import Ref, Row
    from bpfctl.kernel.bpf.map import MapType

TIMER = "timer"
_ROWS = 'SELECT "key", value, pos, aux FROM elem WHERE "map" = ? ORDER BY pos'


def stored_maps(conn: sqlite3.Connection) -> Iterator[tuple[type[MapType], MapRecord]]:
    """Yield every map whose type is installed."""
    table = Table(MapRecord)
    for row in conn.execute(table.all_sql):
        rec: MapRecord = table.record(row)
        cls = plugins.type_class(rec.type)
        if cls is not None:
            yield cls, rec


def stored_rows(conn: sqlite3.Connection, map_id: int) -> Iterator[Row]:
    """Yield the elements of a map; nothing is read before the first is asked for."""
    yield from cast("Iterator[Row]", conn.execute(_ROWS, (map_id,)))


def held_by_maps(conn: sqlite3.Connection) -> Iterator[Ref]:
    """Yield (kind, id) of the object behind every reference that a map has."""
    for cls, rec in stored_maps(conn):
        yield from cls.holds(rec, stored_rows(conn, rec.id))


def held_by_timers(conn: sqlite3.Connection) -> Iterator[Ref]:
    """Yield (kind, id) of the program behind every timer's callback."""
    for (data,) in conn.execute('SELECT "data" FROM output WHERE "kind" = ?', (TIMER,)):
        prog_id = json.loads(data)["prog"]
        if prog_id:
            yield "prog", prog_id
