"""Programs: the objects, and what BPF_PROG_LOAD allocates and charges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.idr import Ids
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.records import ProgRecord, Task
from bpfctl.uapi import ProgInfo, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


class Progs:
    """Loaded programs, referenced by descriptors, pins and program arrays."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(ProgRecord)
        self.ids = Ids(kernel.storage, "prog_id", self.records)  # type: ignore[arg-type]

    def get(self, prog_id: int) -> ProgRecord:
        """Return a loaded program.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(prog_id)
        if found is None:
            raise KernelError(E.NOENT, f"prog {prog_id}")
        return found

    def mem(self, rec: ProgRecord) -> Mem:
        """Return the allocators as the program's owner."""
        return Mem(self._kernel.mm, "prog", rec.id, rec.objcg)

    def inc(self, prog_id: int) -> None:
        """Take a reference."""
        self.get(prog_id).refcnt += 1

    def put(self, prog_id: int) -> None:
        """Drop a reference; the last one frees the program and its maps' references."""
        rec = self.get(prog_id)
        rec.refcnt -= 1
        if rec.refcnt:
            return
        self.mem(rec).free_all()
        if rec.memlock_pages:
            self._kernel.memlock.uncharge(rec.uid, rec.memlock_pages)
        self.records.remove(prog_id)
        for map_id in map_ids(rec):
            self._kernel.maps.put(map_id, user=False)
        if rec.btf_id:
            self._kernel.btfs.put(rec.btf_id)

    def fdinfo(self, prog_id: int) -> dict[str, str]:
        """Return the lines of /proc/PID/fdinfo/FD."""
        rec = self.get(prog_id)
        return {
            "prog_type": str(rec.type),
            "prog_jited": str(int(rec.jited_len > 0)),
            "prog_tag": rec.tag.hex(),
            "memlock": str(rec.pages * self._kernel.config.page_size),
            "prog_id": str(rec.id),
        }

    def info(self, prog_id: int) -> ProgInfo:
        """Return struct bpf_prog_info."""
        rec = self.get(prog_id)
        return ProgInfo(
            rec.type,
            rec.id,
            rec.tag,
            rec.jited_len,
            len(rec.insns),
            rec.load_time,
            rec.uid,
            map_ids(rec),
            rec.name,
            bool(rec.gpl_compatible),
            rec.btf_id,
        )


def map_ids(rec: ProgRecord) -> tuple[int, ...]:
    """Return the ids of the maps that a program uses, in order of first use."""
    return tuple(int(word) for word in rec.map_ids.split(",") if word)


def prog_load(kernel: Kernel, task: Task, attr: ProgLoadAttr) -> int:
    """Load a program and return its descriptor."""
    raise KernelError(E.INVAL, "not here yet")
