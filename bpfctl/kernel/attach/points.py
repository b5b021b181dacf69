"""Attach points: the ordered list of programs at one hook of one target.

Rows, not objects: an event looks up its own hook and target by index and pays for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

from bpfctl.kernel.records import Attachment, AttachPoint
from bpfctl.kernel.storage import Storage
from bpfctl.light import altered


class AttachPoints:
    """All attach points of a kernel. A point without programs and with nothing to remember has
    no row."""

    def __init__(self, storage: Storage) -> None:
        self._rows = storage.registry(Attachment)
        self._points = storage.registry(AttachPoint)

    def at(self, hook: str, target: int) -> list[Attachment]:
        """Return what is attached, in order. The rows are the stored ones."""
        return list(self._rows.find(hook=hook, target=target))

    def put(self, hook: str, target: int, rows: Iterable[Attachment]) -> None:
        """Store the list of a point; ``pos`` of the rows is set here."""
        for old in self.at(hook, target):
            self._rows.remove((hook, target, old.pos))
        for pos, row in enumerate(rows):
            self._rows.add(altered(row, hook=hook, target=target, pos=pos))

    def flags(self, hook: str, target: int) -> int:
        """Return the mode that the point's first attachment set."""
        point = self._points.get((hook, target))
        return point.flags if point is not None else 0

    def revision(self, hook: str, target: int) -> int:
        """Return how often the list changed, from 1."""
        point = self._points.get((hook, target))
        return point.revision if point is not None else 1

    def changed(self, hook: str, target: int, flags: int) -> None:
        """Count a change of the list, and keep its mode."""
        point = self._points.get((hook, target))
        if point is None:
            self._points.add(AttachPoint(hook, target, flags, 2))
            return
        point.flags = flags
        point.revision += 1

    def forget(self, target: int, hooks: Iterable[str]) -> list[Attachment]:
        """Empty the points of a target that is gone; return what was attached."""
        found: list[Attachment] = []
        for hook in hooks:
            found += self.at(hook, target)
            self.put(hook, target, ())
            self._points.remove((hook, target))
        return found

    def of_prog(self, prog_id: int) -> list[Attachment]:
        """Return where a program is attached (reads all rows: for reports)."""
        return list(self._rows.find(prog_id=prog_id))
