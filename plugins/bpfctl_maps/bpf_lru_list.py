"""LRU lists of hash maps (kernel/bpf/bpf_lru_list.c): who is evicted when room is needed.

Nodes are numbered; list heads have negative numbers. Free nodes that were never used are not
on any list: they are the numbers below ``virgin`` (they would stand at the tail of the free
list, highest number first). Lists and reference bits behave as on the kernel's; a lookup by a
program sets the bit, one by a system call does not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfctl.kernel.records import LruNode
from bpfctl.kernel.storage import Registry

ACTIVE, INACTIVE, FREE, LOCAL_FREE, LOCAL_PENDING = range(5)
COMMON_SCANS = 128
PERCPU_SCANS = 4
PERCPU_FREE_TARGET = 4

Evict = Callable[[LruNode], None]
State = dict[str, Any]


class NodeLists:
    """Doubly linked lists over node records of one map."""

    def __init__(self, registry: Registry[LruNode], map_id: int) -> None:
        self._registry = registry
        self._map = map_id
        self._nodes: dict[int, LruNode] = {}

    def node(self, number: int) -> LruNode:
        """Return a node, made on first use; a head is its own neighbour then."""
        found = self._nodes.get(number)
        if found is None:
            found = self._registry.get((self._map, number))
            if found is None:
                found = LruNode(self._map, number, prev=number, next=number)
                self._registry.add(found)
            self._nodes[number] = found
        return found

    def first(self, head: int) -> int | None:
        """Return the number of the first node of a list, None when it is empty."""
        number = self.node(head).next
        return None if number == head else number

    def unlink(self, node: LruNode) -> None:
        """Take a node off its list."""
        nodes, prev, following = self._nodes, node.prev, node.next
        (nodes.get(prev) or self.node(prev)).next = following
        (nodes.get(following) or self.node(following)).prev = prev
        node.prev = node.next = node.node

    def push(self, head: int, node: LruNode) -> None:
        """Put an unlinked node behind ``head``."""
        nodes = self._nodes
        anchor = nodes.get(head) or self.node(head)
        following = anchor.next
        follower = nodes.get(following) or self.node(following)
        node.prev, node.next = head, following
        follower.prev = node.node
        anchor.next = node.node

    def clear(self) -> None:
        """Forget all nodes."""
        for number in [key[1] for key in self._registry.keys_after((self._map, -(1 << 40)))
                       if key[0] == self._map]:
            self._registry.remove((self._map, number))
        self._nodes.clear()


class LruList:
    """One set of ACTIVE, INACTIVE and FREE lists (struct bpf_lru_list).

    ``state`` holds ``active`` and ``inactive`` counts, ``nir`` (where the next rotation of
    INACTIVE starts) and the range of virgin nodes; it outlives the process.
    """

    def __init__(
        self, lists: NodeLists, heads: int, state: State, scans: int, evict: Evict
    ) -> None:
        self.lists = lists
        self.active, self.inactive, self.free = heads, heads - 1, heads - 2
        self.state = state
        self.scans = scans
        self.evict = evict

    @staticmethod
    def new_state(heads: int, first: int, last: int) -> State:
        """Return the state of a set that owns the nodes ``first`` to ``last`` - 1."""
        return {"active": 0, "inactive": 0, "nir": heads - 1, "first": first, "virgin": last}

    def _leave(self, node: LruNode) -> None:
        if node.node == self.state["nir"]:
            self.state["nir"] = node.prev
        if node.kind == ACTIVE:
            self.state["active"] -= 1
        elif node.kind == INACTIVE:
            self.state["inactive"] -= 1
        self.lists.unlink(node)

    def move_in(self, node: LruNode, kind: int) -> None:
        """Put an unlinked node at the head of ACTIVE, INACTIVE or FREE; clears its bit."""
        if kind == ACTIVE:
            head = self.active
            self.state["active"] += 1
        elif kind == INACTIVE:
            head = self.inactive
            self.state["inactive"] += 1
        else:
            head = self.free
        node.kind = kind
        node.ref = 0
        self.lists.push(head, node)

    def move(self, node: LruNode, kind: int) -> None:
        """Move a node of this set to the head of another (or the same) list."""
        self._leave(node)
        self.move_in(node, kind)

    def take_free(self) -> LruNode | None:
        """Return the next free node, unlinked."""
        number = self.lists.first(self.free)
        if number is not None:
            node = self.lists.node(number)
            self.lists.unlink(node)
            return node
        if self.state["virgin"] <= self.state["first"]:
            return None
        self.state["virgin"] -= 1
        return self.lists.node(self.state["virgin"])

    def rotate(self) -> None:
        """Give every list its turn (__bpf_lru_list_rotate)."""
        if self.state["inactive"] < self.state["active"]:
            self._rotate_active()
        self._rotate_inactive()

    def _rotate_active(self) -> None:
        first = self.lists.first(self.active)
        for _ in range(self.scans):
            node = self.lists.node(self.lists.node(self.active).prev)
            if node.node == self.active:
                return
            last_one = node.node == first
            self.move(node, ACTIVE if node.ref else INACTIVE)
            if last_one:
                return

    def _rotate_inactive(self) -> None:
        lists, head = self.lists, self.inactive
        if lists.first(head) is None:
            return
        last = lists.node(self.state["nir"]).next
        if last == head:
            last = lists.node(last).next
        at = following = self.state["nir"]
        scanned = 0
        while scanned < self.scans:
            if at == head:
                at = lists.node(at).prev
                continue
            node = lists.node(at)
            following = node.prev
            if node.ref:
                self.move(node, ACTIVE)
            if at == last:
                break
            at = following
            scanned += 1
        self.state["nir"] = following

    def shrink(self, wanted: int, deliver: Callable[[LruNode], None]) -> int:
        """Evict up to ``wanted`` nodes, hand them to ``deliver`` unlinked; return how many.

        If the scan finds none without the reference bit, one is taken all the same.
        """
        got = scanned = 0
        number = self.lists.node(self.inactive).prev
        while number != self.inactive and got < wanted and scanned < self.scans:
            node = self.lists.node(number)
            number = node.prev
            if node.ref:
                self.move(node, ACTIVE)
            else:
                self._evict(node, deliver)
                got += 1
            scanned += 1
        return got or self._shrink_forced(deliver)

    def _shrink_forced(self, deliver: Callable[[LruNode], None]) -> int:
        head = self.inactive if self.lists.first(self.inactive) is not None else self.active
        number = self.lists.node(head).prev
        if number == head:
            return 0
        self._evict(self.lists.node(number), deliver)
        return 1

    def _evict(self, node: LruNode, deliver: Callable[[LruNode], None]) -> None:
        self._leave(node)
        self.evict(node)
        node.ref = 0
        deliver(node)

    def push_free(self, node: LruNode) -> None:
        """Put a node of this set back to its FREE list."""
        self.move(node, FREE)


class CommonLru:
    """One global set, with local FREE and PENDING lists for each CPU (struct bpf_common_lru)."""

    HEADS = -1
    LOCAL_HEADS = -4

    def __init__(
        self, lists: NodeLists, state: State, nr: int, cpus: int, target_free: int, evict: Evict
    ) -> None:
        self.lists = lists
        self.cpus = cpus
        self.target_free = target_free
        self.evict = evict
        self.state = state
        shared = state.setdefault("shared", LruList.new_state(self.HEADS, 0, nr))
        self.shared = LruList(lists, self.HEADS, shared, COMMON_SCANS, evict)

    def _local_free(self, cpu: int) -> int:
        return self.LOCAL_HEADS - 2 * cpu

    def _pending(self, cpu: int) -> int:
        return self.LOCAL_HEADS - 2 * cpu - 1

    def pop(self, cpu: int, key: bytes) -> LruNode | None:
        """Return a node for ``key`` on ``cpu``, evicting if needed; None when there is none."""
        node = self._pop_local(cpu)
        if node is None:
            self._refill(cpu)
            node = self._pop_local(cpu)
        if node is None:
            node = self._steal(cpu)
        if node is None:
            return None
        node.key, node.cpu, node.ref, node.kind = key, cpu, 0, LOCAL_PENDING
        self.lists.push(self._pending(cpu), node)
        return node

    def _pop_local(self, cpu: int) -> LruNode | None:
        number = self.lists.first(self._local_free(cpu))
        if number is None:
            return None
        node = self.lists.node(number)
        self.lists.unlink(node)
        return node

    def _refill(self, cpu: int) -> None:
        self._flush(cpu)
        self.shared.rotate()
        free_head = self._local_free(cpu)

        def deliver(node: LruNode) -> None:
            node.kind = LOCAL_FREE
            self.lists.push(free_head, node)

        got = 0
        while got < self.target_free:
            node = self.shared.take_free()
            if node is None:
                break
            deliver(node)
            got += 1
        if got < self.target_free:
            self.shared.shrink(self.target_free - got, deliver)

    def _flush(self, cpu: int) -> None:
        head = self._pending(cpu)
        number = self.lists.node(head).prev
        while number != head:
            node = self.lists.node(number)
            number = node.prev
            self.lists.unlink(node)
            self.shared.move_in(node, ACTIVE if node.ref else INACTIVE)

    def _steal(self, cpu: int) -> LruNode | None:
        steals = self.state.setdefault("next_steal", {})
        first = steal = steals.get(str(cpu), cpu)
        while True:
            node = self._pop_local(steal) or self._pop_pending(steal)
            steal = (steal + 1) % self.cpus
            if node is not None or steal == first:
                break
        steals[str(cpu)] = steal
        return node

    def _pop_pending(self, cpu: int) -> LruNode | None:
        head = self._pending(cpu)
        for forced in (False, True):
            number = self.lists.node(head).prev
            while number != head:
                node = self.lists.node(number)
                number = node.prev
                if forced or not node.ref:
                    self.lists.unlink(node)
                    self.evict(node)
                    return node
        return None

    def push_free(self, node: LruNode) -> None:
        """Give a node back (bpf_common_lru_push_free)."""
        if node.kind == LOCAL_PENDING:
            self.lists.unlink(node)
            node.kind, node.ref = LOCAL_FREE, 0
            self.lists.push(self._local_free(node.cpu), node)
        else:
            self.shared.push_free(node)


class PercpuLru:
    """One set for each CPU, which never shares its nodes (BPF_F_NO_COMMON_LRU)."""

    def __init__(
        self, lists: NodeLists, state: State, nr: int, cpus: int, evict: Evict
    ) -> None:
        self.lists = lists
        self.state = state
        self.evict = evict
        self.share = nr // cpus
        self._sets: dict[int, LruList] = {}

    def _set(self, cpu: int) -> LruList:
        found = self._sets.get(cpu)
        if found is None:
            found = self._sets[cpu] = self._make_set(cpu)
        return found

    def _make_set(self, cpu: int) -> LruList:
        heads = -1 - 3 * cpu
        start = cpu * self.share
        state = self.state.setdefault(
            str(cpu), LruList.new_state(heads, start, start + self.share)
        )
        return LruList(self.lists, heads, state, PERCPU_SCANS, self.evict)

    def pop(self, cpu: int, key: bytes) -> LruNode | None:
        """Return a node for ``key`` on ``cpu``; None when there is none."""
        own = self._set(cpu)
        own.rotate()
        node = own.take_free()
        if node is None:
            own.shrink(PERCPU_FREE_TARGET, lambda freed: own.move_in(freed, FREE))
            node = own.take_free()
        if node is None:
            return None
        node.key, node.cpu = key, cpu
        own.move_in(node, INACTIVE)
        return node

    def push_free(self, node: LruNode) -> None:
        """Give a node back to its CPU's set."""
        self._set(node.cpu).push_free(node)
