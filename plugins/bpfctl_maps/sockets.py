"""What the maps of sockets have in common: a row's value is the socket's cookie, 8 bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bpfctl.kernel.bpf.facts import SOCKET, Ref, Row
from bpfctl.kernel.records import MapRecord, SimObject
from bpfctl.kernel.storage import Pos
from bpfctl_maps.indexed import IndexedMap


class SocketMap(IndexedMap):
    """Sockets do not live longer for being in a map: they leave it when they are closed."""

    values = SOCKET
    counts_rows = True

    @classmethod
    def refers(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        for _, value, _, _ in rows:
            yield "object", int.from_bytes(value[:8], "little")

    def _link(self, key: bytes, sock: SimObject, pos: Pos, payer: int = 0) -> None:
        """Put a socket into a slot, in place of the one that is there."""
        old = self.cells.get(key)
        self.kernel.objects.enter(sock, self.rec.id)
        self.cells.put(key, sock.id.to_bytes(8, "little"), pos, payer)
        self.rec.nr_elems += 1
        if old is not None:
            self._unlinked(old[0], old[2])

    def _remove(self, key: bytes) -> None:
        """Empty a used slot."""
        stored, _, payer = self.row(key)
        self.cells.delete(key)
        self._unlinked(stored, payer)

    def _unlinked(self, stored: bytes, payer: int) -> None:
        self.rec.nr_elems -= 1
        sock = self.kernel.objects.get(int.from_bytes(stored, "little"))
        self.kernel.objects.leave(sock, self.rec.id)
        self._left(sock, payer)

    def _left(self, sock: SimObject, payer: int) -> None:
        """Free what an element had beside the slot."""

    def object_gone(self, found: SimObject) -> None:
        gone = found.id.to_bytes(8, "little")
        for key in [key for key, stored, _, _ in self.cells.rows() if stored == gone]:
            self._remove(key)

    def free(self) -> None:
        for stored, payer in [(stored, payer) for _, stored, _, payer in self.cells.rows()]:
            self._unlinked(stored, payer)
