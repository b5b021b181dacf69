"""Numbers that objects are known by: growing, one sequence for each kind."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.records import Counter
from bpfctl.kernel.storage import Registry, Storage
from bpfctl.uapi import INT_MAX


class Ids:
    """Ids of one kind of object: growing, and used again only after wrapping at 2**31."""

    def __init__(self, storage: Storage, counter: str, taken: Registry[object]) -> None:
        self._counters = storage.registry(Counter)
        self._name = counter
        self._taken = taken

    def boot(self) -> None:
        """Start below 1."""
        self._counters.add(Counter(self._name))

    def peek(self) -> int:
        """Return the id that :meth:`take` would give."""
        counter = self._counters.get(self._name)
        assert counter is not None
        candidate = counter.value + 1
        while candidate > INT_MAX or self._taken.get(candidate) is not None:
            candidate = candidate + 1 if candidate <= INT_MAX else 1
        return candidate

    def take(self) -> int:
        """Give out the next id (idr_alloc_cyclic)."""
        counter = self._counters.get(self._name)
        assert counter is not None
        counter.value = self.peek()
        return counter.value

    def after(self, start: int) -> int:
        """Return the first id above ``start``.

        :raises KernelError: ENOENT.
        """
        for found in self._taken.keys_after(start):
            return int(found)
        raise KernelError(E.NOENT)
