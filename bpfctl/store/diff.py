"""What differs between two state files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bpfctl.store.export import row_to_json
from bpfctl.store.schema import Table, all_tables
from bpfctl.store.sqlite import SqlStorage

_ELEMS = 'SELECT "map", "key", value FROM elem ORDER BY "map", "key"'

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that only ``a`` has (``removed``), only ``b`` (``added``), or both (``changed``).

    ``fields`` has the pair of values by column for a changed row, the only values otherwise.
    """

    table: str
    key: dict[str, Any]
    change: str
    fields: dict[str, Any]


def differences(a: SqlStorage, b: SqlStorage) -> Iterator[Difference]:
    """Yield the differences, table by table and in the order of keys; holds two rows at a time.

    Positions of elements do not count, only what programs can see: key and value.
    """
    for table in all_tables():
        yield from _table_differences(table, a, b)
    nr_keys = 2
    pairs = _paired(_rows(a, _ELEMS), _rows(b, _ELEMS), nr_keys)
    yield from _differences("elem", pairs, nr_keys, _elem_fields)


def _rows(storage: SqlStorage, sql: str) -> Iterator[Row]:
    return iter(storage.conn.execute(sql))


def _table_differences(table: Table, a: SqlStorage, b: SqlStorage) -> Iterator[Difference]:
    def fields(row: Row) -> dict[str, Any]:
        return row_to_json(table, row)

    nr_keys = len(table.keys)
    pairs = _paired(_rows(a, table.all_sql), _rows(b, table.all_sql), nr_keys)
    return _differences(table.name, pairs, nr_keys, fields)


def _paired(
    left: Iterator[Row], right: Iterator[Row], nr_keys: int
) -> Iterator[tuple[Row | None, Row | None]]:
    """Merge two sorted streams; rows with the same key come together, equal ones not at all."""
    one, other = next(left, None), next(right, None)
    while one is not None or other is not None:
        order = _compare(one, other, nr_keys)
        if order == 0:
            if one != other:
                yield one, other
            one, other = next(left, None), next(right, None)
        elif order < 0:
            yield one, None
            one = next(left, None)
        else:
            yield None, other
            other = next(right, None)


def _compare(one: Row | None, other: Row | None, nr_keys: int) -> int:
    if one is None or other is None:
        return -1 if other is None else 1
    mine, theirs = one[:nr_keys], other[:nr_keys]
    return (mine > theirs) - (mine < theirs)


def _differences(
    name: str,
    pairs: Iterator[tuple[Row | None, Row | None]],
    nr_keys: int,
    fields_of: Callable[[Row], dict[str, Any]],
) -> Iterator[Difference]:
    for one, other in pairs:
        before = fields_of(one) if one is not None else {}
        after = fields_of(other) if other is not None else {}
        either = before or after
        names = list(either)
        key = {column: either[column] for column in names[:nr_keys]}
        if before and after:
            fields = {
                column: (before[column], after[column])
                for column in names
                if before[column] != after[column]
            }
            yield Difference(name, key, "changed", fields)
        else:
            fields = {column: either[column] for column in names[nr_keys:]}
            yield Difference(name, key, "added" if after else "removed", fields)


def _elem_fields(row: Sequence[Any]) -> dict[str, Any]:
    return {"map": row[0], "key": row[1].hex(), "value": row[2].hex()}
