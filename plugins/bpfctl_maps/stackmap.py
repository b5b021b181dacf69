"""Stack traces (kernel/bpf/stackmap.c): written by programs only, found by hash.

A row is a bucket that holds a trace: its key is the stack id, its value the frames without
padding, its aux the 32-bit hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import calcsize, pack

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Sizes
from bpfctl.kernel.bpf.map import MapType, roundup_pow_of_two
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import (
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_STACK_BUILD_ID,
    BPF_F_WRONLY,
    U32_MAX,
    MapCreateAttr,
)

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY | BPF_F_STACK_BUILD_ID

# Flags of bpf_get_stackid().
BPF_F_SKIP_FIELD_MASK = 0xFF
BPF_F_USER_STACK = 1 << 8
BPF_F_FAST_STACK_CMP = 1 << 9
BPF_F_REUSE_STACKID = 1 << 10
STACKID_FLAGS = (
    BPF_F_SKIP_FIELD_MASK | BPF_F_USER_STACK | BPF_F_FAST_STACK_CMP | BPF_F_REUSE_STACKID
)

# struct bpf_stack_build_id: s32 status, 20 bytes of build id, u64 offset or ip.
BUILD_ID_FRAME = "<i20sQ"
BPF_STACK_BUILD_ID_VALID = 1
BPF_STACK_BUILD_ID_IP = 2

FindBuildId = Callable[[int], "tuple[bytes, int] | None"]
"""Address in user space -> build id of the file mapped there and offset in it."""


def nothing_mapped(ip: int) -> None:
    """Find no build id for any address."""


class StackTrace(MapType):
    """BPF_MAP_TYPE_STACK_TRACE."""

    name = "stack_trace"
    family = "stackmap"
    capability = "bpf"
    example = Example(writable=False)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (4,), None

    # --- creation --------------------------------------------------------

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.map_flags & ~CREATE_FLAGS:
            raise KernelError(E.INVAL, f"map_flags {attr.map_flags:#x}")
        if attr.max_entries == 0 or attr.key_size != 4:
            raise KernelError(E.INVAL, "sizes")
        if attr.value_size < 8 or attr.value_size % 8 or attr.value_size % self.frame_size:
            raise KernelError(E.INVAL, "value_size")
        if attr.value_size // self.frame_size > self.kernel.config.perf_event_max_stack:
            raise KernelError(E.INVAL, "value_size above perf_event_max_stack")
        if self.nr_buckets > U32_MAX:
            raise KernelError(E.BIG, "max_entries")

    @property
    def frame_size(self) -> int:
        """Bytes of one frame: an address, or a build id and an offset."""
        return calcsize(BUILD_ID_FRAME) if self.rec.map_flags & BPF_F_STACK_BUILD_ID else 8

    @property
    def nr_buckets(self) -> int:
        """Hash buckets: max_entries rounded up to a power of two."""
        return roundup_pow_of_two(self.rec.max_entries)

    def _table_size(self) -> int:
        return self.sizeof("bpf_stack_map") + self.nr_buckets * 8

    def _pool_size(self) -> int:
        return self.rec.max_entries * (self.sizeof("stack_map_bucket") + self.rec.value_size)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self._table_size() + self._pool_size()

    def alloc(self) -> None:
        self.area_alloc("smap", self._table_size())
        self.area_alloc("elems", self._pool_size())

    def mem_usage(self) -> int:
        return self._table_size() + self._pool_size()

    # --- system calls ----------------------------------------------------

    @staticmethod
    def _id(key: bytes) -> int:
        return int.from_bytes(key[:4], "little")

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0].ljust(self.rec.value_size, b"\0")

    def prog_lookup(self, key: bytes) -> bytes | None:
        # bpf_map_lookup_elem() is refused for this type; the helper's own answer is NULL.
        return None

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        raise KernelError(E.INVAL, "only programs store stacks")

    def delete(self, key: bytes) -> None:
        if self._id(key) >= self.nr_buckets:
            raise KernelError(E.BIG)
        if self.cells.get(key) is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1

    def lookup_and_delete(self, key: bytes, flags: int) -> bytes:
        value = self.lookup(key)
        self.delete(key)
        return value

    def next_key(self, key: bytes | None) -> bytes:
        cell = self.cells.get(key) if key is not None else None
        following = self.cells.after(None if cell is None else cell[1])
        if following is None:
            raise KernelError(E.NOENT)
        return following[0]

    # --- programs --------------------------------------------------------

    def get_stackid(
        self, ips: Sequence[int], flags: int, find_build_id: FindBuildId = nothing_mapped
    ) -> int:
        """Store the call chain ``ips`` (innermost first) and return its id (bpf_get_stackid).

        :raises KernelError: EINVAL for unknown flags; EFAULT when all frames are skipped; EEXIST
            when another chain has the bucket, without BPF_F_REUSE_STACKID; ENOMEM when as many
            chains as max_entries are stored.
        """
        if flags & ~STACKID_FLAGS:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        skip = flags & BPF_F_SKIP_FIELD_MASK
        depth = self.rec.value_size // self.frame_size + skip
        frames = ips[skip : min(depth, self.kernel.config.perf_event_max_stack)]
        if not frames:
            raise KernelError(E.FAULT, "no frames left")
        chain = pack(f"<{len(frames)}Q", *frames)
        digest = jhash(chain)
        stack_id = digest & (self.nr_buckets - 1)
        key = stack_id.to_bytes(4, "little")
        old = self.cells.get(key)
        same_hash = old is not None and old[2] == digest
        if same_hash and flags & BPF_F_FAST_STACK_CMP:
            return stack_id
        by_build_id = bool(self.rec.map_flags & BPF_F_STACK_BUILD_ID)
        if by_build_id:
            self._need_free_bucket()
            chain = self._with_build_ids(frames, flags, find_build_id)
        if same_hash and old is not None and old[0] == chain:
            return stack_id
        if old is not None and not flags & BPF_F_REUSE_STACKID:
            raise KernelError(E.EXIST, f"stack id {stack_id}")
        self._need_free_bucket()
        self.cells.put(key, chain, stack_id, digest)
        self.rec.nr_elems += old is None
        return stack_id

    def _need_free_bucket(self) -> None:
        """A new trace is copied into a bucket of the pool before it takes an old one's place."""
        if self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.NOMEM, "no free bucket")

    @staticmethod
    def _with_build_ids(frames: Sequence[int], flags: int, find: FindBuildId) -> bytes:
        """Return the frames as struct bpf_stack_build_id; plain addresses where nothing is."""
        packed = []
        for ip in frames:
            found = find(ip) if flags & BPF_F_USER_STACK else None
            if found is None:
                packed.append(pack(BUILD_ID_FRAME, BPF_STACK_BUILD_ID_IP, b"", ip))
            else:
                packed.append(pack(BUILD_ID_FRAME, BPF_STACK_BUILD_ID_VALID, *found))
        return b"".join(packed)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [StackTrace]
