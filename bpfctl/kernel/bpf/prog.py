"""Programs: the objects. What loads them is imported when a program is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.records import ProgRecord
from bpfctl.uapi import ProgInfo

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost



class Progs:
    """Loaded programs, referenced by descriptors, pins and program arrays.

    ``freed`` is told of a program that is gone: what it held is to be let go.
    """

    def __init__(self, kernel: MapHost) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(ProgRecord)
        self.ids = Ids(kernel.storage, "prog_id", self.records)  # type: ignore[arg-type]
        self.freed: list[Callable[[ProgRecord], None]] = []

    def get(self, prog_id: int) -> ProgRecord:
        """Return a loaded program.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(prog_id)
        if found is None:
            raise KernelError(E.NOENT, f"prog {prog_id}")
        return found

    def inc(self, prog_id: int) -> None:
        """Take a reference."""
        self.get(prog_id).refcnt += 1

    def put(self, prog_id: int) -> None:
        """Drop a reference; the last one frees the program."""
        rec = self.get(prog_id)
        rec.refcnt -= 1
        if rec.refcnt:
            return
        from bpfctl.kernel.bpf.prog_mem import ProgMemory

        ProgMemory(self._kernel, rec).release()
        self.records.remove(prog_id)
        for told in self.freed:
            told(rec)

    def fdinfo(self, prog_id: int) -> dict[str, str]:
        """Return the lines of /proc/PID/fdinfo/FD."""
        rec = self.get(prog_id)
        return {
            "prog_type": str(rec.type),
            "prog_jited": str(int(rec.jited_len > 0)),
            "prog_tag": rec.tag.hex(),
            "memlock": str(rec.pages * self._kernel.config.page_size),
            "prog_id": str(rec.id),
            "run_time_ns": str(rec.priv.get("run_time_ns", 0)),
            "run_cnt": str(rec.priv.get("run_cnt", 0)),
        }

    def info(self, prog_id: int) -> ProgInfo:
        """Return struct bpf_prog_info."""
        from bpfctl.kernel.bpf.prog_tag import shown_insns
        from bpfctl.kernel.bpf.prog_xlated import xlated

        rec = self.get(prog_id)
        found = xlated(rec)
        return ProgInfo(
            rec.type,
            rec.id,
            rec.tag,
            rec.jited_len,
            len(found.insns),
            rec.load_time,
            rec.uid,
            map_ids(rec),
            rec.name,
            bool(rec.gpl_compatible),
            rec.btf_id,
            shown_insns(found.insns, found.starts),
            found.func_info,
            found.line_info,
            self._function_tags(found.insns, found.starts),
            rec.priv.get("run_time_ns", 0),
            rec.priv.get("run_cnt", 0),
            rec.priv.get("recursion_misses", 0),
            found.symbols,
        )

    def _function_tags(self, insns: bytes, starts: list[int]) -> tuple[bytes, ...]:
        from bpfctl.kernel.bpf.prog_tag import split_functions, tag

        digest = self._kernel.profile.tag_digest
        return tuple(tag(code, digest) for code in split_functions(insns, starts))


def map_ids(rec: ProgRecord) -> tuple[int, ...]:
    """Return the ids of the maps that a program uses, in order of first use."""
    return tuple(int(word) for word in rec.map_ids.split(",") if word)
