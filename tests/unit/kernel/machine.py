"""A kernel in memory and a task that calls it."""

from __future__ import annotations

from typing import Any

from bpfctl import uapi
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.records import ProgRecord
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import ALL_CAPS
from unit.kernel.progs import straight


class Machine:
    """``bpf`` is root's, in the cgroup /box; other tasks by :meth:`task`."""

    def __init__(self, profile: str = "6.12", **settings: Any) -> None:
        settings.setdefault("possible_cpus", 2)
        self.kernel = Kernel.in_memory(profile, **settings)
        self.kernel.memcg.create("/box")
        self.bpf = self.task()

    def task(self, caps: int = ALL_CAPS, memlock: int | None = None, uid: int = 0) -> Bpf:
        found = self.kernel.spawn("t", uid=uid, caps=caps, cgroup="/box", memlock=memlock)
        return Bpf(self.kernel, found.pid)

    def load(self, insns: bytes | None = None, bpf: Bpf | None = None, **attr: Any) -> int:
        """Load a program (a socket filter of two insns unless said otherwise)."""
        kind = attr.pop("type", "socket_filter")
        attr.setdefault("prog_type", uapi.PROG_TYPE_NUMBER.get(kind, kind))
        return (bpf or self.bpf).prog_load(
            uapi.ProgLoadAttr(insns=straight(2) if insns is None else insns, **attr)
        )

    def array(self, entries: int = 1, value: int = 4, kind: str = "array") -> int:
        number = uapi.MAP_TYPE_NUMBER[kind]
        return self.bpf.map_create(uapi.MapCreateAttr(number, 4, value, entries))

    def prog(self, fd: int) -> ProgRecord:
        return self.kernel.progs.get(self.bpf.obj_info(fd).id)

    def paid(self, kind: str = "prog") -> int:
        """Bytes that cgroups pay for objects of one kind."""
        allocs = self.kernel.mm.allocs.find(owner_kind=kind)
        return sum(alloc.charge * alloc.nr for alloc in allocs if alloc.objcg)

    def locked(self, uid: int = 0) -> int:
        """Pages that a user has locked."""
        return self.kernel.memlock.locked_pages(uid)
