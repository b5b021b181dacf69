"""What migrations are written with. Changing what one of these does changes released migrations."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

JsonObject = dict[str, Any]


def run(conn: sqlite3.Connection, text: str) -> None:
    """Execute statements that are separated by semicolons at the ends of lines."""
    for sql in text.split(";\n"):
        if sql.strip():
            conn.execute(sql)


def add_column(conn: sqlite3.Connection, table: str, column: str, definition: str) -> None:
    """Add a column, e.g. ``add_column(conn, "map", "owner", "TEXT NOT NULL DEFAULT '{}'")``.

    A column that is NOT NULL needs a default: the value of the rows that there are.
    """
    conn.execute(f'ALTER TABLE "{table}" ADD COLUMN "{column}" {definition}')


def change_json(
    conn: sqlite3.Connection, table: str, column: str, change: Callable[[JsonObject], JsonObject]
) -> None:
    """Replace the JSON object of every row whose ``change`` differs from it."""
    rows = conn.execute(f'SELECT rowid, "{column}" FROM "{table}"').fetchall()
    for rowid, text in rows:
        before = json.loads(text)
        after = change(dict(before))
        if after != before:
            conn.execute(
                f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (to_json(after), rowid)
            )


def to_json(value: object) -> str:
    """Return the JSON text of a value as the state file writes it."""
    return json.dumps(value, separators=(",", ":"))
