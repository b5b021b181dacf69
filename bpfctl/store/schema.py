"""Tables of the state file, derived from the record classes.

``schema.sql`` in this directory holds the same as text, for people; a test keeps it so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

from bpfctl.kernel.records import RECORDS
from bpfctl.light import field_types

# "bpfc": tells our files from other SQLite databases.
APPLICATION_ID = 0x62706663

_NAMES = {"MapRecord": "map", "ProgRecord": "prog", "BtfRecord": "btf", "LinkRecord": "link"}
_TYPES = {"int": "INTEGER", "str": "TEXT", "bytes": "BLOB"}

# Elements lie in the order that dumps and get_next_key walk them; look-ups by key go through
# the index.
ELEM_SQL = """\
CREATE TABLE "elem" (
  "map" INTEGER NOT NULL,
  "pos" ANY NOT NULL,
  "key" BLOB NOT NULL,
  "value" BLOB NOT NULL,
  "aux" INTEGER NOT NULL,
  PRIMARY KEY ("map", "pos")
) STRICT, WITHOUT ROWID"""
ELEM_COLUMNS = ("map", "pos", "key", "value", "aux")
ELEM_INDEX_SQL = 'CREATE UNIQUE INDEX "elem_by_key" ON "elem" ("map", "key")'


def table_name(cls: type[Any]) -> str:
    """Return the table of a record class: its name in snake case."""
    name = cls.__name__
    return _NAMES.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def signed(value: int | None) -> int | None:
    """Wrap an unsigned 64-bit number to the signed one that SQLite can hold."""
    return value - (1 << 64) if value is not None and value >= 1 << 63 else value


def unsigned(value: int | None) -> int | None:
    """Undo :func:`signed`."""
    return value + (1 << 64) if value is not None and value < 0 else value


class Table:
    """How records of one class become rows: names, SQL texts and the two conversions.

    Dicts are stored as JSON; fields named in the class's ``U64`` as their two's complement.
    """

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.name = table_name(cls)
        self.columns: tuple[str, ...] = cls.__match_args__
        self.types: dict[str, str] = field_types(cls)
        self.keys = self.columns[: cls.KEYS]
        self.index: tuple[str, ...] = getattr(cls, "INDEX", ())
        self.key_of: Callable[[Any], Any] = attrgetter(*self.keys)
        self._raw: Callable[[Any], tuple[Any, ...]] = attrgetter(*self.columns)
        u64 = getattr(cls, "U64", ())
        self.dicts = tuple(
            at for at, name in enumerate(self.columns) if self.types[name].startswith("dict")
        )
        self.texts = tuple(name for name in self.columns if self.types[name] == "str")
        self._u64s = tuple(at for at, name in enumerate(self.columns) if name in u64)
        self._plain = not self.dicts and not self._u64s

    def row(self, record: Any) -> tuple[Any, ...]:
        """Return the column values of a record."""
        raw = self._raw(record)
        if self._plain:
            return raw
        values = list(raw)
        for at in self.dicts:
            values[at] = json_text(values[at]) if values[at] else "{}"
        for at in self._u64s:
            values[at] = signed(values[at])
        return tuple(values)

    def record(self, row: Sequence[Any]) -> Any:
        """Return a new record with the column values ``row``.

        :raises ValueError: a dict column does not hold a JSON object.
        """
        if self._plain:
            return self.cls(*row)
        values = list(row)
        for at in self.dicts:
            values[at] = json_dict(values[at])
        for at in self._u64s:
            values[at] = unsigned(values[at])
        return self.cls(*values)

    def key_tuple(self, key: Any) -> tuple[Any, ...]:
        """Return a registry key as column values."""
        return (key,) if len(self.keys) == 1 else key

    def key_in(self, row: Sequence[Any]) -> Any:
        """Return the registry key that a row starts with."""
        return row[0] if len(self.keys) == 1 else tuple(row[: len(self.keys)])

    @cached_property
    def select_sql(self) -> str:
        return f"SELECT {_list(self.columns)} FROM {_quote(self.name)}"

    @cached_property
    def get_sql(self) -> str:
        return f"{self.select_sql} WHERE {self._key_equals}"

    @cached_property
    def put_sql(self) -> str:
        marks = _marks(len(self.columns))
        return f"INSERT OR REPLACE INTO {_quote(self.name)} ({_list(self.columns)}) VALUES {marks}"

    @cached_property
    def insert_sql(self) -> str:
        return self.put_sql.replace("INSERT OR REPLACE", "INSERT", 1)

    @cached_property
    def delete_sql(self) -> str:
        return f"DELETE FROM {_quote(self.name)} WHERE {self._key_equals}"

    @cached_property
    def _key_equals(self) -> str:
        return " AND ".join(f"{_quote(name)} = ?" for name in self.keys)

    @cached_property
    def all_sql(self) -> str:
        return f"{self.select_sql} ORDER BY {_list(self.keys)}"

    @cached_property
    def keys_sql(self) -> str:
        return f"SELECT {_list(self.keys)} FROM {_quote(self.name)} ORDER BY {_list(self.keys)}"

    @cached_property
    def keys_after_sql(self) -> str:
        keys = _list(self.keys)
        return (
            f"SELECT {keys} FROM {_quote(self.name)} "
            f"WHERE ({keys}) > {_marks(len(self.keys))} ORDER BY {keys}"
        )

    def find_sql(self, names: Sequence[str]) -> str:
        """Return the query for rows whose columns ``names`` equal its parameters."""
        if not names:
            return self.select_sql
        return f"{self.select_sql} WHERE " + " AND ".join(f"{_quote(n)} IS ?" for n in names)

    def create_sql(self) -> list[str]:
        """Return the statements that make the table and its index."""
        lines = [f"  {self.column_sql(name)}" for name in self.columns]
        lines.append(f"  PRIMARY KEY ({_list(self.keys)})")
        body = ",\n".join(lines)
        # A single INTEGER key is the rowid itself; WITHOUT ROWID would add nothing.
        is_rowid = len(self.keys) == 1 and self.types[self.keys[0]] == "int"
        options = "STRICT" if is_rowid else "STRICT, WITHOUT ROWID"
        made = [f"CREATE TABLE {_quote(self.name)} (\n{body}\n) {options}"]
        if self.index and self.index != self.keys[: len(self.index)]:
            name = _quote(f"{self.name}_by_{'_'.join(self.index)}")
            made.append(f"CREATE INDEX {name} ON {_quote(self.name)} ({_list(self.index)})")
        return made

    def column_sql(self, name: str) -> str:
        """Return the definition of one column."""
        base, _, optional = self.types[name].partition(" | ")
        nullable = "" if optional == "None" else " NOT NULL"
        return f"{_quote(name)} {_TYPES.get(base, 'TEXT')}{nullable}"


def _quote(name: str) -> str:
    return f'"{name}"'


def _list(names: Sequence[str]) -> str:
    return ", ".join(_quote(name) for name in names)


def _marks(count: int) -> str:
    return "(" + ", ".join("?" * count) + ")"


def json_text(value: Any) -> str:
    """Return the one JSON text that the state file uses for a value."""
    import json

    return json.dumps(value, separators=(",", ":"))


def json_dict(text: str) -> dict[str, Any]:
    """Parse a JSON object.

    :raises ValueError: it is not one.
    """
    if text == "{}":
        return {}
    import json

    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def all_tables() -> list[Table]:
    """Return the tables of every record class, in the order of ``RECORDS``."""
    return [Table(cls) for cls in RECORDS]


def schema_statements() -> list[str]:
    """Return every CREATE statement of a new state file."""
    made = [sql for table in all_tables() for sql in table.create_sql()]
    return [*made, ELEM_SQL, ELEM_INDEX_SQL]


def schema_text() -> str:
    """Return the contents of ``schema.sql``."""
    return "\n\n".join(f"{sql};" for sql in schema_statements()) + "\n"


__all__ = [
    "APPLICATION_ID",
    "ELEM_COLUMNS",
    "Table",
    "all_tables",
    "json_dict",
    "json_text",
    "schema_statements",
    "schema_text",
    "signed",
    "table_name",
    "unsigned",
]
