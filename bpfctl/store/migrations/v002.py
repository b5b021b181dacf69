"""Version 2: what every map has beside ``priv``, as columns: special fields, owning program."""

from __future__ import annotations

import json
import sqlite3

from bpfctl.store.migrations.steps import add_column, to_json


def up(conn: sqlite3.Connection) -> None:
    """Move ``priv["fields"]`` and ``priv["owner"]`` of maps to columns of their own."""
    add_column(conn, "map", "fields", "TEXT NOT NULL DEFAULT '{}'")
    add_column(conn, "map", "owner", "TEXT NOT NULL DEFAULT '{}'")
    for map_id, text in conn.execute('SELECT "id", "priv" FROM "map"').fetchall():
        priv = json.loads(text)
        if "fields" not in priv and "owner" not in priv:
            continue
        fields, owner = priv.pop("fields", {}), priv.pop("owner", {})
        conn.execute(
            'UPDATE "map" SET "priv" = ?, "fields" = ?, "owner" = ? WHERE "id" = ?',
            (to_json(priv), to_json(fields), to_json(owner), map_id),
        )
