"""Where a simulated kernel keeps its state: the protocols, and the one in memory.

The kernel holds records (see :mod:`bpfctl.kernel.records`) by reference and changes them in
place; a storage notices changed records by itself when it flushes. Map elements are kept apart,
in :class:`Cells`, because a map may have millions of them.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

R = TypeVar("R")

# One element: value, position in iteration order, and a number private to the map type.
Pos = int | bytes
Cell = tuple[bytes, Pos, int]


class Registry(Protocol[R]):
    """Records of one class by key (an int or str; a tuple where the class has several keys)."""

    def get(self, key: Any) -> R | None:
        """Return the record itself (changes to it are kept), or None."""
        ...

    def add(self, record: R) -> None:
        """Keep a new record; its key must be free."""
        ...

    def remove(self, key: Any) -> None:
        """Forget a record; unknown keys are ignored."""
        ...

    def keys_after(self, key: Any) -> Iterator[Any]:
        """Yield keys greater than ``key`` in ascending order; None starts at the first."""
        ...

    def find(self, **fields: Any) -> Iterator[R]:
        """Yield, in key order, the records whose ``fields`` equal the values given."""
        ...


class Cells(Protocol):
    """The elements of one map: key -> (value, pos, aux), walked in the order of ``pos``.

    Positions are unique in a map and all of one type: int (below 2**63) or bytes.
    """

    def get(self, key: bytes) -> Cell | None: ...

    def put(self, key: bytes, value: bytes, pos: Pos, aux: int = 0) -> None:
        """Insert, or replace what ``key`` had (position included)."""
        ...

    def delete(self, key: bytes) -> None: ...

    def after(self, pos: Pos | None) -> tuple[bytes, Pos] | None:
        """Return key and position of the first element behind ``pos`` (None: the very first)."""
        ...

    def rows(self, pos: Pos | None = None) -> Iterator[tuple[bytes, bytes, Pos, int]]:
        """Yield (key, value, pos, aux) behind ``pos`` in order. The map must not change
        meanwhile."""
        ...

    def clear(self) -> None: ...


class Storage(Protocol):
    """All state of one simulated kernel."""

    def registry(self, cls: type[R]) -> Registry[R]:
        """Return the records of one class; always the same object for a class."""
        ...

    def cells(self, map_id: int) -> Cells:
        """Return the elements of map ``map_id`` (empty if it has none)."""
        ...


class MemoryRegistry(Registry[R]):
    """Records in a dict, with a second one over the class's ``INDEX`` fields."""

    def __init__(self, cls: type[R]) -> None:
        self._nr_keys: int = cls.KEYS  # type: ignore[attr-defined]
        self._names: tuple[str, ...] = cls.__match_args__[: self._nr_keys]  # type: ignore[attr-defined]
        self._index_names: tuple[str, ...] = getattr(cls, "INDEX", ())
        self._records: dict[Any, R] = {}
        self._index: dict[tuple[Any, ...], dict[Any, R]] = {}

    def _key(self, record: R) -> Any:
        if self._nr_keys == 1:
            return getattr(record, self._names[0])
        return tuple(getattr(record, name) for name in self._names)

    def get(self, key: Any) -> R | None:
        return self._records.get(key)

    def _index_key(self, record: R) -> tuple[Any, ...]:
        return tuple(getattr(record, name) for name in self._index_names)

    def add(self, record: R) -> None:
        key = self._key(record)
        self._records[key] = record
        if self._index_names:
            self._index.setdefault(self._index_key(record), {})[key] = record

    def remove(self, key: Any) -> None:
        record = self._records.pop(key, None)
        if record is not None and self._index_names:
            slot = self._index_key(record)
            peers = self._index[slot]
            del peers[key]
            if not peers:
                del self._index[slot]

    def keys_after(self, key: Any) -> Iterator[Any]:
        return iter([k for k in sorted(self._records) if key is None or k > key])

    def find(self, **fields: Any) -> Iterator[R]:
        wanted = list(fields.items())
        records = self._records
        if self._index_names and all(name in fields for name in self._index_names):
            records = self._index.get(tuple(fields[name] for name in self._index_names), {})
        return iter(
            [
                record
                for _, record in sorted(records.items(), key=lambda item: item[0])
                if all(getattr(record, name) == value for name, value in wanted)
            ]
        )


class MemoryCells(Cells):
    """Elements in a dict, and a sorted list of positions from the first walk on."""

    def __init__(self) -> None:
        self._cells: dict[bytes, Cell] = {}
        self._keys: dict[Pos, bytes] = {}
        self._order: list[Any] | None = None
        # Maps are read far more often than anything else happens to them.
        self.get = self._cells.get  # type: ignore[method-assign, assignment]

    def get(self, key: bytes) -> Cell | None:
        return self._cells.get(key)

    def put(self, key: bytes, value: bytes, pos: Pos, aux: int = 0) -> None:
        old = self._cells.get(key)
        if old is not None and old[1] != pos:
            self._forget(old[1])
            old = None
        self._cells[key] = (value, pos, aux)
        if old is None:
            self._keys[pos] = key
            if self._order is not None:
                insort(self._order, pos)

    def _forget(self, pos: Pos) -> None:
        del self._keys[pos]
        if self._order is not None:
            del self._order[bisect_right(self._order, pos) - 1]

    def delete(self, key: bytes) -> None:
        old = self._cells.pop(key, None)
        if old is not None:
            self._forget(old[1])

    def _sorted(self) -> list[Any]:
        if self._order is None:
            self._order = sorted(self._keys)
        return self._order

    def after(self, pos: Pos | None) -> tuple[bytes, Pos] | None:
        order = self._sorted()
        index = 0 if pos is None else bisect_right(order, pos)
        if index >= len(order):
            return None
        return self._keys[order[index]], order[index]

    def rows(self, pos: Pos | None = None) -> Iterator[tuple[bytes, bytes, Pos, int]]:
        order = self._sorted()
        for at in order[0 if pos is None else bisect_right(order, pos) :]:
            key = self._keys[at]
            value, _, aux = self._cells[key]
            yield key, value, at, aux

    def clear(self) -> None:
        self._cells.clear()
        self._keys.clear()
        self._order = None


class MemoryStorage(Storage):
    """State that goes with the process."""

    def __init__(self) -> None:
        self._registries: dict[type[Any], MemoryRegistry[Any]] = {}
        self._cells: dict[int, MemoryCells] = {}

    def registry(self, cls: type[R]) -> Registry[R]:
        found = self._registries.get(cls)
        if found is None:
            found = self._registries[cls] = MemoryRegistry(cls)
        return found

    def cells(self, map_id: int) -> Cells:
        found = self._cells.get(map_id)
        if found is None:
            found = self._cells[map_id] = MemoryCells()
        return found
