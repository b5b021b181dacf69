"""Array maps (kernel/bpf/arraymap.c): elements that always exist, found by index.

An element that was never written has no row: it reads as zeros.
"""

from __future__ import annotations

from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import CGROUP, MAP, PERCPU, PERF_EVENT, PROG, Row
from bpfctl.kernel.bpf.map import (
    BPF_F_ACCESS_MASK,
    NUMA_NO_NODE,
    MapType,
    round_up,
    roundup_pow_of_two,
)
from bpfctl.kernel.mm.gfp import GFP_KERNEL, GFP_USER
from bpfctl.kernel.mm.percpu import PCPU_MIN_UNIT_SIZE
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.kernel.task import perfmon_capable
from bpfctl.uapi import (
    BPF_ANY,
    BPF_F_INNER_MAP,
    BPF_F_LOCK,
    BPF_F_MMAPABLE,
    BPF_F_NUMA_NODE,
    BPF_F_PRESERVE_ELEMS,
    BPF_F_RDONLY_PROG,
    BPF_F_WRONLY_PROG,
    BPF_NOEXIST,
    U32_MAX,
    MapCreateAttr,
)
from bpfctl_maps import examples, map_in_map
from bpfctl_maps.percpu import pack, unpack

CREATE_FLAGS = (
    BPF_F_NUMA_NODE | BPF_F_MMAPABLE | BPF_F_ACCESS_MASK | BPF_F_PRESERVE_ELEMS | BPF_F_INNER_MAP
)


def index_of(key: bytes) -> int:
    """Return the u32 index that a key of 4 bytes holds."""
    return int.from_bytes(key, "little")


def odd_index(rec: MapRecord, row: Row) -> str:
    """Return what is wrong with a row that lies at the index that its key is."""
    if index_of(row[0]) != row[2]:
        return f"lies at {row[2]!r}"
    return "" if index_of(row[0]) < rec.max_entries else "is beyond the end"


class ArrayBase(MapType):
    """What all types of this file share: attribute checks, sizes, iteration by index."""

    family = "arraymap"
    priv_kept = {"nr_slots": int, "inner": dict}

    @classmethod
    def odd_row(cls, rec: MapRecord, row: Row) -> str:
        return odd_index(rec, row)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        flags = attr.map_flags
        self.check_access_flags(flags, CREATE_FLAGS)
        if attr.max_entries == 0 or attr.key_size != 4 or attr.value_size == 0:
            raise KernelError(E.INVAL, "sizes")
        if self.percpu and self.numa_node(attr) != NUMA_NO_NODE:
            raise KernelError(E.INVAL, "numa node of a per-CPU map")
        if self.name != "array" and flags & (BPF_F_MMAPABLE | BPF_F_INNER_MAP):
            raise KernelError(E.INVAL, f"map_flags {flags:#x}")
        if self.name != "perf_event_array" and flags & BPF_F_PRESERVE_ELEMS:
            raise KernelError(E.INVAL, f"map_flags {flags:#x}")
        if attr.value_size > self.kernel.profile.limits.array_value:
            raise KernelError(E.BIG, "value_size")
        if self.percpu and round_up(attr.value_size, 8) > PCPU_MIN_UNIT_SIZE:
            raise KernelError(E.BIG, "value_size")

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        slots = attr.max_entries
        if not perfmon_capable(task):
            # Speculation past the end must stay inside: the index is masked.
            slots = roundup_pow_of_two(slots)
            if slots > U32_MAX:
                raise KernelError(E.BIG, "max_entries")
        if slots != attr.max_entries:
            self.rec.priv["nr_slots"] = slots

    @property
    def slots(self) -> int:
        """Entries allocated: max_entries, or a power of two for callers without CAP_PERFMON."""
        return int(self.rec.priv.get("nr_slots", self.rec.max_entries))

    @property
    def elem_size(self) -> int:
        """Stride of elements in bytes."""
        return round_up(self.rec.value_size, 8)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("bpf_array") + self.slots * self.elem_size

    def alloc(self) -> None:
        self.area_alloc("array", self.sizeof("bpf_array") + self.slots * self.elem_size)

    def mem_usage(self) -> int:
        return self.sizeof("bpf_array") + self.rec.max_entries * self.elem_size

    def next_key(self, key: bytes | None) -> bytes:
        index = U32_MAX if key is None else index_of(key)
        last = self.rec.max_entries - 1
        if index == last:
            raise KernelError(E.NOENT)
        return (0 if index > last else index + 1).to_bytes(4, "little")

    def delete(self, key: bytes) -> None:
        raise KernelError(E.INVAL)

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if key_type is None:
            # Only libbpf's global data has no key type.
            alone = self.name == "array" and self.rec.max_entries == 1
            if not alone or value_type.kind_name != "DATASEC":
                raise KernelError(E.INVAL, "key type")
        elif not key_type.is_plain_int(32):
            raise KernelError(E.INVAL, "key type")


