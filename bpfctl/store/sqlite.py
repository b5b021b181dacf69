"""The storage protocols of the kernel over one open SQLite transaction.

Registries hand out records that the kernel changes in place; :meth:`SqlStorage.flush` writes
those whose row differs from the one read. Elements are buffered and written in the order they
are walked in, which is several times faster than one by one.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Any, Final, cast

from bpfctl.errors import E, KernelError
from bpfctl.kernel.storage import Cell, Cells, Pos, R, Registry, Storage
from bpfctl.store.lite import sqlite3
from bpfctl.store.schema import Table, signed

# Buffered elements and value bytes after which they are written to the (uncommitted) file.
MAX_PENDING: Final = 50_000
MAX_PENDING_BYTES: Final = 32 << 20
# A transaction that keeps asking for elements reads the whole map once, if it is not too large:
# from this many questions on, when it has at most so many elements for each, and in all.
READ_ALL_FROM: Final = 1 << 10
READ_ALL_SHARE: Final = 64
READ_ALL_MOST: Final = 1 << 18

_GET = 'SELECT value, pos, aux FROM elem WHERE "map" = ? AND "key" = ?'
_INSERT = 'INSERT INTO elem ("map", "key", value, pos, aux) VALUES (?, ?, ?, ?, ?)'
# Another key at the position is an error, not something to be replaced.
_PUT = _INSERT + """ ON CONFLICT ("map", "key")
DO UPDATE SET value = excluded.value, pos = excluded.pos, aux = excluded.aux"""
_DELETE = 'DELETE FROM elem WHERE "map" = ? AND "key" = ?'
_FIRST = 'SELECT "key", pos FROM elem WHERE "map" = ? ORDER BY pos LIMIT 1'
_AFTER = 'SELECT "key", pos FROM elem WHERE "map" = ? AND pos > ? ORDER BY pos LIMIT 1'
_ROWS = 'SELECT "key", value, pos, aux FROM elem WHERE "map" = ? ORDER BY pos'
_ROWS_AFTER = 'SELECT "key", value, pos, aux FROM elem WHERE "map" = ? AND pos > ? ORDER BY pos'
_ANY = 'SELECT 1 FROM elem WHERE "map" = ? LIMIT 1'
_COUNT = 'SELECT count(*) FROM elem WHERE "map" = ?'
_CLEAR = 'DELETE FROM elem WHERE "map" = ?'


class SqlRegistry(Registry[R]):
    """Records of one class: read on demand, kept, and written back where changed."""

    def __init__(self, conn: sqlite3.Connection, cls: type[R]) -> None:
        self._conn = conn
        self._table = Table(cls)
        self._live: dict[Any, R] = {}
        # Row in the file of each live record that has one unchanged under its key.
        self._stored: dict[Any, tuple[Any, ...]] = {}
        # Live records added by this transaction, and those of them that hide an older row.
        self._fresh: set[Any] = set()
        self._hiding: set[Any] = set()
        self._fresh_order: list[Any] | None = None
        self._removed: set[Any] = set()
        # Live records by INDEX values, and the values of which all records are live.
        self._peers: dict[tuple[Any, ...], dict[Any, R]] = {}
        self._whole: set[tuple[Any, ...]] = set()

    def get(self, key: Any) -> R | None:
        found = self._live.get(key)
        if found is not None or key in self._removed:
            return found
        try:
            row = self._conn.execute(self._table.get_sql, self._table.key_tuple(key)).fetchone()
        except (OverflowError, UnicodeEncodeError):
            return None  # no such key can be in the file
        return None if row is None else self._load(key, row)

    def _load(self, key: Any, row: tuple[Any, ...]) -> R:
        record = cast(R, self._table.record(row))
        self._stored[key] = row
        self._keep(key, record)
        return record

    def _keep(self, key: Any, record: R) -> None:
        self._live[key] = record
        if self._table.index:
            self._peers.setdefault(self._slot(record), {})[key] = record

    def _slot(self, record: R) -> tuple[Any, ...]:
        return tuple(getattr(record, name) for name in self._table.index)

    def add(self, record: R) -> None:
        key = self._table.key_of(record)
        _check_storable(self._table, record)
        if key in self._removed:
            self._removed.discard(key)
            self._hiding.add(key)
        self._fresh.add(key)
        if self._fresh_order is not None:
            insort(self._fresh_order, key)
        self._keep(key, record)

    def remove(self, key: Any) -> None:
        if key in self._fresh:
            self._forget_fresh(key)
        elif self.get(key) is not None:
            self._removed.add(key)
            self._stored.pop(key, None)
        else:
            return
        record = self._live.pop(key)
        if self._table.index:
            slot = self._slot(record)
            peers = self._peers[slot]
            del peers[key]
            if not peers:
                del self._peers[slot]

    def _forget_fresh(self, key: Any) -> None:
        self._fresh.discard(key)
        if self._fresh_order is not None:
            del self._fresh_order[bisect_left(self._fresh_order, key)]
        if key in self._hiding:
            self._hiding.discard(key)
            self._removed.add(key)

    def keys_after(self, key: Any) -> Iterator[Any]:
        fresh = self._fresh_after(key)
        at = 0
        for stored in self._stored_keys(key):
            if stored in self._removed or stored in self._fresh:
                continue
            while at < len(fresh) and fresh[at] < stored:
                yield fresh[at]
                at += 1
            yield stored
        yield from fresh[at:]

    def _fresh_after(self, key: Any) -> list[Any]:
        if not self._fresh:
            return []
        if self._fresh_order is None:
            self._fresh_order = sorted(self._fresh)
        return self._fresh_order[0 if key is None else bisect_right(self._fresh_order, key) :]

    def _stored_keys(self, key: Any) -> Iterator[Any]:
        table = self._table
        try:
            if key is None:
                rows = self._conn.execute(table.keys_sql)
            else:
                rows = self._conn.execute(table.keys_after_sql, table.key_tuple(key))
        except (OverflowError, UnicodeEncodeError):
            return iter(())
        return (row[0] for row in rows) if len(table.keys) == 1 else cast(Iterator[Any], rows)

    def find(self, **fields: Any) -> Iterator[R]:
        index = self._table.index
        slot: tuple[Any, ...] | None = None
        if index and all(name in fields for name in index):
            slot = tuple(fields[name] for name in index)
        if slot is None or slot not in self._whole:
            self._load_matching(fields)
            if slot is not None and len(fields) == len(index):
                self._whole.add(slot)
        live = self._live if slot is None else self._peers.get(slot, {})
        wanted = list(fields.items())
        found = [
            (key, record)
            for key, record in live.items()
            if all(getattr(record, name) == value for name, value in wanted)
        ]
        found.sort(key=_first)
        return iter([record for _, record in found])

    def _load_matching(self, fields: dict[str, Any]) -> None:
        """Load the rows of the file that match, so that looking at live records will do."""
        table = self._table
        unpacked = [table.columns[at] for at in table.dicts]
        names = [name for name in fields if name not in unpacked]
        try:
            rows = self._conn.execute(
                table.find_sql(names), [signed_field(fields[n]) for n in names]
            )
        except (OverflowError, UnicodeEncodeError):
            return
        for row in rows:
            key = table.key_in(row)
            if key not in self._live and key not in self._removed:
                self._load(key, row)

    def flush(self) -> None:
        """Write what changed since it was read, and forget the difference."""
        if self._removed:
            keys = [self._table.key_tuple(key) for key in self._removed]
            self._conn.executemany(self._table.delete_sql, keys)
            self._removed.clear()
        changed = list(self._changed())
        if changed:
            # A key that is meant to be new must be: what is there would be lost.
            new = self._fresh - self._hiding
            for sql, rows in (
                (self._table.insert_sql, [row for key, row in changed if key in new]),
                (self._table.put_sql, [row for key, row in changed if key not in new]),
            ):
                if rows:
                    self._conn.executemany(sql, rows)
            self._stored.update(changed)
        self._fresh.clear()
        self._hiding.clear()
        self._fresh_order = None

    def _changed(self) -> Iterator[tuple[Any, tuple[Any, ...]]]:
        row_of = self._table.row
        stored = self._stored
        for key, record in self._live.items():
            row = row_of(record)
            if stored.get(key) != row:
                yield key, row


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def signed_field(value: Any) -> Any:
    """Return a value to compare a column with."""
    return signed(value) if isinstance(value, int) else value


def _check_storable(table: Table, record: Any) -> None:
    """Refuse text that is not Unicode: bytes of another encoding on the command line.

    :raises KernelError: ``EINVAL``.
    """
    for name in table.texts:
        value = getattr(record, name)
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as exc:
                raise KernelError(E.INVAL, f"{table.name}.{name} is not Unicode") from exc


class SqlCells(Cells):
    """Elements of one map; changes wait in memory until they are walked or committed."""

    def __init__(self, storage: SqlStorage, map_id: int) -> None:
        self._storage = storage
        self._conn = storage.conn
        self._map = map_id
        self._pending: dict[bytes, Cell | None] = {}
        # Whether the file has elements of this map; None before the first look.
        self._in_file: bool | None = None
        # All elements of the file, once read; how often the file was asked for one.
        self._all: dict[bytes, Cell] | None = None
        self._asked = 0

    def _has_rows(self) -> bool:
        if self._in_file is None:
            self._in_file = self._conn.execute(_ANY, (self._map,)).fetchone() is not None
        return self._in_file

    def get(self, key: bytes) -> Cell | None:
        found = self._pending.get(key)
        if found is not None or key in self._pending:
            return found
        if self._all is not None:
            return self._all.get(key)
        if not (self._in_file or self._has_rows()):
            return None
        self._asked += 1
        if self._asked >= READ_ALL_FROM and not self._asked & (self._asked - 1):
            self._consider_reading_all()
        row = self._conn.execute(_GET, (self._map, key)).fetchone()
        return cast("Cell | None", row)

    def _consider_reading_all(self) -> None:
        count = self._conn.execute(_COUNT, (self._map,)).fetchone()[0]
        if count <= min(self._asked * READ_ALL_SHARE, READ_ALL_MOST):
            rows = self._conn.execute(_ROWS, (self._map,))
            self._all = {key: (value, pos, aux) for key, value, pos, aux in rows}

    def put(self, key: bytes, value: bytes, pos: Pos, aux: int = 0) -> None:
        self._pending[key] = (value, pos, aux)
        self._storage.note_pending(len(value))

    def delete(self, key: bytes) -> None:
        if self._in_file or self._has_rows():
            self._pending[key] = None
            self._storage.note_pending(0)
        else:
            self._pending.pop(key, None)

    def after(self, pos: Pos | None) -> tuple[bytes, Pos] | None:
        self.flush()
        if pos is None:
            row = self._conn.execute(_FIRST, (self._map,)).fetchone()
        else:
            row = self._conn.execute(_AFTER, (self._map, pos)).fetchone()
        return cast("tuple[bytes, Pos] | None", row)

    def rows(self, pos: Pos | None = None) -> Iterator[tuple[bytes, bytes, Pos, int]]:
        self.flush()
        if pos is None:
            return self._conn.execute(_ROWS, (self._map,))
        return self._conn.execute(_ROWS_AFTER, (self._map, pos))

    def clear(self) -> None:
        self._pending.clear()
        if self._has_rows():
            self._conn.execute(_CLEAR, (self._map,))
            self._in_file = False
        self._all = None

    def flush(self) -> None:
        """Write the buffered changes: deletions first, for their positions may be taken again."""
        pending = self._pending
        if not pending:
            return
        mapid = self._map
        if self._has_rows():
            gone = [(mapid, key) for key, cell in pending.items() if cell is None]
            if gone:
                self._conn.executemany(_DELETE, gone)
        rows = [(mapid, key, *cell) for key, cell in pending.items() if cell is not None]
        if rows:
            rows.sort(key=_pos)
            self._write(rows)
            self._in_file = True
        if self._all is not None:
            self._keep_up()
        pending.clear()

    def _write(self, rows: list[tuple[Any, ...]]) -> None:
        """Write elements; one may take the position that another of them leaves."""
        try:
            self._conn.executemany(_PUT, rows)
        except sqlite3.IntegrityError:
            self._conn.executemany(_DELETE, [row[:2] for row in rows])
            self._conn.executemany(_INSERT, rows)

    def _keep_up(self) -> None:
        """Bring what was read of the file up to date with what was written to it."""
        assert self._all is not None
        for key, cell in self._pending.items():
            if cell is None:
                self._all.pop(key, None)
            else:
                self._all[key] = cell


def _pos(row: tuple[Any, ...]) -> Any:
    return row[3]


class SqlStorage(Storage):
    """All state of one simulated kernel, within one transaction of ``conn``."""

    def __init__(self, conn: sqlite3.Connection) -> None:
        self.conn = conn
        self._registries: dict[type[Any], SqlRegistry[Any]] = {}
        self._cells: dict[int, SqlCells] = {}
        self._nr_pending = 0
        self._pending_bytes = 0

    def registry(self, cls: type[R]) -> Registry[R]:
        found = self._registries.get(cls)
        if found is None:
            found = self._registries[cls] = SqlRegistry(self.conn, cls)
        return found

    def cells(self, map_id: int) -> Cells:
        found = self._cells.get(map_id)
        if found is None:
            found = self._cells[map_id] = SqlCells(self, map_id)
        return found

    def note_pending(self, nr_bytes: int) -> None:
        """Count one buffered element change; write the buffers when they have grown large."""
        self._nr_pending += 1
        self._pending_bytes += nr_bytes
        if self._nr_pending >= MAX_PENDING or self._pending_bytes >= MAX_PENDING_BYTES:
            self.flush_cells()

    def flush_cells(self) -> None:
        """Write the buffered elements of all maps."""
        for cells in self._cells.values():
            cells.flush()
        self._nr_pending = self._pending_bytes = 0

    def flush(self) -> None:
        """Write every change to the transaction; afterwards SQL sees what the kernel sees."""
        for registry in self._registries.values():
            registry.flush()
        self.flush_cells()

    def forget(self) -> None:
        """Drop all that is held in memory, because rows were written behind it."""
        self._registries.clear()
        self._cells.clear()
        self._nr_pending = self._pending_bytes = 0
