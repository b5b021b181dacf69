"""Version 4: a table for what programs print or send to perf rings."""

from __future__ import annotations

import sqlite3

from bpfctl.store.migrations.steps import run

TABLES = """\
CREATE TABLE "output" (
  "kind" TEXT NOT NULL,
  "ring" INTEGER NOT NULL,
  "seq" INTEGER NOT NULL,
  "data" BLOB NOT NULL,
  PRIMARY KEY ("kind", "ring", "seq")
) STRICT, WITHOUT ROWID;
"""


def up(conn: sqlite3.Connection) -> None:
    """Make the table."""
    run(conn, TABLES)
