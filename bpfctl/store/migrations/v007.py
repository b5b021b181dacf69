"""Version 7: the setting that names the execution engine."""

from __future__ import annotations

import sqlite3


def up(conn: sqlite3.Connection) -> None:
    """Give ``engine`` the value that a new machine has."""
    conn.execute("INSERT OR IGNORE INTO setting (name, value) VALUES ('engine', 'auto')")
