"""Exports of older versions of the tables: read into such tables, then led to today's."""

from __future__ import annotations

import sqlite3
from typing import Any

from bpfctl.store.migrations import SCHEMA_VERSION, migrate, step
from bpfctl.store.schema import ELEM_COLUMNS, all_tables, json_text, signed

_INT64 = 1 << 63


class BadRow(ValueError):
    """A row does not fit the tables of its version; the text says how."""


class Older:
    """Tables of an older version, empty at first, in a database of their own."""

    def __init__(self, version: int) -> None:
        self._version = version
        # "" is a temporary file that SQLite makes when memory does not do, and removes.
        self._conn = sqlite3.connect("", isolation_level=None)
        for number in range(1, version + 1):
            step(self._conn, number)
        names = [row[0] for row in self._conn.execute("SELECT name FROM sqlite_master"
                                                      " WHERE type = 'table'")]
        self._columns = {name: self._types_of(name) for name in names}
        self._conn.execute("BEGIN")

    def _types_of(self, table: str) -> dict[str, str]:
        return {row[1]: row[2] for row in self._conn.execute(f'PRAGMA table_info("{table}")')}

    def insert(self, table: str, fields: dict[str, Any]) -> None:
        """Insert one row, as an export writes it.

        :raises ValueError: the version has no such table or column, or another type of value.
        """
        types = self._columns.get(table)
        if types is None:
            raise BadRow(f"unknown table '{table}'")
        for name in fields:
            if name not in types:
                raise BadRow(f"{table} has no column '{name}'")
        for name in types:
            if name not in fields:
                raise BadRow(f"{table}: column '{name}' is missing")
        values = [_value(f"{table}.{name}", kind, fields[name]) for name, kind in types.items()]
        names = ", ".join(f'"{name}"' for name in types)
        marks = ", ".join("?" * len(values))
        self._conn.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', values)

    def bring_up_to(self, conn: sqlite3.Connection) -> None:
        """Lead the tables to today's version and copy their rows to ``conn``."""
        try:
            migrate(self._conn, self._version)
        except (ValueError, TypeError, AttributeError, KeyError) as exc:
            raise BadRow(f"its rows cannot be led to version {SCHEMA_VERSION}") from exc
        tables = [(table.name, table.columns) for table in all_tables()]
        for name, columns in [*tables, ("elem", ELEM_COLUMNS)]:
            listed = ", ".join(f'"{column}"' for column in columns)
            marks = ", ".join("?" * len(columns))
            rows = self._conn.execute(f'SELECT {listed} FROM "{name}"')
            conn.executemany(f'INSERT INTO "{name}" ({listed}) VALUES ({marks})', rows)
        self._conn.close()


def _value(where: str, kind: str, value: Any) -> Any:
    """Return what SQLite stores for a value of an export."""
    if value is None:
        return None
    if isinstance(value, dict) and kind == "TEXT":
        return json_text(value)
    if type(value) is int and kind in ("INTEGER", "ANY") and -_INT64 <= value < 2 * _INT64:
        return signed(value)
    if isinstance(value, str) and kind == "TEXT":
        value.encode()
        return value
    if isinstance(value, str) and kind in ("BLOB", "ANY") and (value.isalnum() or not value):
        try:
            return bytes.fromhex(value)
        except ValueError:
            pass
    raise BadRow(f"{where}: not a value of its type")
