"""Versions of the state file's tables, and the steps from one to the next.

A migration is written once and never edited after its release. Files of an older version are
brought up to date in the transaction of the first command that writes to them, or in one of
their own before the first that reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from bpfctl.store.schema import APPLICATION_ID, all_tables, schema_statements

# Version 1: one table for each record class, and "elem" for the elements of maps.
SCHEMA_VERSION = 1

Migration = Callable[[sqlite3.Connection], None]

# What leads from version N - 1 to version N.
MIGRATIONS: dict[int, Migration] = {}


def create(conn: sqlite3.Connection) -> None:
    """Make all tables of the current version in an empty database (transaction open)."""
    for sql in schema_statements():
        conn.execute(sql)
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    conn.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def migrate(conn: sqlite3.Connection, version: int) -> None:
    """Bring a file of ``version`` up to date (write transaction open)."""
    for number in range(version + 1, SCHEMA_VERSION + 1):
        MIGRATIONS[number](conn)
        conn.execute(f"PRAGMA user_version = {number}")


def add_missing(conn: sqlite3.Connection) -> None:
    """Add tables and columns that record classes have and the file lacks.

    The body of most migrations: new columns get the default of their record field.
    """
    for table in all_tables():
        present = {row[1] for row in conn.execute(f'PRAGMA table_info("{table.name}")')}
        if not present:
            for sql in table.create_sql():
                conn.execute(sql)
            continue
        for name in table.columns:
            if name not in present:
                conn.execute(
                    f'ALTER TABLE "{table.name}" ADD COLUMN {table.column_sql(name)}'
                    f" DEFAULT {_literal(table.default(name))}"
                )


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"
