"""System call wrappers: one method per bpf(2) command, for one calling task.

Everything above the kernel uses this class and nothing else to reach maps and programs. Each
method raises :class:`~bpfctl.errors.KernelError` with the errno of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.light import dataclass
from bpfctl.uapi import (
    BatchAttr,
    BatchResult,
    BindMapAttr,
    BtfInfo,
    BtfLoadAttr,
    Cmd,
    ElemAttr,
    EnableStatsAttr,
    FdAttr,
    IdAttr,
    MapCreateAttr,
    MapInfo,
    ObjAttr,
    ProgInfo,
    ProgLoadAttr,
    ProgRunAttr,
    ProgRunResult,
)

if TYPE_CHECKING:
    from bpfctl.system import System
    from bpfctl.uapi_attach import LinkInfo


@dataclass(slots=True)
class Bpf:
    """bpf(2) as called by task ``pid`` of ``kernel``."""

    kernel: System
    pid: int

    def map_create(self, attr: MapCreateAttr) -> int:
        """Return the descriptor of a new map."""
        return int(self.kernel.bpf(self.pid, Cmd.MAP_CREATE, attr))

    def map_lookup_elem(self, fd: int, key: bytes | None, flags: int = 0,
                        value: bytes | None = None) -> bytes:
        """Return the value (per-CPU types: all slots, each rounded up to 8 bytes).

        ``value`` is input for types that look a value up (bloom_filter).
        """
        found: bytes = self.kernel.bpf(
            self.pid, Cmd.MAP_LOOKUP_ELEM, ElemAttr(fd, key, value, flags)
        )
        return found

    def map_lookup_each(
        self, fd: int, keys: Sequence[bytes], from_prog: bool = False
    ) -> list[bytes | None]:
        """Look ``keys`` up one by one, None where there is no element.

        ``from_prog``: as a program run by this task would, which marks elements of LRU maps as
        used; a system call does not.
        """
        return self.kernel.map_lookup_each(self.pid, fd, keys, from_prog)

    def map_lookup_and_delete_elem(self, fd: int, key: bytes | None, flags: int = 0) -> bytes:
        """Return the value and remove the element."""
        found: bytes = self.kernel.bpf(
            self.pid, Cmd.MAP_LOOKUP_AND_DELETE_ELEM, ElemAttr(fd, key, None, flags)
        )
        return found

    def map_update_elem(self, fd: int, key: bytes | None, value: bytes, flags: int = 0) -> None:
        """Store ``value`` (per-CPU types: all slots)."""
        self.kernel.bpf(self.pid, Cmd.MAP_UPDATE_ELEM, ElemAttr(fd, key, value, flags))

    def map_delete_elem(self, fd: int, key: bytes | None) -> None:
        """Remove one element."""
        self.kernel.bpf(self.pid, Cmd.MAP_DELETE_ELEM, ElemAttr(fd, key))

    def map_get_next_key(self, fd: int, key: bytes | None) -> bytes:
        """Return the key after ``key``; ``None`` asks for the first. ENOENT at the end."""
        found: bytes = self.kernel.bpf(self.pid, Cmd.MAP_GET_NEXT_KEY, ElemAttr(fd, key))
        return found

    def map_keys(self, fd: int) -> Iterator[bytes]:
        """Walk all keys; ends silently at ENOENT, raises any other errno.

        A damaged map may lead back to keys that were there before: then the walk ends with
        ELOOP. One key is remembered at a time, at powers of two (Brent's way to find a circle).
        """
        key: bytes | None = None
        seen: bytes | None = None
        count, next_mark = 0, 1
        while True:
            try:
                key = self.map_get_next_key(fd, key)
            except KernelError as exc:
                if exc.code == E.NOENT:
                    return
                raise
            if key == seen:
                raise KernelError(E.LOOP, "the walk goes in a circle")
            count += 1
            if count == next_mark:
                seen, next_mark = key, 2 * next_mark
            yield key

    def prog_test_run(self, attr: ProgRunAttr) -> ProgRunResult:
        """Run a program (bpf_prog_test_run_opts); a result that did not fit has errno ENOSPC."""
        result: ProgRunResult = self.kernel.bpf(self.pid, Cmd.PROG_TEST_RUN, attr)
        return result

    def enable_stats(self) -> int:
        """Return a descriptor that keeps run time statistics on."""
        return int(self.kernel.bpf(self.pid, Cmd.ENABLE_STATS, EnableStatsAttr()))

    def map_freeze(self, fd: int) -> None:
        """Forbid writes from the syscall side for good."""
        self.kernel.bpf(self.pid, Cmd.MAP_FREEZE, FdAttr(fd))

    def map_batch(self, cmd: Cmd, attr: BatchAttr) -> BatchResult:
        """Run one of the four BPF_MAP_*_BATCH commands."""
        result: BatchResult = self.kernel.bpf(self.pid, cmd, attr)
        return result

    def obj_pin(self, fd: int, path: str) -> None:
        """Pin the object behind ``fd`` at ``path`` in the virtual bpffs."""
        self.kernel.bpf(self.pid, Cmd.OBJ_PIN, ObjAttr(path, fd))

    def obj_get(self, path: str, file_flags: int = 0) -> int:
        """Open what is pinned at ``path``."""
        return int(self.kernel.bpf(self.pid, Cmd.OBJ_GET, ObjAttr(path, 0, file_flags)))

    def map_get_fd_by_id(self, map_id: int, open_flags: int = 0) -> int:
        """Open a map by id."""
        return int(self.kernel.bpf(self.pid, Cmd.MAP_GET_FD_BY_ID, IdAttr(map_id, open_flags)))

    def prog_get_fd_by_id(self, prog_id: int) -> int:
        """Open a program by id."""
        return int(self.kernel.bpf(self.pid, Cmd.PROG_GET_FD_BY_ID, IdAttr(prog_id)))

    def btf_get_fd_by_id(self, btf_id: int) -> int:
        """Open a BTF object by id."""
        return int(self.kernel.bpf(self.pid, Cmd.BTF_GET_FD_BY_ID, IdAttr(btf_id)))

    def _next_id(self, cmd: Cmd, start: int) -> int:
        return int(self.kernel.bpf(self.pid, cmd, IdAttr(start)))

    def map_get_next_id(self, start: int) -> int:
        """Return the first map id above ``start``; ENOENT when there is none."""
        return self._next_id(Cmd.MAP_GET_NEXT_ID, start)

    def prog_get_next_id(self, start: int) -> int:
        """Return the first program id above ``start``; ENOENT when there is none."""
        return self._next_id(Cmd.PROG_GET_NEXT_ID, start)

    def btf_get_next_id(self, start: int) -> int:
        """Return the first BTF id above ``start``; ENOENT when there is none."""
        return self._next_id(Cmd.BTF_GET_NEXT_ID, start)

    def ids(self, next_id: Callable[[int], int]) -> Iterator[int]:
        """Walk ids in ascending order: ``bpf.ids(bpf.map_get_next_id)``."""
        current = 0
        while True:
            try:
                current = next_id(current)
            except KernelError as exc:
                if exc.code == E.NOENT:
                    return
                raise
            yield current

    def map_info(self, fd: int) -> MapInfo:
        """Return struct bpf_map_info; EINVAL when ``fd`` is not a map."""
        info = self.obj_info(fd)
        if not isinstance(info, MapInfo):
            raise KernelError(E.INVAL, "not a map")
        return info

    def prog_info(self, fd: int) -> ProgInfo:
        """Return struct bpf_prog_info; EINVAL when ``fd`` is not a program."""
        info = self.obj_info(fd)
        if not isinstance(info, ProgInfo):
            raise KernelError(E.INVAL, "not a program")
        return info

    def obj_info(self, fd: int) -> MapInfo | ProgInfo | BtfInfo | LinkInfo:
        """Return the info record of whatever object ``fd`` is."""
        info: MapInfo | ProgInfo | BtfInfo | LinkInfo = self.kernel.bpf(
            self.pid, Cmd.OBJ_GET_INFO_BY_FD, FdAttr(fd)
        )
        return info

    def prog_load(self, attr: ProgLoadAttr) -> int:
        """Return the descriptor of a new program."""
        return int(self.kernel.bpf(self.pid, Cmd.PROG_LOAD, attr))

    def prog_bind_map(self, prog_fd: int, map_fd: int) -> None:
        """Make a program hold a map that its instructions do not name."""
        self.kernel.bpf(self.pid, Cmd.PROG_BIND_MAP, BindMapAttr(prog_fd, map_fd))

    def btf_load(self, blob: bytes) -> int:
        """Return the descriptor of a new BTF object."""
        return int(self.kernel.bpf(self.pid, Cmd.BTF_LOAD, BtfLoadAttr(blob)))

    def close(self, fd: int) -> None:
        """Close ``fd``; EBADF when it is not open."""
        self.kernel.close(self.pid, fd)

    def fdinfo(self, fd: int) -> dict[str, str]:
        """Lines of /proc/PID/fdinfo/FD: ``memlock`` (bytes), ``frozen``, ``owner_prog_type`` ..."""
        return self.kernel.fdinfo(self.pid, fd)
