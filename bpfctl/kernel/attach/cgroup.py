"""Programs of cgroups: attach, detach, replace, query, who runs (kernel/bpf/cgroup.c).

The list of an attach type of a cgroup is in one of three modes, set by its first program: none
(flags 0), override (BPF_F_ALLOW_OVERRIDE) or multi (BPF_F_ALLOW_MULTI).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.points import AttachPoints
from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.attach.types import cgroup_hook
from bpfctl.kernel.records import Attachment, Memcg
from bpfctl.uapi_attach import (
    BPF_F_AFTER,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_PREORDER,
    BPF_F_REPLACE,
)
from bpfctl.uapi_attach import BPF_F_ATTACH_LINK as BPF_F_LINK

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

MODE = BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI
BPF_CGROUP_MAX_PROGS = 64


class Anchor:
    """What a new program is to stand before or after: a program, or a link."""

    __slots__ = ("link_id", "prog_id")

    def __init__(self, prog_id: int = 0, link_id: int = 0) -> None:
        self.prog_id = prog_id
        self.link_id = link_id

    def matches(self, row: Attachment) -> bool:
        """Tell whether ``row`` is it."""
        if self.link_id:
            return row.link_id == self.link_id
        return row.prog_id == self.prog_id and not row.link_id


class Beside(NamedTuple):
    """``relative`` as the caller gave it, and what looks it up when the flags have been tested."""

    relative: int
    anchor: Callable[[], Anchor]


def _no_anchor() -> Anchor:
    raise KernelError(E.INVAL, "nothing to stand beside")


NOWHERE = Beside(0, _no_anchor)


class CgroupProgs:
    """The program lists of one attach type over the hierarchy."""

    def __init__(self, kernel: Kernel, attach_type: int) -> None:
        self._kernel = kernel
        self._points: AttachPoints = kernel.part(AttachState).points
        self.hook = cgroup_hook(attach_type)

    def attach(
        self,
        cgroup: Memcg,
        new: Attachment,
        replace_prog: int = 0,
        beside: Beside = NOWHERE,
        revision: int = 0,
    ) -> Attachment | None:
        """Put a program or link into the list of ``cgroup``; return what it took the place of.

        ``new.flags`` are the attach flags, ``beside`` what they are about. References are the
        caller's business.

        :raises KernelError: EINVAL; ESTALE: the list is not at ``revision``; EPERM: the mode of an
            ancestor or of the list forbids it; E2BIG: 64 are there; ENOENT.
        """
        flags = new.flags
        mode = flags & MODE
        if mode == MODE or (flags & BPF_F_REPLACE and not flags & BPF_F_ALLOW_MULTI):
            raise KernelError(E.INVAL, "modes that exclude each other")
        if flags & BPF_F_REPLACE and flags & (BPF_F_BEFORE | BPF_F_AFTER):
            raise KernelError(E.INVAL, "a place for what takes another's place")
        if bool(replace_prog) != bool(flags & BPF_F_REPLACE):
            raise KernelError(E.INVAL, "BPF_F_REPLACE goes with a program to replace")
        self._check_revision(cgroup, revision)
        if not self._hierarchy_allows(cgroup):
            raise KernelError(E.PERM, "an ancestor's program may not be overridden")
        rows = self._points.at(self.hook, cgroup.id)
        if rows and self._points.flags(self.hook, cgroup.id) != mode:
            raise KernelError(E.PERM, "the list is in another mode")
        if len(rows) >= BPF_CGROUP_MAX_PROGS:
            raise KernelError(E.BIG, f"{len(rows)} programs")
        index = _place_taken(rows, new, replace_prog)
        old = None
        if index is not None:
            old, rows[index] = rows[index], new
        else:
            rows.insert(_place_for(rows, flags, beside), new)
        self._points.put(self.hook, cgroup.id, rows)
        self._points.changed(self.hook, cgroup.id, mode)
        return old

    def detach(
        self, cgroup: Memcg, prog_id: int = 0, link_id: int = 0, revision: int = 0
    ) -> Attachment:
        """Take a program or link out of the list and return its row.

        Outside of multi mode the one that is there goes, whichever was named.

        :raises KernelError: ESTALE, ENOENT; EINVAL: none was named in multi mode.
        """
        self._check_revision(cgroup, revision)
        rows = self._points.at(self.hook, cgroup.id)
        mode = self._points.flags(self.hook, cgroup.id)
        index = 0
        if not mode & BPF_F_ALLOW_MULTI:
            if not rows:
                raise KernelError(E.NOENT, "nothing is attached")
        else:
            if not prog_id and not link_id:
                raise KernelError(E.INVAL, "no program named")
            index = _find(rows, prog_id if not link_id else None, link_id)
        gone = rows.pop(index)
        self._points.put(self.hook, cgroup.id, rows)
        self._points.changed(self.hook, cgroup.id, mode if rows else 0)
        return gone

    def replace_link_prog(self, cgroup: Memcg, link_id: int, prog_id: int) -> None:
        """Give a link in the list another program (__cgroup_bpf_replace).

        :raises KernelError: ENOENT.
        """
        rows = self._points.at(self.hook, cgroup.id)
        rows[_find(rows, None, link_id)].prog_id = prog_id
        self._points.changed(self.hook, cgroup.id, self._points.flags(self.hook, cgroup.id))

    def own(self, cgroup: Memcg) -> list[Attachment]:
        """Return the cgroup's own list."""
        return self._points.at(self.hook, cgroup.id)

    def effective(self, cgroup: Memcg) -> list[Attachment]:
        """Return what runs for a task of ``cgroup``, in order (compute_effective_progs).

        The cgroup's own come first, then those of ancestors in multi mode; those attached with
        BPF_F_PREORDER run before all others, the outermost cgroup's first.
        """
        early: list[Attachment] = []
        normal: list[Attachment] = []
        level: Memcg | None = cgroup
        while level is not None:
            multi = self._points.flags(self.hook, level.id) & BPF_F_ALLOW_MULTI
            if multi or not (early or normal):
                rows = self._points.at(self.hook, level.id)
                early = [row for row in rows if row.flags & BPF_F_PREORDER] + early
                normal += [row for row in rows if not row.flags & BPF_F_PREORDER]
            level = self._kernel.memcg.parent(level)
        return early + normal

    def _check_revision(self, cgroup: Memcg, revision: int) -> None:
        if revision and revision != self._points.revision(self.hook, cgroup.id):
            raise KernelError(E.STALE, f"revision {revision}")

    def _hierarchy_allows(self, cgroup: Memcg) -> bool:
        level = self._kernel.memcg.parent(cgroup)
        while level is not None:
            flags = self._points.flags(self.hook, level.id)
            if flags & BPF_F_ALLOW_MULTI:
                return True
            if self._points.at(self.hook, level.id):
                return bool(flags & BPF_F_ALLOW_OVERRIDE)
            level = self._kernel.memcg.parent(level)
        return True


