"""Whether a file has our tables and indexes, and nothing else that could act or hide."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from bpfctl.store.schema import schema_statements

Shape = dict[tuple[str, str], object]


def shape(conn: sqlite3.Connection) -> Shape:
    """Return what a database has by type and name: columns of tables, texts of the rest.

    Columns have their type, NOT NULL and their place in the key; their order and their defaults
    do not count, for every statement names its columns.
    """
    found: Shape = {}
    rows = conn.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    for kind, name, table, sql in rows:
        if kind == "table":
            columns = conn.execute("SELECT * FROM pragma_table_info(?)", (name,))
            options = "STRICT" in (sql or "").rpartition(")")[2].upper()
            found[kind, name] = (options, {c[1]: (c[2], c[3], c[5]) for c in columns})
        else:
            found[kind, name] = (table, " ".join((sql or "").split()))
    return found


def check_schema(conn: sqlite3.Connection) -> Iterator[str]:
    """Compare the tables of a file with those of this version."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for sql in schema_statements():
            made.execute(sql)
        wanted = shape(made)
    finally:
        made.close()
    found = shape(conn)
    for kind, name in sorted(set(wanted) - set(found)):
        yield f"file: {kind} {name!r} is missing"
    for kind, name in sorted(set(found) - set(wanted)):
        yield f"file: there is a {kind} {name!r}, which is none of ours"
    for key in sorted(set(found) & set(wanted)):
        if found[key] != wanted[key]:
            yield f"file: {key[0]} {key[1]!r} is not as we make it"


__all__ = ["check_schema", "shape"]