class ValueArray(ArrayBase):
    """Arrays whose elements are bytes."""

    btf_allowed = True
    batch_is_walk = True
    resident = "table"

    def zeros(self) -> bytes:
        """Return the value of an element that nobody wrote."""
        return bytes(self.rec.value_size)

    def stored(self, value: bytes) -> bytes:
        """Return what a row keeps of ``value``."""
        return value

    def loaded(self, stored: bytes) -> bytes:
        """Return the value that a row keeps."""
        return stored

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.NOENT)
        cell = self.cells.get(key)
        return self.zeros() if cell is None else self.loaded(cell[0])

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if not self.percpu or not self.check_percpu_flags(flags):
            self.prog_update(key, value, flags)
            return
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        self.cells.put(key, self.stored(self.one_value(self.lookup(key), value, flags)), index)

    def prog_update(self, key: bytes, value: bytes, flags: int) -> None:
        self.check_update_flags(flags)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        if flags & ~BPF_F_LOCK == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        self.check_lock(flags)
        self.cells.put(key, self.stored(value), index)

    def batch_rows(
        self, cursor: bytes | None, count: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None, int]:
        start = 0 if cursor is None else index_of(cursor) + 1
        stop = min(start + count, self.rec.max_entries)
        rows = dict.fromkeys(range(start, stop), self.zeros())
        for _, stored, at, _ in self.cells.rows(start - 1):
            index = int(at)
            if index >= stop:
                break
            rows[index] = self.loaded(stored)
        out = (stop - 1).to_bytes(4, "little") if stop else cursor
        err = 0 if stop - start == count else E.NOENT
        return [(index.to_bytes(4, "little"), value) for index, value in rows.items()], out, err


