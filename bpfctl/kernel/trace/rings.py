"""Records that programs put out: bounded rings that live in the state.

The ring of the trace pipe overwrites its oldest lines, a perf event's loses the newest records,
as the kernel's do; both count what was lost.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpfctl.kernel.records import Counter, Output
from bpfctl.kernel.storage import Storage


class Rings:
    """All rings of a machine. A ring is a ``kind`` and a number."""

    def __init__(self, storage: Storage) -> None:
        self._records = storage.registry(Output)
        self._counters = storage.registry(Counter)

    def _counter(self, kind: str, ring: int, what: str) -> Counter:
        name = f"{kind}_{ring}_{what}"
        found = self._counters.get(name)
        if found is None:
            found = Counter(name, 0)
            self._counters.add(found)
        return found

    def _value(self, kind: str, ring: int, what: str) -> int:
        found = self._counters.get(f"{kind}_{ring}_{what}")
        return found.value if found is not None else 0

    def append(self, kind: str, ring: int, data: bytes, limit: int, overwrite: bool) -> bool:
        """Add a record to a ring of ``limit`` bytes; tell whether it was kept."""
        used = self._counter(kind, ring, "used")
        while overwrite and used.value and used.value + len(data) > limit:
            oldest = self._first(kind, ring)
            if oldest is None:
                break
            self._drop(kind, ring, oldest)
            self._counter(kind, ring, "lost").value += 1
        if used.value + len(data) > limit:
            self._counter(kind, ring, "lost").value += 1
            return False
        following = self._counter(kind, ring, "seq")
        following.value += 1
        self._records.add(Output(kind, ring, following.value, data))
        used.value += len(data)
        return True

    def _first(self, kind: str, ring: int) -> Output | None:
        for key in self._records.keys_after((kind, ring, 0)):
            return self._records.get(key) if key[:2] == (kind, ring) else None
        return None

    def _drop(self, kind: str, ring: int, record: Output) -> None:
        self._counter(kind, ring, "used").value -= len(record.data)
        self._records.remove((kind, ring, record.seq))

    def peek(self, kind: str, ring: int) -> Iterator[bytes]:
        """Yield the records that wait, oldest first."""
        for key in self._records.keys_after((kind, ring, 0)):
            if key[:2] != (kind, ring):
                return
            found = self._records.get(key)
            if found is not None:
                yield found.data

    def take(self, kind: str, ring: int) -> list[bytes]:
        """Return the records that wait, and remove them."""
        taken = []
        while (record := self._first(kind, ring)) is not None:
            taken.append(record.data)
            self._drop(kind, ring, record)
        return taken

    def lost(self, kind: str, ring: int) -> int:
        """Return how many records were lost."""
        return self._value(kind, ring, "lost")

    def forget_lost(self, kind: str, ring: int) -> None:
        """Begin to count anew what is lost."""
        found = self._counters.get(f"{kind}_{ring}_lost")
        if found is not None:
            found.value = 0

    def clear(self, kind: str, ring: int) -> None:
        """Forget a ring: what owned it is gone."""
        self.take(kind, ring)
        for what in ("used", "seq", "lost"):
            self._counters.remove(f"{kind}_{ring}_{what}")
