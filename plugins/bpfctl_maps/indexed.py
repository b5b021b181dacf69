"""Maps keyed by index whose slots start empty: a row for each used slot, at its index."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.storage import Cell
from bpfctl.uapi import U32_MAX
from bpfctl_maps.arraymap import index_of


class IndexedMap(MapType):
    """Walks over all indexes, used or not, as array maps do."""

    def row(self, key: bytes) -> Cell:
        """Return the row of a used slot.

        :raises KernelError: ENOENT for an empty one, and beyond the end.
        """
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell

    def next_key(self, key: bytes | None) -> bytes:
        index = U32_MAX if key is None else index_of(key)
        last = self.rec.max_entries - 1
        if index == last:
            raise KernelError(E.NOENT)
        return (0 if index > last else index + 1).to_bytes(4, "little")
