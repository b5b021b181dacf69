"""Map type ``percpu_list``: per-CPU values under keys, walked in the order they came in."""

from __future__ import annotations

from bpfctl.api import (
    BPF_EXIST,
    BPF_F_ACCESS_MASK,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    PERCPU,
    E,
    Example,
    KernelError,
    MapCreateAttr,
    MapType,
    Task,
    round_up,
)

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
MAX_KEY_SIZE = 512
MAX_VALUE_SIZE = 32768
STRUCT_SIZE = 320
# struct list_head, the key's size and the pointer to the values.
NODE_HEAD = 32


class PercpuList(MapType):
    """A node and an area of values for each key, both allocated when the key comes in."""

    name = "percpu_list"
    family = "percpu_list"
    values = PERCPU
    example = Example(key_size=4, value_size=12, max_entries=16)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if not 0 < attr.key_size <= MAX_KEY_SIZE or not attr.value_size or not attr.max_entries:
            raise KernelError(E.INVAL, "sizes")
        if attr.value_size > MAX_VALUE_SIZE:
            raise KernelError(E.BIG, "value_size")

    @property
    def _node(self) -> int:
        return NODE_HEAD + round_up(self.rec.key_size, 8)

    @property
    def _slot(self) -> int:
        return round_up(self.rec.value_size, 8)

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return STRUCT_SIZE + self.rec.max_entries * (self._node + self._slot * self.cpus)

    def alloc(self) -> None:
        self.struct_alloc("list", STRUCT_SIZE)

    def mem_usage(self) -> int:
        return STRUCT_SIZE + self.rec.nr_elems * (self._node + self._slot * self.cpus)

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        old = self.cells.get(key)
        if old is not None and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is not None:
            self.cells.put(key, value, old[1], old[2])
            return
        if flags == BPF_EXIST:
            raise KernelError(E.NOENT)
        if self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.BIG)
        payer = self._alloc_element(1)
        self.cells.put(key, value, self.next_seq(), payer)
        self.rec.nr_elems += 1

    def _alloc_element(self, count: int) -> int:
        """Allocate ``count`` elements; return who pays."""
        mem, gfp = self.map_mem(), self.update_gfp()
        payer = mem.kmalloc("node", self._node, gfp, count)
        try:
            mem.alloc_percpu("values", self._slot, gfp, count)
        except BaseException:
            mem.free("node", count, payer)
            raise
        return payer

    def delete(self, key: bytes) -> None:
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1
        for label in ("values", "node"):
            self.mem.free(label, 1, cell[2])

    def next_key(self, key: bytes | None) -> bytes:
        cell = None if key is None else self.cells.get(key)
        found = self.cells.after(None if cell is None else cell[1])
        if found is None:
            raise KernelError(E.NOENT)
        return found[0]

    def fill(self, entries: int) -> None:
        count = min(entries, self.rec.max_entries - self.rec.nr_elems)
        if count > 0:
            self._alloc_element(count)
            self.rec.nr_elems += count
