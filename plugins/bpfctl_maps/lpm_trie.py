"""Longest prefix match (kernel/bpf/lpm_trie.c): a binary trie of prefixes, compressed.

Every node is a row, intermediate nodes too: these have no value and are not elements, but cost
memory. One operation reads the rows of one path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Element, Example
from bpfctl.kernel.bpf.facts import Sizes
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType
from bpfctl.kernel.bpf.memalloc import MemCache, alloc_elem
from bpfctl.kernel.mm.slab import KMALLOC_MAX_SIZE
from bpfctl.kernel.records import MapRecord, Task
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_NOEXIST,
    MapCreateAttr,
)

CREATE_FLAGS = BPF_F_NO_PREALLOC | BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
KEY_HEAD = 4
DATA_MAX = 256
KEY_MIN = KEY_HEAD + 1
KEY_MAX = KEY_HEAD + DATA_MAX

# Bits of a row's first byte.
IM = 1
"""An intermediate node: it joins two subtrees and holds no value."""
BARE = 2
"""Allocated without room for a value."""
HAS_CHILD = (4, 8)

NODE, IM_NODE = "node", "im_node"


def _spread(byte: int) -> bytes:
    """Return the 8 bits of ``byte`` as 8 symbols of 2 bits."""
    spread = 0
    for bit in range(8):
        spread |= (byte >> bit & 1) << 2 * bit
    return spread.to_bytes(2, "big")


_SYMBOLS = tuple(_spread(byte) for byte in range(256))
_END = 2


def postorder(prefixlen: int, data: bytes) -> bytes:
    """Return a position that sorts prefixes in post-order.

    Each bit is a symbol 0 or 1, the end of the prefix a 2: what lies below a node, and what lies
    left of it, comes first.
    """
    whole, rest = divmod(prefixlen, 8)
    symbols = b"".join([_SYMBOLS[byte] for byte in data[:whole]])
    tail = int.from_bytes(_SYMBOLS[data[whole]], "big") if rest else 0
    tail &= ~((1 << 16 - 2 * rest) - 1)
    return symbols + (tail | _END << 14 - 2 * rest).to_bytes(2, "big")


@dataclass(slots=True)
class Node:
    """struct lpm_trie_node. ``data`` keeps what the key had beyond the prefix.

    ``children`` are row keys; ``payer`` is the objcg that the node is charged to.
    """

    prefixlen: int
    data: bytes
    value: bytes = b""
    flags: int = 0
    payer: int = 0
    children: list[bytes | None] = field(default_factory=lambda: [None, None])

    @property
    def row(self) -> bytes:
        """Key of the row: prefix length and data with the bits beyond the prefix cleared."""
        size = len(self.data)
        beyond = (1 << 8 * size - self.prefixlen) - 1
        kept = int.from_bytes(self.data, "big") & ~beyond
        return self.prefixlen.to_bytes(KEY_HEAD, "little") + kept.to_bytes(size, "big")

    @property
    def key(self) -> bytes:
        """The key that the node was made with."""
        return self.prefixlen.to_bytes(KEY_HEAD, "little") + self.data

    @property
    def real(self) -> bool:
        """Tell whether the node is an element."""
        return not self.flags & IM

    def bit(self, number: int) -> int:
        """Return bit ``number`` of the data, the most significant first (extract_bit)."""
        return self.data[number >> 3] >> 7 - (number & 7) & 1

    def matches(self, other: Node) -> int:
        """Count leading bits that both prefixes share (longest_prefix_match)."""
        diff = int.from_bytes(self.data, "big") ^ int.from_bytes(other.data, "big")
        same = 8 * len(self.data) - diff.bit_length()
        return min(self.prefixlen, other.prefixlen, same)

    def encode(self) -> bytes:
        """Return the value of the node's row."""
        flags = self.flags
        for side, child in enumerate(self.children):
            flags |= HAS_CHILD[side] if child is not None else 0
        below = b"".join([child for child in self.children if child is not None])
        return bytes([flags]) + self.data + below + self.value

    @classmethod
    def decode(cls, row: bytes, stored: bytes, payer: int) -> Node:
        """Return the node that a row holds."""
        size = len(row) - KEY_HEAD
        node = cls(int.from_bytes(row[:KEY_HEAD], "little"), stored[1 : 1 + size])
        node.flags = stored[0] & (IM | BARE)
        node.payer = payer
        at = 1 + size
        for side, present in enumerate(HAS_CHILD):
            if stored[0] & present:
                node.children[side] = stored[at : at + len(row)]
                at += len(row)
        node.value = stored[at:]
        return node


