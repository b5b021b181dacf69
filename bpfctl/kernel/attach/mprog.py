"""Ordered lists of programs and links (kernel/bpf/mprog.c): tcx and netkit.

Every change has a place: before or after another entry, first, last, or instead of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.link import Links
from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.records import Attachment, LinkRecord, ProgRecord, Task
from bpfctl.uapi_attach import (
    BPF_F_AFTER,
    BPF_F_ATTACH_LINK,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_REPLACE,
    ProgQueryAttr,
    ProgQueryResult,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

BPF_MPROG_MAX = 64
Entry = tuple[int, int]
"""Program id and link id (0: no link)."""


class Mprog:
    """One list: the entries at a hook of a target."""

    def __init__(self, kernel: Kernel, hook: str, target: int) -> None:
        self._kernel = kernel
        self.hook = hook
        self.target = target
        self.rows = kernel.part(AttachState).points.at(hook, target)

    @property
    def revision(self) -> int:
        """How often the list changed, from 1."""
        return self._kernel.part(AttachState).points.revision(self.hook, self.target)

    def attach(
        self,
        new: Attachment,
        flags: int,
        relative: Callable[[], Entry | None],
        replaced: int,
        revision: int,
    ) -> Attachment | None:
        """Insert or replace an entry; return the one it took the place of (bpf_mprog_attach).

        ``relative`` looks up what ``flags`` place it beside. ``replaced``: program id, 0: none.

        :raises KernelError: ESTALE, EINVAL, EEXIST, ENOENT, ERANGE, E2BIG.
        """
        if revision and revision != self.revision:
            raise KernelError(E.STALE, f"revision {revision}")
        beside = relative()
        if self._find(new.prog_id, 0) is not None:
            raise KernelError(E.EXIST, "attached already")
        if flags & BPF_F_REPLACE:
            place, index = None, self._replaced(replaced, flags)
        else:
            place, index = self._insert_at(flags, beside), None
        old = None
        if index is not None:
            old, self.rows[index] = self.rows[index], new
        else:
            if len(self.rows) >= BPF_MPROG_MAX:
                raise KernelError(E.RANGE, "the list is full")
            assert place is not None
            self.rows.insert(place, new)
        self._store()
        return old

    def detach(
        self, prog_id: int, link_id: int, flags: int, relative: Callable[[], Entry | None],
        revision: int,
    ) -> Attachment:  # fmt: skip
        """Remove an entry, by what it is or by its place (bpf_mprog_detach).

        :raises KernelError: ESTALE, EINVAL, ENOENT, EBUSY: it is a link's.
        """
        if flags & BPF_F_REPLACE:
            raise KernelError(E.INVAL, "nothing to replace")
        if revision and revision != self.revision:
            raise KernelError(E.STALE, f"revision {revision}")
        if not self.rows:
            raise KernelError(E.NOENT, "nothing is attached")
        beside = relative()
        index = self._leaving(prog_id, link_id, flags, beside)
        gone = self.rows[index]
        if gone.link_id != link_id:
            raise KernelError(E.BUSY, "a link holds it")
        del self.rows[index]
        self._store()
        return gone

    def _leaving(self, prog_id: int, link_id: int, flags: int, beside: Entry | None) -> int:
        before, after = bool(flags & BPF_F_BEFORE), bool(flags & BPF_F_AFTER)
        wanted = None
        if prog_id or link_id:
            wanted = self._find(prog_id, link_id)
            if wanted is None:
                raise KernelError(E.NOENT, "not attached")
        places = []
        if before:
            places.append(self._index_of(beside, 0) - (1 if beside else 0))
        if after:
            places.append(self._index_of(beside, len(self.rows) - 1) + (1 if beside else 0))
        if wanted is not None:
            places.append(wanted)
        if not places:
            places.append(len(self.rows) - 1)
        if len(set(places)) > 1:
            raise KernelError(E.RANGE, "places that differ")
        if not 0 <= places[0] < len(self.rows):
            raise KernelError(E.NOENT if places[0] < 0 or beside else E.INVAL, "no such place")
        return places[0]

    def _index_of(self, beside: Entry | None, otherwise: int) -> int:
        if beside is None:
            return otherwise
        found = self._find(*beside)
        if found is None:
            raise KernelError(E.NOENT, "what it is to stand beside is not here")
        return found

    def _insert_at(self, flags: int, beside: Entry | None) -> int:
        places: set[int] = set()
        if flags & BPF_F_BEFORE:
            places.add(self._index_of(beside, 0))
        if flags & BPF_F_AFTER:
            places.add(self._index_of(beside, len(self.rows) - 1) + 1)
        if not flags & (BPF_F_BEFORE | BPF_F_AFTER):
            if beside is not None or flags & (BPF_F_ID | BPF_F_ATTACH_LINK):
                raise KernelError(E.INVAL, "before or after, one of them")
            places.add(len(self.rows))
        if len(places) > 1:
            raise KernelError(E.RANGE, "places that differ")
        return places.pop()

    def _replaced(self, prog_id: int, flags: int) -> int:
        if flags & (BPF_F_BEFORE | BPF_F_AFTER):
            raise KernelError(E.RANGE, "a place for what takes another's place")
        index = self._find(prog_id, 0)
        if index is None:
            raise KernelError(E.NOENT, "what it is to replace is not here")
        if self.rows[index].link_id:
            raise KernelError(E.BUSY, "a link holds it")
        return index

    def _find(self, prog_id: int, link_id: int) -> int | None:
        for index, row in enumerate(self.rows):
            if link_id and row.link_id == link_id:
                return index
            if not link_id and row.prog_id == prog_id:
                return index
        return None

    def replace_link_prog(self, link_id: int, prog_id: int) -> None:
        """Give a link in the list another program.

        :raises KernelError: ENOENT.
        """
        index = self._find(0, link_id)
        if index is None:
            raise KernelError(E.NOENT, "the link is not here")
        self.rows[index].prog_id = prog_id
        self._store()

    def remove_link(self, link_id: int) -> None:
        """Take a link out of the list."""
        self.rows = [row for row in self.rows if row.link_id != link_id]
        self._store()

    def _store(self) -> None:
        points = self._kernel.part(AttachState).points
        if self.rows:
            points.put(self.hook, self.target, self.rows)
            points.changed(self.hook, self.target, 0)
        else:
            # An empty list is freed, and a new one counts from 1 again.
            points.forget(self.target, (self.hook,))

    def query(self, attr: ProgQueryAttr) -> ProgQueryResult:
        """Return the list as BPF_PROG_QUERY tells it (bpf_mprog_query).

        :raises KernelError: EINVAL.
        """
        if attr.query_flags:
            raise KernelError(E.INVAL, f"query_flags {attr.query_flags:#x}")
        count = len(self.rows)
        result = ProgQueryResult(prog_cnt=count, revision=self.revision)
        if not attr.prog_cnt or not (attr.want_prog_ids or attr.want_link_ids) or not count:
            return result
        if attr.prog_cnt < count:
            result.errno = E.NOSPC
        shown = self.rows[: attr.prog_cnt]
        result.prog_ids = tuple(row.prog_id for row in shown)
        if attr.want_prog_attach_flags:
            result.prog_attach_flags = tuple(0 for _ in shown)
        if attr.want_link_ids:
            result.link_ids = tuple(row.link_id for row in shown)
        return result


def relative_entry(
    kernel: Kernel, task: Task, prog_type: str, flags: int, relative: int
) -> Entry | None:
    """Return what ``relative`` names, None for nothing (bpf_mprog_tuple_relative).

    :raises KernelError: EINVAL, EBADF, ENOENT.
    """
    from bpfctl.kernel.attach.syscall import prog_of_fd

    by_id, link = bool(flags & BPF_F_ID), bool(flags & BPF_F_ATTACH_LINK)
    if not relative and not by_id and not link:
        return None
    if not flags & (BPF_F_BEFORE | BPF_F_AFTER):
        raise KernelError(E.INVAL, "before or after what?")
    if link:
        found: LinkRecord
        if by_id:
            found = kernel.part(Links).get(relative)
        else:
            file = kernel.files.get(task.pid, relative)
            if file.obj_kind != "link":
                raise KernelError(E.INVAL, f"fd {relative} is not a link")
            found = kernel.part(Links).get(file.obj_id)
        return found.prog_id, found.id
    prog: ProgRecord = (
        kernel.progs.get(relative) if by_id else prog_of_fd(kernel, task, relative, prog_type)
    )
    return prog.id, 0
