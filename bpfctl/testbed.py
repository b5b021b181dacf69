"""One bench for all that boot a kernel to try something on it, fill maps and read what it cost.

``cost``, ``check``, ``series``, the samples and the conformance suite stand on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bpfctl.errors import TaskKilled
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.alloc import Mem, OomKill
from bpfctl.kernel.records import Alloc
from bpfctl.kernel.storage import MemoryStorage, Storage
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import ALL_CAPS

NOBODY = ""


class Bed:
    """A booted kernel with some cgroups, whose tasks call bpf(2)."""

    def __init__(self, kernel: Kernel, cgroups: Sequence[str] = ()) -> None:
        self.kernel = kernel
        for path in cgroups:
            kernel.memcg.create(path)

    @classmethod
    def boot(
        cls,
        release: str,
        patch: int | None = None,
        *,
        cpus: int,
        cgroups: Sequence[str] = (),
        storage: Storage | None = None,
        **settings: Any,
    ) -> Bed:
        """Boot a kernel, in memory unless there is a ``storage``; cgroups come parents first."""
        config = Config(kernel=release, patch=patch, possible_cpus=cpus, **settings)
        return cls(Kernel.boot(storage or MemoryStorage(), config), cgroups)

    def task(
        self,
        comm: str,
        cgroup: str = "/",
        *,
        uid: int = 0,
        caps: int = ALL_CAPS,
        memlock: int | None = None,
    ) -> Bpf:
        """Start a task and return its system calls; ``memlock`` in bytes, None for no limit."""
        return Bpf(self.kernel, self.kernel.spawn(comm, uid, caps, cgroup, memlock).pid)

    def limit(self, cgroup: str, nbytes: int | None) -> None:
        """Write memory.max."""
        self.kernel.set_memory_knob(cgroup, "max", nbytes)

    def map_of(self, bpf: Bpf, fd: int) -> MapType:
        """Return the live map behind a descriptor."""
        return self.kernel.maps.get(bpf.map_info(fd).id)

    def fill(self, bpf: Bpf, map_id: int, entries: int) -> None:
        """Charge what ``entries`` distinct inserts by one CPU would, at once.

        :raises KernelError: as an insert.
        :raises TaskKilled: the OOM killer took the task.
        """
        kernel = self.kernel
        try:
            with kernel.ctx.running(kernel.task(bpf.pid)):
                kernel.maps.get(map_id).fill(entries)
        except OomKill as kill:
            raise TaskKilled(kill.memcg.path) from None

    # --- what it cost ------------------------------------------------------------

    def paid(self, kind: str, obj_id: int) -> dict[str, int]:
        """Return who is charged for an object, in bytes by path of the cgroup.

        What is taken from the machine and charged to nobody is under ``NOBODY``.
        """
        found: dict[str, int] = {}
        mem = Mem(self.kernel.mm, kind, obj_id, 0)
        for alloc in mem.allocations():
            path, nbytes = self._payer(alloc), alloc.charge
            if path == NOBODY:
                nbytes = mem.footprint(alloc).real
            found[path] = found.get(path, 0) + alloc.nr * nbytes
        return found

    def _payer(self, alloc: Alloc) -> str:
        memcg = self.kernel.memcg
        objcg = memcg.objcgs.get(alloc.objcg) if alloc.objcg else None
        return NOBODY if objcg is None else memcg.get(objcg.memcg).path

    def locked_pages(self, uid: int = 0) -> int:
        """Return locked_vm of a user."""
        return self.kernel.memlock.locked_pages(uid)

    def counters(self, cgroup: str) -> dict[str, int]:
        """Return everything that allocations and charges move."""
        kernel = self.kernel
        allocs = kernel.storage.registry(Alloc)
        return {
            **kernel.memcg.stat(kernel.memcg.lookup(cgroup)),
            "locked_vm": self.locked_pages(),
            "memory in use": kernel.mm.in_use(),
            "live allocations": sum(
                record.nr for record in map(allocs.get, allocs.keys_after(None)) if record
            ),
        }