def addresses(bpf: Bpf, nr: int) -> list[Element]:
    """Return ``nr`` full-length prefixes of 32 bits, with values of 8 bytes."""
    length = (32).to_bytes(KEY_HEAD, "little")
    return [
        (length + number.to_bytes(4, "big"), (number + 1).to_bytes(8, "little"))
        for number in range(nr)
    ]


class LpmTrie(MapType):
    """BPF_MAP_TYPE_LPM_TRIE. Keys: u32 prefix length, then data in network order."""

    name = "lpm_trie"
    family = "lpm_trie"
    priv_kept = {"root": str, "mem_alloc": dict}
    capability = "bpf"
    btf_allowed = True
    batch_is_walk = True
    example = Example(key_size=8, map_flags=BPF_F_NO_PREALLOC, elements=addresses)

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        return None, None

    # --- creation --------------------------------------------------------

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        value_max = KMALLOC_MAX_SIZE - DATA_MAX - self.sizeof("lpm_trie_node")
        if (
            attr.max_entries == 0
            or not attr.map_flags & BPF_F_NO_PREALLOC
            or not KEY_MIN <= attr.key_size <= KEY_MAX
            or not 1 <= attr.value_size <= value_max
        ):
            raise KernelError(E.INVAL, "sizes, or BPF_F_NO_PREALLOC missing")

    @property
    def data_size(self) -> int:
        """Bytes of a key behind the prefix length."""
        return self.rec.key_size - KEY_HEAD

    @property
    def max_prefixlen(self) -> int:
        """Bits of the data."""
        return 8 * self.data_size

    @property
    def _im_size(self) -> int:
        return self.sizeof("lpm_trie_node") + self.data_size

    @property
    def _node_size(self) -> int:
        return self._im_size + self.rec.value_size

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("lpm_trie") + self.rec.max_entries * self._node_size

    def alloc(self) -> None:
        self.struct_alloc("trie", self.sizeof("lpm_trie"))
        if self._cached:
            self._cache().prefill()

    def mem_usage(self) -> int:
        return self._node_size * self.rec.nr_elems

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        if key_type is None or key_type.kind_name != "STRUCT":
            raise KernelError(E.INVAL, "the key must be a struct")

    # --- memory of nodes -------------------------------------------------

    @property
    def _cached(self) -> bool:
        return self.family in self.kernel.profile.mem_alloc.families

    def _cache(self) -> MemCache:
        return MemCache(self, NODE, self._node_size)

    @property
    def _cpu(self) -> int:
        return self.kernel.ctx.cpu

    def _alloc_node(self, flags: int = 0) -> int:
        """Allocate a node and return the objcg that pays (lpm_trie_node_alloc).

        Those of a cache have one size, and were charged when it was filled.
        """
        if self._cached:
            alloc_elem([self._cache()], self._cpu)
            return 0
        label, size = (IM_NODE, self._im_size) if flags & BARE else (NODE, self._node_size)
        return self.map_mem().kmalloc(label, size, self.update_gfp())

    def _free_node(self, node: Node, unused: bool = False) -> None:
        if self._cached and unused:
            self._cache().free(self._cpu)
        elif self._cached:
            self._cache().free_rcu()
        else:
            self.mem.free(IM_NODE if node.flags & BARE else NODE, 1, node.payer)

    def _im_nodes_of(self, entries: int) -> int:
        """Intermediate nodes that ``entries`` prefixes need, full-length ones first."""
        leaves = 1 << self.max_prefixlen
        return max(entries - 1, 0) if entries <= leaves else 2 * leaves - 1 - entries

    def fill(self, entries: int) -> None:
        """Charge what ``entries`` distinct prefixes take: full-length ones, while there are any."""
        rec = self.rec
        most = min(rec.max_entries, (2 << self.max_prefixlen) - 1)
        after = min(rec.nr_elems + entries, most)
        added = after - rec.nr_elems
        joined = self._im_nodes_of(after) - self._im_nodes_of(rec.nr_elems)
        if self._cached:
            leaves = 1 << self.max_prefixlen
            was, now = (self._im_nodes_of(min(nr, leaves)) for nr in (rec.nr_elems, after))
            if added:
                self._cache().alloc_many(self._cpu, added + now - was)
                self._cache().free_rcu(now - was - joined)
        elif added:
            gfp = self.update_gfp()
            self.map_mem().kmalloc(NODE, self._node_size, gfp, added)
            if joined >= 0:
                self.map_mem().kmalloc(IM_NODE, self._im_size, gfp, joined)
            else:
                self.mem.free(IM_NODE, -joined)
        rec.nr_elems = after

    # --- rows ------------------------------------------------------------

    def _load(self, row: bytes) -> Node:
        cell = self.cells.get(row)
        assert cell is not None, f"the trie refers to {row.hex()}, which has no row"
        return Node.decode(row, cell[0], cell[2])

    def _store(self, node: Node) -> None:
        pos = postorder(node.prefixlen, node.data)
        self.cells.put(node.row, node.encode(), pos, node.payer)

    def _root(self) -> Node | None:
        row = self.rec.priv.get("root")
        return None if row is None else self._load(bytes.fromhex(row))

    def _replace_child(self, parent: Node | None, old: Node, new: bytes | None) -> None:
        """Let ``parent`` (None: the trie) have ``new`` where it has, or would have, ``old``."""
        if parent is not None:
            parent.children[old.bit(parent.prefixlen)] = new
            self._store(parent)
        elif new is not None:
            self.rec.priv["root"] = new.hex()
        else:
            self.rec.priv.pop("root", None)

    def _wanted(self, key: bytes) -> Node:
        return Node(int.from_bytes(key[:KEY_HEAD], "little"), key[KEY_HEAD:])

    def _path(self, wanted: Node) -> Iterator[tuple[Node, int]]:
        """Yield the nodes that a walk towards ``wanted`` meets, and the bits that each matches.

        The last is the first that does not lie wholly on the way.
        """
        node = self._root()
        while node is not None:
            matched = node.matches(wanted)
            yield node, matched
            if node.prefixlen != matched or node.prefixlen == wanted.prefixlen:
                return
            below = node.children[wanted.bit(node.prefixlen)]
            node = None if below is None else self._load(below)

    # --- operations ------------------------------------------------------

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        """Return the value of the longest prefix that matches.

        :raises KernelError: ENOENT.
        """
        wanted = self._wanted(key)
        found = None
        if wanted.prefixlen <= self.max_prefixlen:
            for node, matched in self._path(wanted):
                if matched < node.prefixlen:
                    break
                if node.real:
                    found = node
        if found is None:
            raise KernelError(E.NOENT)
        return found.value

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Insert or replace a prefix.

        :raises KernelError: EINVAL; EEXIST, ENOENT (flags); ENOSPC when full; ENOMEM.
        """
        new = self._wanted(key)
        if flags > BPF_EXIST or new.prefixlen > self.max_prefixlen:
            raise KernelError(E.INVAL)
        rec = self.rec
        if self.kernel.profile.checks.lpm_full_before_replace and rec.nr_elems == rec.max_entries:
            raise KernelError(E.NOSPC, "full")
        new.value = value
        new.payer = self._alloc_node()
        try:
            self._insert(new, flags)
        except KernelError:
            self._free_node(new, unused=True)
            raise

    def _insert(self, new: Node, flags: int) -> None:
        path = list(self._path(new))
        node, matched = path[-1] if path else (None, 0)
        parent = path[-2][0] if len(path) > 1 else None
        if node is not None and matched == node.prefixlen < new.prefixlen:
            # The walk ended at an empty slot.
            parent, node = node, None
        if node is None:
            self._check_add(flags)
            self._store(new)
            self._replace_child(parent, new, new.row)
            self.rec.nr_elems += 1
        elif matched == node.prefixlen:
            self._take_place(node, new, flags)
        else:
            self._check_add(flags)
            self._insert_above(parent, node, new, matched)

    def _check_add(self, flags: int) -> None:
        """Make sure that a new element may be added (trie_check_add_elem)."""
        if flags == BPF_EXIST:
            raise KernelError(E.NOENT)
        if self.rec.nr_elems == self.rec.max_entries:
            raise KernelError(E.NOSPC, "full")

    def _take_place(self, node: Node, new: Node, flags: int) -> None:
        """Replace ``node``, which has the very prefix of ``new``."""
        if not node.real:
            self._check_add(flags)
            self.rec.nr_elems += 1
        elif flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        new.children = node.children
        self._store(new)
        self._free_node(node)

    def _insert_above(self, parent: Node | None, node: Node, new: Node, matched: int) -> None:
        """Put ``new`` above ``node``, or both below a new intermediate node."""
        if matched == new.prefixlen:
            new.children[node.bit(matched)] = node.row
            top = new
        else:
            top = Node(matched, node.data, flags=IM | BARE)
            top.payer = self._alloc_node(BARE)
            top.children[node.bit(matched)] = node.row
            top.children[new.bit(matched)] = new.row
            self._store(top)
        self._store(new)
        self._replace_child(parent, top, top.row)
        self.rec.nr_elems += 1

    def delete(self, key: bytes) -> None:
        """Remove a prefix.

        :raises KernelError: EINVAL; ENOENT.
        """
        wanted = self._wanted(key)
        if wanted.prefixlen > self.max_prefixlen:
            raise KernelError(E.INVAL)
        path = list(self._path(wanted))
        node, matched = path[-1] if path else (None, 0)
        if node is None or not node.real or not node.prefixlen == matched == wanted.prefixlen:
            raise KernelError(E.NOENT)
        self.rec.nr_elems -= 1
        below = [child for child in node.children if child is not None]
        if len(below) == 2:
            node.flags |= IM
            node.value = b""
            self._store(node)
            return
        parent = path[-2][0] if len(path) > 1 else None
        above = path[-3][0] if len(path) > 2 else None
        if parent is not None and not parent.real and not below:
            # An intermediate node with one child left has no purpose.
            sibling = parent.children[1 - node.bit(parent.prefixlen)]
            self._replace_child(above, parent, sibling)
            self._drop(parent)
        else:
            self._replace_child(parent, node, below[0] if below else None)
        self._drop(node)

    def _drop(self, node: Node) -> None:
        self.cells.delete(node.row)
        self._free_node(node)

    def next_key(self, key: bytes | None) -> bytes:
        """Return the key behind ``key`` in post-order: longer prefixes before what they are in."""
        pos = self._position(key) if key is not None else None
        following = self.cells.after(pos)
        while following is not None:
            node = self._load(following[0])
            if node.real:
                return node.key
            following = self.cells.after(following[1])
        raise KernelError(E.NOENT)

    def _position(self, key: bytes) -> bytes | None:
        wanted = self._wanted(key)
        if wanted.prefixlen > self.max_prefixlen:
            return None
        cell = self.cells.get(wanted.row)
        if cell is None or cell[0][0] & IM:
            return None
        return postorder(wanted.prefixlen, wanted.data)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [LpmTrie]
