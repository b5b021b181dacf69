"""Version 3: the setting that random numbers follow from."""

from __future__ import annotations

import sqlite3


def up(conn: sqlite3.Connection) -> None:
    """Give ``random_seed`` the value that a new machine has."""
    conn.execute("INSERT OR IGNORE INTO setting (name, value) VALUES ('random_seed', '0')")
