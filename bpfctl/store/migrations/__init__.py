"""Versions of the state file's tables, and the steps from one to the next.

Each version is a module ``vNNN`` with a function ``up(conn)`` that leads to it from the version
before. It names its tables and columns itself, in SQL: a record class that changes later must
not change what it does. **A migration that is on the main branch is never edited**; a test keeps
their digests. Files of an older version are brought up to date in the transaction of the first
command that writes to them, or in one of their own before the first that reads.

How to add one is in ``docs/state-file.md``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

# A line for each version, oldest first: what it changed.
VERSIONS: Final = (
    "the first tables",
    "map: columns fields and owner",
    "setting: random_seed",
    "output: what programs printed or sent",
    "links, attachments, attach points",
    "alloc, objcg, memcg: per-CPU charges of kernels before 5.17",
    "setting: engine",
)
SCHEMA_VERSION = len(VERSIONS)


def create(conn: sqlite3.Connection) -> None:
    """Make all tables of the current version in an empty database (transaction open)."""
    from bpfctl.store.schema import APPLICATION_ID, schema_statements

    for sql in schema_statements():
        conn.execute(sql)
    conn.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    conn.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def step(conn: sqlite3.Connection, version: int) -> None:
    """Lead a database of the version before to ``version`` (write transaction open)."""
    import_module(f"bpfctl.store.migrations.v{version:03}").up(conn)
    conn.execute(f"PRAGMA user_version = {version}")


def migrate(conn: sqlite3.Connection, version: int) -> None:
    """Bring a file of ``version`` up to date (write transaction open)."""
    for number in range(version + 1, SCHEMA_VERSION + 1):
        step(conn, number)
