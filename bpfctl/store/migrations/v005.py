"""Version 5: links, and where programs are attached."""

from __future__ import annotations

import sqlite3

from bpfctl.store.migrations.steps import run

TABLES = """\
CREATE TABLE "link" (
  "id" INTEGER NOT NULL,
  "type" INTEGER NOT NULL,
  "target" INTEGER NOT NULL,
  "attach_type" INTEGER NOT NULL,
  "prog_id" INTEGER NOT NULL,
  "attached" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  "cookie" INTEGER NOT NULL,
  "name" BLOB NOT NULL,
  "objcg" INTEGER NOT NULL,
  "refcnt" INTEGER NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;
CREATE INDEX "link_by_type_target" ON "link" ("type", "target");
CREATE TABLE "attachment" (
  "hook" TEXT NOT NULL,
  "target" INTEGER NOT NULL,
  "pos" INTEGER NOT NULL,
  "prog_id" INTEGER NOT NULL,
  "link_id" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  PRIMARY KEY ("hook", "target", "pos")
) STRICT, WITHOUT ROWID;
CREATE TABLE "attach_point" (
  "hook" TEXT NOT NULL,
  "target" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  "revision" INTEGER NOT NULL,
  PRIMARY KEY ("hook", "target")
) STRICT, WITHOUT ROWID;
"""


def up(conn: sqlite3.Connection) -> None:
    """Make the tables, and the counter of link ids."""
    run(conn, TABLES)
    conn.execute("INSERT OR IGNORE INTO counter (name, value) VALUES ('link_id', 0)")
