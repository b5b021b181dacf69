"""Rows in the order of hash buckets, newest first in each: how chained hash tables are walked."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.records import MapRecord
from bpfctl.kernel.storage import Cells

_SHIFT = 35
_MAX_SEQ = (1 << _SHIFT) - 1


class Buckets:
    """Positions of rows of one map, which number its updates in ``rec.seq``."""

    def __init__(self, cells: Cells, rec: MapRecord) -> None:
        self._cells = cells
        self._rec = rec

    def head(self, bucket: int) -> int:
        """Return the position of a new first element of ``bucket``."""
        self._rec.seq += 1
        return bucket << _SHIFT | _MAX_SEQ - self._rec.seq % _MAX_SEQ

    def next_key(self, key: bytes | None) -> bytes:
        """Return the key behind ``key``, the first for None or an unknown key.

        :raises KernelError: ENOENT at the end.
        """
        at = self._cells.get(key) if key is not None else None
        following = self._cells.after(None if at is None else at[1])
        if following is None:
            raise KernelError(E.NOENT)
        return following[0]
