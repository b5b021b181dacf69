"""Queues and stacks (kernel/bpf/queue_stack_maps.c): a ring of max_entries + 1 slots.

A row is a slot that is in use, under its number. ``priv`` has the ring's ``head`` (where the next
push goes) and ``tail`` (the oldest element).
"""

from __future__ import annotations

from abc import abstractmethod

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.facts import Sizes
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType
from bpfctl.kernel.mm.slab import KMALLOC_MAX_SIZE
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.uapi import BPF_EXIST, BPF_F_NUMA_NODE, BPF_NOEXIST, U32_MAX, MapCreateAttr

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK


class QueueStack(MapType):
    """What both types share; they differ in which end an element leaves from."""

    family = "queue_stack_maps"
    counts_rows = True
    priv_kept = {"head": int, "tail": int}
    priv_needed = ("head", "tail")
    capability = "bpf"
    capability_in_alloc_check = True
    btf_allowed = True
    lookup_and_delete_flags = 0
    example = Example(key_size=0)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return (4,), (rec.value_size,)

    # --- creation --------------------------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.need_capability(task)
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if attr.max_entries == 0 or attr.key_size != 0 or attr.value_size == 0:
            raise KernelError(E.INVAL, "sizes")
        if attr.value_size > KMALLOC_MAX_SIZE:
            raise KernelError(E.BIG, "value_size")
        bounded = self.kernel.profile.limits.queue_total_u32
        if bounded and attr.max_entries >= U32_MAX // attr.value_size:
            raise KernelError(E.BIG, "max_entries times value_size")

    @property
    def slots(self) -> int:
        """Slots of the ring: one stays free, so that a full ring is not an empty one."""
        return self.rec.max_entries + 1

    def _size(self) -> int:
        return self.sizeof("bpf_queue_stack") + self.slots * self.rec.value_size

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self._size()

    def alloc(self) -> None:
        self.area_alloc("ring", self._size())
        self.rec.priv.update(head=0, tail=0)

    def mem_usage(self) -> int:
        return self._size()

    # --- the ring --------------------------------------------------------

    @staticmethod
    def _row(slot: int) -> bytes:
        return slot.to_bytes(4, "little")

    @abstractmethod
    def _slot_of_next(self) -> int:
        """Return the slot that a pop takes."""

    def _drop_oldest(self) -> None:
        tail = self.rec.priv["tail"]
        self.cells.delete(self._row(tail))
        self.rec.priv["tail"] = (tail + 1) % self.slots
        self.rec.nr_elems -= 1

    def _read(self, slot: int) -> bytes:
        cell = self.cells.get(self._row(slot))
        assert cell is not None, f"slot {slot} of the ring is in use, but has no row"
        return cell[0]

    # --- operations ------------------------------------------------------

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Push ``value``; with BPF_EXIST a full ring drops its oldest element.

        :raises KernelError: EINVAL; E2BIG.
        """
        if flags & BPF_NOEXIST or flags > BPF_EXIST:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        if self.rec.nr_elems == self.rec.max_entries:
            if flags != BPF_EXIST:
                raise KernelError(E.BIG, "full")
            self._drop_oldest()
        head = self.rec.priv["head"]
        self.cells.put(self._row(head), value, head)
        self.rec.priv["head"] = (head + 1) % self.slots
        self.rec.nr_elems += 1

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        """Return the element that a pop would take (peek).

        :raises KernelError: ENOENT.
        """
        if not self.rec.nr_elems:
            raise KernelError(E.NOENT)
        return self._read(self._slot_of_next())

    def lookup_and_delete(self, key: bytes, flags: int) -> bytes:
        """Take an element out (pop).

        :raises KernelError: ENOENT.
        """
        if not self.rec.nr_elems:
            raise KernelError(E.NOENT)
        slot = self._slot_of_next()
        value = self._read(slot)
        self.cells.delete(self._row(slot))
        self._leave(slot)
        self.rec.nr_elems -= 1
        return value

    @abstractmethod
    def _leave(self, slot: int) -> None:
        """Move the end of the ring past the slot that a pop emptied."""

    def delete(self, key: bytes) -> None:
        raise KernelError(E.INVAL)

    def next_key(self, key: bytes | None) -> bytes:
        raise KernelError(E.INVAL)


class Queue(QueueStack):
    """BPF_MAP_TYPE_QUEUE: first in, first out."""

    name = "queue"

    def _slot_of_next(self) -> int:
        return int(self.rec.priv["tail"])

    def _leave(self, slot: int) -> None:
        self.rec.priv["tail"] = (slot + 1) % self.slots


class Stack(QueueStack):
    """BPF_MAP_TYPE_STACK: last in, first out."""

    name = "stack"

    def _slot_of_next(self) -> int:
        return (int(self.rec.priv["head"]) - 1) % self.slots

    def _leave(self, slot: int) -> None:
        self.rec.priv["head"] = slot


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [Queue, Stack]
