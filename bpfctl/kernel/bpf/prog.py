"""Programs: the objects. What loads them is imported when a program is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.records import ProgRecord, Task
from bpfctl.uapi import BindMapAttr, ProgInfo, ProgLoadAttr

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

    def inc(self, prog_id: int) -> None:
        """Take a reference."""
        self.get(prog_id).refcnt += 1

    def put(self, prog_id: int) -> None:
        """Drop a reference; the last one frees the program and its maps' references."""
        rec = self.get(prog_id)
        rec.refcnt -= 1
        if rec.refcnt:
            return
        from bpfctl.kernel.bpf.prog_mem import ProgMemory

        ProgMemory(self._kernel, rec).release()
        self.records.remove(prog_id)
        if self._kernel.vm_made is not None:
            self._kernel.vm_made.prog_gone(prog_id)
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
            "run_time_ns": str(rec.priv.get("run_time_ns", 0)),
            "run_cnt": str(rec.priv.get("run_cnt", 0)),
        }

    def info(self, prog_id: int) -> ProgInfo:
        """Return struct bpf_prog_info."""
        from bpfctl.kernel.bpf.prog_tag import shown_insns

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
            shown_insns(rec.insns, list(rec.priv.get("starts", ()))),
            bytes.fromhex(rec.priv.get("func_info", "")),
            bytes.fromhex(rec.priv.get("line_info", "")),
            self._function_tags(rec),
            rec.priv.get("run_time_ns", 0),
            rec.priv.get("run_cnt", 0),
            rec.priv.get("recursion_misses", 0),
        )

    def _function_tags(self, rec: ProgRecord) -> tuple[bytes, ...]:
        from bpfctl.kernel.bpf.prog_tag import split_functions, tag

        starts = rec.priv.get("starts", ())
        digest = self._kernel.profile.tag_digest
        return tuple(tag(code, digest) for code in split_functions(rec.insns, list(starts)))


def map_ids(rec: ProgRecord) -> tuple[int, ...]:
    """Return the ids of the maps that a program uses, in order of first use."""
    return tuple(int(word) for word in rec.map_ids.split(",") if word)


def prog_load(kernel: Kernel, task: Task, attr: ProgLoadAttr) -> int:
    """BPF_PROG_LOAD: see :func:`bpfctl.kernel.bpf.prog_load.load`."""
    from bpfctl.kernel.bpf.prog_load import load

    return load(kernel, task, attr)


def prog_bind_map(kernel: Kernel, task: Task, attr: BindMapAttr) -> None:
    """BPF_PROG_BIND_MAP: make a program hold a map, once.

    :raises KernelError: EBADF; EINVAL for other kinds of objects; ENOMEM.
    """
    prog_file = kernel.files.get(task.pid, attr.prog_fd)
    map_file = kernel.files.get(task.pid, attr.map_fd)
    if prog_file.obj_kind != "prog" or map_file.obj_kind != "map":
        raise KernelError(E.INVAL, "not a program and a map")
    rec = kernel.progs.get(prog_file.obj_id)
    held = map_ids(rec)
    if map_file.obj_id in held:
        return
    from bpfctl.kernel.bpf.prog_mem import ProgMemory

    ProgMemory(kernel, rec).replace_used_maps(len(held) + 1)
    rec.map_ids = ",".join(str(map_id) for map_id in (*held, map_file.obj_id))
    kernel.maps.inc(map_file.obj_id, user=False)