class Array(ValueArray):
    """BPF_MAP_TYPE_ARRAY."""

    name = "array"
    mmapable = True
    special_fields = frozenset({"spin_lock", "timer", "kptr", "list", "rbtree"})

    def _mmapable(self) -> bool:
        return bool(self.rec.map_flags & BPF_F_MMAPABLE)

    def _mmapable_size(self, slots: int) -> int:
        head = self.page_align(self.sizeof("bpf_array"))
        return head + self.page_align(slots * self.elem_size)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        if self._mmapable():
            return self._mmapable_size(self.slots)
        return super().memlock_cost(bypass_spec_v1)

    def alloc(self) -> None:
        if self._mmapable():
            size = self._mmapable_size(self.slots)
            self.mem.area_mmapable_alloc("array", size, self.account("area"))
        else:
            super().alloc()

    def mem_usage(self) -> int:
        if self._mmapable():
            return self._mmapable_size(self.rec.max_entries)
        return super().mem_usage()

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        if not self._mmapable():
            raise KernelError(E.INVAL, "not BPF_F_MMAPABLE")
        if offset + length > self.page_align(self.rec.max_entries * self.elem_size):
            raise KernelError(E.INVAL, "beyond the data")

    def direct_value_size(self) -> int:
        if self.rec.max_entries != 1:
            raise KernelError(E.NOTSUPP, "an array of more than one entry")
        return self.rec.value_size

    def mapped_read(self, offset: int, size: int) -> bytes:
        """Return bytes of the elements; padding behind values and the last one reads as zeros."""
        first = offset // self.elem_size
        area = b"".join(
            [
                self._element(index).ljust(self.elem_size, b"\0")
                for index in range(first, -(-(offset + size) // self.elem_size))
            ]
        )
        start = offset - first * self.elem_size
        return area[start : start + size]

    def _element(self, index: int) -> bytes:
        cell = self.cells.get(index.to_bytes(4, "little"))
        return self.zeros() if cell is None else cell[0]

    def mapped_write(self, offset: int, content: bytes) -> None:
        """Store into the elements; what falls on padding is not kept."""
        done = 0
        while done < len(content):
            index, start = divmod(offset + done, self.elem_size)
            piece = content[done : done + self.elem_size - start]
            done += len(piece)
            kept = piece[: max(self.rec.value_size - start, 0)]
            if kept and index < self.rec.max_entries:
                old = self._element(index)
                new = old[:start] + kept + old[start + len(kept) :]
                self.cells.put(index.to_bytes(4, "little"), new, index)

    def meta_equal(self, template: MapRecord) -> bool:
        same_size = self.rec.max_entries == template.max_entries
        return super().meta_equal(template) and bool(
            template.map_flags & BPF_F_INNER_MAP or same_size
        )


class PercpuArray(ValueArray):
    """BPF_MAP_TYPE_PERCPU_ARRAY."""

    name = "percpu_array"
    values = PERCPU
    cpu_flags = True
    special_fields = frozenset({"kptr"})

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        values = self.rec.max_entries * self.elem_size * self.cpus
        return self.sizeof("bpf_array") + self.slots * 8 + values

    def alloc(self) -> None:
        self.area_alloc("array", self.sizeof("bpf_array") + self.slots * 8)
        gfp = GFP_USER | self.account()
        self.map_mem().alloc_percpu("values", self.elem_size, gfp, self.rec.max_entries)

    def mem_usage(self) -> int:
        entries = self.rec.max_entries
        return self.sizeof("bpf_array") + entries * 8 + entries * self.elem_size * self.cpus

    def zeros(self) -> bytes:
        return bytes(self.elem_size * self.cpus)

    def stored(self, value: bytes) -> bytes:
        return pack(value, self.elem_size)

    def loaded(self, stored: bytes) -> bytes:
        return unpack(stored, self.elem_size, self.cpus)


class FdArray(ArrayBase):
    """Arrays of objects: descriptors go in, rows keep ids (struct fd_array)."""

    counts_rows = True
    example = Example(value_size=4)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.value_size != 4:
            raise KernelError(E.INVAL, "value_size")
        if attr.map_flags & (BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG):
            raise KernelError(E.INVAL, "map_flags")
        super().alloc_check(attr, task)

    def take(self, fd: int) -> int:
        """Take a reference to what ``fd`` is and return its id.

        :raises KernelError: EBADF, also for another kind of file; EINVAL for what is no program.
        """
        file = self.kernel.files.get(self.kernel.ctx.in_task.pid, fd)
        if file.obj_kind != self.values:
            raise KernelError(E.INVAL if self.values == PROG else E.BADF, file.obj_kind)
        return file.obj_id

    def drop(self, obj_id: int) -> None:
        """Drop the reference of an element."""

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        raise KernelError(E.NOTSUPP)

    def lookup_id(self, key: bytes) -> bytes:
        """Return the 4-byte id that a slot holds.

        :raises KernelError: ENOENT for an empty slot.
        """
        cell = self.cells.get(key) if index_of(key) < self.rec.max_entries else None
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags != BPF_ANY:
            raise KernelError(E.INVAL)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        obj_id = self.take(int.from_bytes(value, "little"))
        old = self.cells.get(key)
        self.cells.put(key, obj_id.to_bytes(4, "little"), index)
        self.rec.nr_elems += old is None
        if old is not None:
            self.drop(int.from_bytes(old[0], "little"))

    def delete(self, key: bytes) -> None:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.BIG)
        old = self.cells.get(key)
        if old is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        self.drop(int.from_bytes(old[0], "little"))

    def clear(self) -> None:
        """Empty all slots."""
        rows = [(key, stored) for key, stored, _, _ in self.cells.rows()]
        for key, stored in rows:
            self.cells.delete(key)
            self.drop(int.from_bytes(stored, "little"))
        self.rec.nr_elems = 0

    def free(self) -> None:
        self.clear()


class ProgArray(FdArray):
    """BPF_MAP_TYPE_PROG_ARRAY: jump table of tail calls."""

    name = "prog_array"
    values = PROG
    tail_calls = True
    example = Example(value_size=4, elements=examples.programs)
    inner_allowed = False
    btf_allowed = True
    check_btf = MapType.check_btf  # any key type of 4 bytes

    def alloc(self) -> None:
        aux = self.sizeof("bpf_array_aux")
        self.mem.kmalloc("aux", aux, GFP_KERNEL | self.account())
        super().alloc()

    def take(self, fd: int) -> int:
        prog_id = super().take(fd)
        prog = self.kernel.progs.get(prog_id)
        if not self.prog_compatible(prog):
            raise KernelError(E.INVAL, "another type of program owns the array")
        self.kernel.progs.inc(prog_id)
        return prog_id

    def drop(self, obj_id: int) -> None:
        self.kernel.progs.put(obj_id)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self.lookup_id(key)

    def release_uref(self) -> None:
        # Programs may use the array that holds them; user space letting go breaks the cycle.
        self.clear()


class PerfEventArray(FdArray):
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY."""

    name = "perf_event_array"
    values = PERF_EVENT
    example = Example(value_size=4, elements=examples.opened("perf_event"))


class CgroupArray(FdArray):
    """BPF_MAP_TYPE_CGROUP_ARRAY."""

    name = "cgroup_array"
    values = CGROUP
    example = Example(value_size=4, elements=examples.opened("cgroup"))


class ArrayOfMaps(FdArray):
    """BPF_MAP_TYPE_ARRAY_OF_MAPS."""

    name = "array_of_maps"
    values = MAP
    batch_is_walk = True
    example = Example(
        value_size=4, elements=examples.inner_maps, prepare=examples.inner_template
    )

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        map_in_map.set_template(self, attr, task)
        super().attr_check(attr, task)

    def take(self, fd: int) -> int:
        return map_in_map.take(self, fd)

    def drop(self, obj_id: int) -> None:
        self.kernel.maps.put(obj_id, user=False)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        return self.lookup_id(key)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [Array, PercpuArray, ProgArray, PerfEventArray, CgroupArray, ArrayOfMaps]
