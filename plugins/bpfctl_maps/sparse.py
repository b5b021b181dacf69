"""Large byte areas of maps, kept as rows of equal chunks: only what was written has a row."""

from __future__ import annotations

from bpfctl.kernel.storage import Cells


class SparseBytes:
    """Bytes from 0 on that read as zeros until they are written.

    A row's key is the number of its chunk as a u32, which is also its position.
    """

    def __init__(self, cells: Cells, chunk: int) -> None:
        self._cells = cells
        self._chunk = chunk

    def chunk(self, number: int) -> bytes:
        """Return one whole chunk."""
        cell = self._cells.get(number.to_bytes(4, "little"))
        return bytes(self._chunk) if cell is None else cell[0]

    def put_chunk(self, number: int, content: bytes) -> None:
        """Replace one whole chunk."""
        self._cells.put(number.to_bytes(4, "little"), content, number)

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes at ``offset``."""
        if not size:
            return b""
        first, last = offset // self._chunk, (offset + size - 1) // self._chunk
        found = b"".join([self.chunk(number) for number in range(first, last + 1)])
        start = offset - first * self._chunk
        return found[start : start + size]

    def write(self, offset: int, content: bytes) -> None:
        """Store ``content`` at ``offset``."""
        done = 0
        while done < len(content):
            number, start = divmod(offset + done, self._chunk)
            piece = content[done : done + self._chunk - start]
            if len(piece) < self._chunk:
                old = self.chunk(number)
                piece_end = start + len(piece)
                self.put_chunk(number, old[:start] + piece + old[piece_end:])
            else:
                self.put_chunk(number, piece)
            done += len(piece)
