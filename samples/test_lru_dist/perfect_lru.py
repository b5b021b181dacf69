"""A perfect LRU to hold the kernel's against: as the sample has it, and as a plain reference."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from bpfctl.errors import KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import BPF_EXIST, BPF_NOEXIST, MAP_TYPE_NUMBER, MapCreateAttr

KEY_SIZE = 8
POINTER_SIZE = 8
NULL = bytes(POINTER_SIZE)


class Counts(NamedTuple):
    """Keys seen for the first time, and accesses that found no element."""

    nr_unique: int
    nr_misses: int


class PerfectLru:
    """The ``lru_size`` keys used last, found through an index in a BPF hash map.

    The index has room for every key of the sequence. Its values are pointers to nodes, null for
    a key that was seen and has been pushed out.
    """

    def __init__(self, bpf: Bpf, lru_size: int, nr_possible_elems: int) -> None:
        """Create the index.

        :raises KernelError: as BPF_MAP_CREATE does.
        """
        self.bpf = bpf
        self.lru_size = lru_size
        self.nr_unique = 0
        self.nr_misses = 0
        hash_ = MAP_TYPE_NUMBER["hash"]
        attr = MapCreateAttr(hash_, KEY_SIZE, POINTER_SIZE, nr_possible_elems)
        self.map_fd = bpf.map_create(attr)
        # Node number -> key, least recently used first.
        self._nodes: OrderedDict[int, bytes] = OrderedDict()

    def lookup_or_insert(self, key: bytes) -> bool:
        """Use ``key`` once; return whether it was there."""
        try:
            pointer = self.bpf.map_lookup_elem(self.map_fd, key)
        except KernelError:
            self.nr_unique += 1
            self._insert(key, BPF_NOEXIST)
            return False
        if pointer != NULL:
            self._nodes.move_to_end(int.from_bytes(pointer, "little"))
            return True
        self._insert(key, BPF_EXIST)
        return False

    def _insert(self, key: bytes, flags: int) -> None:
        self.nr_misses += 1
        node = len(self._nodes) + 1
        if len(self._nodes) == self.lru_size:
            node, oldest = self._nodes.popitem(last=False)
            self.bpf.map_update_elem(self.map_fd, oldest, NULL, BPF_EXIST)
        self._nodes[node] = key
        self.bpf.map_update_elem(self.map_fd, key, node.to_bytes(POINTER_SIZE, "little"), flags)

    def counts(self) -> Counts:
        """Return what was counted so far."""
        return Counts(self.nr_unique, self.nr_misses)

    def destroy(self) -> None:
        """Free the index."""
        self.bpf.close(self.map_fd)


def reference(keys: Iterable[int], lru_size: int) -> Counts:
    """Return the counts of a perfect LRU over ``keys``, in plain Python."""
    recent: OrderedDict[int, None] = OrderedDict()
    seen: set[int] = set()
    nr_misses = 0
    for key in keys:
        seen.add(key)
        if key not in recent:
            nr_misses += 1
            if len(recent) == lru_size:
                recent.popitem(last=False)
        recent[key] = None
        recent.move_to_end(key)
    return Counts(len(seen), nr_misses)
