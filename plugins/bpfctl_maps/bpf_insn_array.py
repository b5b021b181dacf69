"""Instruction arrays (kernel/bpf/bpf_insn_array.c, 7.3): where instructions of a program ended up.

A value is struct bpf_insn_array_value: u32 orig_off, xlated_off, jitted_off and a pad. User space
sets orig_off; the rest is the kernel's, filled in when a program that uses the map is loaded.
"""

from __future__ import annotations

from struct import Struct

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Sizes
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import BPF_EXIST, BPF_F_RDONLY_PROG, BPF_NOEXIST, U32_MAX, MapCreateAttr
from bpfctl_maps.arraymap import index_of

VALUE = Struct("<4I")
POINTER = 8
ENTRY = VALUE.size + POINTER
"""Bytes of an entry: the value, and the address of the machine code."""
MOST_ENTRIES = 0x7FFFFFFE


class InsnArray(MapType):
    """BPF_MAP_TYPE_INSN_ARRAY."""

    name = "insn_array"
    family = "arraymap"
    capability = "bpf"
    can_freeze = True
    example = Example(value_size=VALUE.size, writable=False)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (4,), None

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        sizes = attr.key_size == 4 and attr.value_size == VALUE.size and attr.max_entries
        if attr.map_flags or not sizes:
            raise KernelError(E.INVAL, "sizes or map_flags")

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        if attr.max_entries > MOST_ENTRIES:
            raise KernelError(E.NOMEM, "max_entries")
        self.rec.map_flags |= BPF_F_RDONLY_PROG

    def _size(self) -> int:
        return self.sizeof("bpf_insn_array") + self.rec.max_entries * ENTRY

    def alloc(self) -> None:
        self.area_alloc("insn_array", self._size())

    def mem_usage(self) -> int:
        return self._size()

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.NOENT)
        cell = self.cells.get(key)
        return bytes(VALUE.size) if cell is None else cell[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        orig_off, xlated_off, jitted_off, _ = VALUE.unpack(value)
        if xlated_off or jitted_off:
            raise KernelError(E.INVAL, "only orig_off can be set")
        self.cells.put(key, VALUE.pack(orig_off, 0, 0, 0), index)

    def delete(self, key: bytes) -> None:
        raise KernelError(E.INVAL)

    def next_key(self, key: bytes | None) -> bytes:
        index = U32_MAX if key is None else index_of(key)
        last = self.rec.max_entries - 1
        if index == last:
            raise KernelError(E.NOENT)
        return (0 if index > last else index + 1).to_bytes(4, "little")


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [InsnArray]
