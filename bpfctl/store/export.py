"""The state as text, one JSON object a line, and back.

The first line names the format and the version of the tables (1 where it does not), the last one
counts the lines between; each of those has one
member, ``{"TABLE": {"COLUMN": VALUE, ...}}``. Tables come in the order of ``RECORDS``, then the
elements; rows in the order of their keys. Bytes are written in hexadecimal.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from bpfctl.errors import StateError
from bpfctl.store.migrations import SCHEMA_VERSION
from bpfctl.store.older import BadRow, Older
from bpfctl.store.schema import ELEM_COLUMNS, Table, all_tables, json_text, signed
from bpfctl.store.sqlite import SqlStorage

FORMAT: Final = 1
HEADER: Final = "bpfctl-state"
END: Final = "end"
ELEM: Final = "elem"
# A line holds one program or one element; nothing real comes near.
MAX_LINE_BYTES: Final = 256 << 20
_INT64 = 1 << 63
_BATCH = 5000

_ELEM_SQL = 'SELECT "map", pos, "key", value, aux FROM elem ORDER BY "map", pos'
_ELEM_INSERT = 'INSERT INTO elem ("map", pos, "key", value, aux) VALUES (?, ?, ?, ?, ?)'


def export_lines(storage: SqlStorage) -> Iterator[str]:
    """Yield the lines of an export, without their newlines."""
    storage.flush()
    yield json_text({HEADER: {"format": FORMAT, "version": SCHEMA_VERSION}})
    count = 0
    for table in all_tables():
        for row in storage.conn.execute(table.all_sql):
            yield json_text({table.name: row_to_json(table, row)})
            count += 1
    for mapid, pos, key, value, aux in storage.conn.execute(_ELEM_SQL):
        at = f'"{pos.hex()}"' if isinstance(pos, bytes) else pos
        yield (
            f'{{"elem":{{"map":{mapid},"pos":{at},"key":"{key.hex()}",'
            f'"value":"{value.hex()}","aux":{aux}}}}}'
        )
        count += 1
    yield json_text({END: {"lines": count}})


def row_to_json(table: Table, row: Sequence[Any]) -> dict[str, Any]:
    """Return a row as JSON-able values by column, dicts and unsigned numbers unpacked."""
    record = table.record(row)
    fields: dict[str, Any] = {}
    for name in table.columns:
        value = getattr(record, name)
        fields[name] = value.hex() if isinstance(value, bytes) else value
    return fields


class _BadLine(ValueError):
    """A line of an import is wrong; the text says how."""


def import_lines(storage: SqlStorage, lines: Iterable[bytes], source: str) -> int:
    """Insert the rows of an export into an empty storage; return how many there were.

    :raises StateError: anything is wrong with the text; it names ``source`` and the line.
    """
    reader = _Importer(storage.conn)
    try:
        for line in lines:
            reader.number += 1
            reader.line(line)
        reader.number += 1
        reader.finish()
    except (ValueError, RecursionError, OverflowError, sqlite3.IntegrityError) as exc:
        raise StateError(
            f"cannot import {source}, line {reader.number}: {_reason(exc)}",
            hint="only the output of 'bpfctl sim export' can be imported; nothing was changed",
        ) from exc
    storage.forget()
    return reader.count


def _reason(exc: Exception) -> str:
    if isinstance(exc, (_BadLine, BadRow)):
        return str(exc)
    if isinstance(exc, sqlite3.IntegrityError):
        return "there was a row with this key before"
    if isinstance(exc, UnicodeError):
        return "not UTF-8 text"
    return "nested too deeply" if isinstance(exc, RecursionError) else "not JSON"


class _Importer:
    """Checks line after line, and inserts in batches of one table."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self._conn = conn
        self._tables = {table.name: table for table in all_tables()}
        self._older: Older | None = None
        self._started = False
        self._ended = False
        self.number = 0
        self.count = 0

    def line(self, line: bytes) -> None:
        if self._ended:
            raise _BadLine("text behind the last line")
        if len(line) > MAX_LINE_BYTES:
            raise _BadLine("the line is too long")
        content = json.loads(
            line.decode(), object_pairs_hook=_no_twins, parse_constant=_no_constant
        )
        if not isinstance(content, dict) or len(content) != 1:
            raise _BadLine("expected an object with one member")
        ((name, fields),) = content.items()
        if not isinstance(fields, dict):
            raise _BadLine(f"'{name}' must be an object")
        if not self._started:
            self._start(name, fields)
        elif name == END:
            self._end(fields)
        else:
            self._insert(name, fields)

    def _start(self, name: str, fields: dict[str, Any]) -> None:
        if name != HEADER:
            raise _BadLine("not an export of bpfctl")
        if fields.get("format") != FORMAT:
            raise _BadLine(f"format {fields.get('format')!r}, this bpfctl knows {FORMAT}")
        version = fields.get("version", 1)
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            known = f"this bpfctl knows 1 to {SCHEMA_VERSION}"
            raise _BadLine(f"tables of version {version!r}, {known}")
        if version < SCHEMA_VERSION:
            self._older = Older(version)
        self._started = True

    def _end(self, fields: dict[str, Any]) -> None:
        if fields.get("lines") != self.count:
            raise _BadLine(f"{self.count} rows were read, {fields.get('lines')!r} were written")
        self._ended = True

    def finish(self) -> None:
        """Check that nothing is missing at the end."""
        if not self._ended:
            raise _BadLine("the text ends too early" if self._started else "there is no text")
        if self._older is not None:
            self._older.bring_up_to(self._conn)

    def _insert(self, name: str, fields: dict[str, Any]) -> None:
        table = self._tables.get(name)
        if self._older is not None:
            self._older.insert(name, fields)
        elif table is not None:
            self._conn.execute(table.insert_sql, json_to_row(table, fields))
        elif name == ELEM:
            self._conn.execute(_ELEM_INSERT, _elem_row(fields))
        else:
            raise _BadLine(f"unknown table '{name}'")
        self.count += 1


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _BadLine("a member is there twice")
    return made


