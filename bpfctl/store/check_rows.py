"""Whether the file is whole and every row of it possible by itself."""

from __future__ import annotations

import posixpath
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from bpfctl import plugins
from bpfctl.errors import Failure
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.machine import FIRST_TRANSIENT_PID
from bpfctl.kernel.mm.memcg import ROOT_ID
from bpfctl.kernel.profile import load
from bpfctl.kernel.records import (
    BtfRecord,
    Counter,
    LruNode,
    Mapping,
    MapRecord,
    Memcg,
    Objcg,
    Pin,
    ProgRecord,
    Setting,
    SimObject,
    Task,
)
from bpfctl.store.check_schema import check_schema
from bpfctl.store.schema import Table, all_tables, table_name
from bpfctl.store.sqlite import SqlStorage
from bpfctl.uapi import INT_MAX, U32_MAX

# Node numbers below zero are list heads.
_SIGNED = frozenset({LruNode})
# Attributes that bpf(2) takes as u32.
_U32 = ("type", "key_size", "value_size", "max_entries", "map_flags")


def check_rows(storage: SqlStorage) -> list[str]:
    """Return what is wrong with single rows; further checks need there to be nothing."""
    return (
        _check_file(storage.conn)
        or list(check_schema(storage.conn))
        or list(_check_values(storage.conn))
        or _check_settings(storage)
        or [*_check_counters(storage), *_check_maps(storage.conn), *_check_paths(storage.conn)]
    )


def _check_file(conn: sqlite3.Connection) -> list[str]:
    try:
        found = [str(row[0]) for row in conn.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as exc:
        return [f"file: {exc}"]
    return [] if found == ["ok"] else [f"file: {text}" for text in found]


def _check_values(conn: sqlite3.Connection) -> Iterator[str]:
    """Check what the types of the columns do not: signs, and that dicts are JSON objects."""
    for table in all_tables():
        u64 = getattr(table.cls, "U64", ())
        for row in conn.execute(table.all_sql):
            named = f"{table.name} {table.key_in(row)}"
            if table.cls not in _SIGNED:
                for name, value in zip(table.columns, row, strict=True):
                    if isinstance(value, int) and value < 0 and name not in u64:
                        yield f"{named}: {name} is {value}"
            if table.dicts:
                try:
                    table.record(row)
                except (ValueError, RecursionError):
                    yield f"{named}: not JSON where it should be"


def _check_settings(storage: SqlStorage) -> list[str]:
    names = [name for (name,) in storage.conn.execute(Table(Setting).keys_sql)]
    known = [field.name for field in fields(Config)]
    if not names or storage.registry(Memcg).get(ROOT_ID) is None:
        return ["the kernel of this state was never booted"]
    odd = [f"settings: {name} is missing" for name in known if name not in names]
    odd += [f"settings: there is no such thing as {name!r}" for name in names if name not in known]
    if odd:
        return odd
    try:
        config = Config.restore(storage.registry(Setting))
        load(config.kernel, config.patch)
    except Failure as exc:
        return [f"settings: {exc.text}"]
    return []


def _check_counters(storage: SqlStorage) -> Iterator[str]:
    """Every counter of a fresh kernel must be there; none may be below what it has given out."""
    table = Table(Counter)
    present = dict(storage.conn.execute(f'SELECT name, value FROM "{table.name}"').fetchall())
    fresh = Kernel.in_memory().storage.registry(Counter)
    for name in fresh.keys_after(None):
        if name not in present:
            yield f"counter {name}: is missing"
    for name, (cls, column, limit) in _GIVEN_OUT.items():
        sql = f'SELECT max("{column}") FROM "{table_name(cls)}" WHERE "{column}" < ?'
        highest = storage.conn.execute(sql, (limit,)).fetchone()[0] or 0
        # Ids are used again after wrapping: a counter below is possible then.
        if name in present and present[name] < highest and highest < INT_MAX // 2:
            yield f"counter {name}: is {present[name]}, and {highest} was given out"


# Counter -> what it numbers: record class, column, and a number that those of others begin at.
_GIVEN_OUT: dict[str, tuple[type[Any], str, int]] = {
    "map_id": (MapRecord, "id", INT_MAX),
    "prog_id": (ProgRecord, "id", INT_MAX),
    "btf_id": (BtfRecord, "id", INT_MAX),
    "object_id": (SimObject, "id", INT_MAX),
    "mapping_id": (Mapping, "id", INT_MAX),
    "memcg": (Memcg, "id", INT_MAX),
    "objcg": (Objcg, "id", INT_MAX),
    "ino": (Pin, "ino", INT_MAX),
    "pid": (Task, "pid", FIRST_TRANSIENT_PID),
}


def _check_maps(conn: sqlite3.Connection) -> Iterator[str]:
    table = Table(MapRecord)
    offered: dict[int, bool] = {}
    for row in conn.execute(table.all_sql):
        rec: MapRecord = table.record(row)
        for name in _U32:
            if getattr(rec, name) > U32_MAX:
                yield f"map {rec.id}: {name} is {getattr(rec, name)}"
        if rec.type not in offered:
            offered[rec.type] = plugins.type_class(rec.type) is not None
        if not offered[rec.type]:
            yield f"map {rec.id}: nothing offers its type {rec.type}"


def _check_paths(conn: sqlite3.Connection) -> Iterator[str]:
    sql = f"SELECT path, parent, kind FROM {table_name(Pin)}"
    for path, parent, kind in conn.execute(sql):
        if kind != "mount" and (not path.startswith("/") or posixpath.dirname(path) != parent):
            yield f"pin {path}: its directory is recorded as {parent}"
