"""The tables that people and migrations rely on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import bpfctl.store
from bpfctl.kernel.records import RECORDS, MapRecord, Pin
from bpfctl.store import migrations
from bpfctl.store.schema import Table, all_tables, schema_text
from bpfctl.store.sqlite import SqlStorage

SCHEMA_SQL = Path(bpfctl.store.__file__).with_name("schema.sql")


def test_schema_sql_shows_the_tables_of_the_records():
    # After a change of the records write schema_text() to the file; after a release also add a
    # migration and raise SCHEMA_VERSION.
    assert SCHEMA_SQL.read_text() == schema_text()


def test_every_version_has_a_migration():
    assert list(migrations.MIGRATIONS) == list(range(2, migrations.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("cls", RECORDS, ids=lambda cls: cls.__name__)
def test_every_column_has_a_type_that_a_record_survives(cls):
    table = Table(cls)
    assert set(table.types.values()) <= {"int", "int | None", "str", "bytes", "dict[str, Any]"}
    samples = {"int": -5, "int | None": None, "str": "é", "bytes": b"\0\xff"}
    values = [samples.get(table.types[name], {"k": [1, {"x": None}]}) for name in table.columns]
    conn = sqlite3.connect(":memory:")
    migrations.create(conn)
    conn.execute(table.put_sql, table.row(cls(*values)))
    if not getattr(cls, "U64", ()):
        assert table.record(conn.execute(table.all_sql).fetchone()) == cls(*values)


def test_add_missing_upgrades_tables_and_fills_defaults():
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    migrations.create(conn)
    conn.execute("DROP TABLE pin")
    conn.execute("ALTER TABLE map DROP COLUMN priv")
    conn.execute("ALTER TABLE map DROP COLUMN name")
    conn.execute("ALTER TABLE task DROP COLUMN memlock_hard")
    columns = ", ".join(f'"{n}"' for n in Table(MapRecord).columns if n not in ("priv", "name"))
    conn.execute(f"INSERT INTO map ({columns}) VALUES (1{', 0' * columns.count(',')})")
    migrations.add_missing(conn)
    storage = SqlStorage(conn)
    assert storage.registry(MapRecord).get(1) == MapRecord(1)
    assert storage.registry(Pin).get("/") is None
    for table in all_tables():
        present = {row[1] for row in conn.execute(f'PRAGMA table_info("{table.name}")')}
        assert present == set(table.columns)
