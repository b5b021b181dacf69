"""The tables that people and migrations rely on."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import bpfctl.store
from bpfctl.kernel.records import RECORDS
from bpfctl.store import migrations
from bpfctl.store.schema import Table, schema_text

SCHEMA_SQL = Path(bpfctl.store.__file__).with_name("schema.sql")


def test_schema_sql_shows_the_tables_of_the_records():
    # docs/state-file.md says how to change the tables.
    assert SCHEMA_SQL.read_text() == schema_text()


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