def _no_constant(name: str) -> Any:
    raise _BadLine(f"{name} is not a number")


def json_to_row(table: Table, fields: dict[str, Any]) -> tuple[Any, ...]:
    """Return the column values of one imported record.

    :raises ValueError: a column is missing, unknown, or of the wrong type.
    """
    unknown = [name for name in fields if name not in table.columns]
    if unknown:
        raise _BadLine(f"{table.name} has no column '{unknown[0]}'")
    u64 = getattr(table.cls, "U64", ())
    row = []
    for name in table.columns:
        if name not in fields:
            raise _BadLine(f"{table.name}: column '{name}' is missing")
        kind = "u64" if name in u64 else table.types[name].partition(" | ")[0]
        optional = table.types[name].endswith("| None")
        row.append(_column(f"{table.name}.{name}", kind, optional, fields[name]))
    return tuple(row)


def _column(where: str, kind: str, optional: bool, value: Any) -> Any:
    if value is None and optional:
        return None
    check, wanted = _CHECKS.get(kind, _CHECKS["dict"])
    converted = check(value)
    if converted is None:
        raise _BadLine(f"{where}: expected {wanted}")
    return converted


def _int(value: Any) -> int | None:
    return value if type(value) is int and -_INT64 <= value < _INT64 else None


def _u64(value: Any) -> int | None:
    return signed(value) if type(value) is int and 0 <= value < 2 * _INT64 else None


def _str(value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    value.encode()
    return value


def _bytes(value: Any) -> bytes | None:
    if not isinstance(value, str):
        return None
    try:
        # fromhex() alone would take blanks, too.
        return bytes.fromhex(value) if value.isalnum() or not value else None
    except ValueError:
        return None


def _dict(value: Any) -> str | None:
    return json_text(value) if isinstance(value, dict) else None


_CHECKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "int": (_int, "a whole number of 64 bits"),
    "u64": (_u64, "a whole number from 0 to 2**64 - 1"),
    "str": (_str, "text"),
    "bytes": (_bytes, "bytes in hexadecimal"),
    "dict": (_dict, "an object"),
}


def _elem_row(fields: dict[str, Any]) -> tuple[Any, ...]:
    if set(fields) != set(ELEM_COLUMNS):
        raise _BadLine(f"an element has the columns {', '.join(ELEM_COLUMNS)}")
    pos = fields["pos"]
    pos_kind = "bytes" if isinstance(pos, str) else "int"
    kinds = ("int", pos_kind, "bytes", "bytes", "int")
    return tuple(
        _column(f"elem.{name}", kind, False, fields[name])
        for name, kind in zip(ELEM_COLUMNS, kinds, strict=True)
    )