def _find(rows: list[Attachment], prog_id: int | None, link_id: int) -> int:
    for index, row in enumerate(rows):
        if row.link_id == link_id and prog_id in (None, row.prog_id):
            return index
    raise KernelError(E.NOENT, "not attached here")


def _place_taken(rows: list[Attachment], new: Attachment, replace_prog: int) -> int | None:
    """Return which entry the new one takes over, None for none (find_attach_entry)."""
    if not new.flags & BPF_F_ALLOW_MULTI:
        return 0 if rows else None
    for row in rows:
        if not new.link_id and not row.link_id and row.prog_id == new.prog_id != replace_prog:
            raise KernelError(E.INVAL, "attached already")
    return _find(rows, replace_prog, 0) if replace_prog else None


def _place_for(rows: list[Attachment], flags: int, beside: Beside) -> int:
    """Return the index at which a new entry is inserted (insert_pl_to_hlist).

    :raises KernelError: EINVAL: flags that say nothing or too much; ENOENT.
    """
    before, after = bool(flags & BPF_F_BEFORE), bool(flags & BPF_F_AFTER)
    if not (flags & (BPF_F_LINK | BPF_F_ID) or beside.relative):
        if rows and before and after:
            raise KernelError(E.INVAL, "before and after")
        return 0 if before else len(rows)
    if before == after:
        raise KernelError(E.INVAL, "before or after, one of them")
    anchor = beside.anchor()
    for index, row in enumerate(rows):
        if anchor.matches(row):
            if (row.flags ^ flags) & BPF_F_PREORDER:
                raise KernelError(E.INVAL, "the other's order is not this one's")
            return index if before else index + 1
    raise KernelError(E.NOENT, "what it is to stand beside is not here")
