"""Loops as strongly connected components (from 6.17): what is known of a loop is complete only
when all its paths are."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.state import State

MAX_BACKEDGE_ITERS = 64


class Visit:
    """One stay in a loop (struct bpf_scc_visit)."""

    __slots__ = ("backedges", "entry")

    def __init__(self) -> None:
        self.entry: State | None = None
        self.backedges: list[State] = []


def compute(env: Env, successors: list[list[int]]) -> None:
    """Number the loops (compute_scc): 0 for instructions that are in none. Tarjan's algorithm."""
    count = len(successors)
    index = [0] * count
    low = [0] * count
    on_stack = bytearray(count)
    stack: list[int] = []
    next_index = 1
    next_scc = 1
    for root in range(count):
        if index[root]:
            continue
        work = [(root, 0)]
        while work:
            node, at = work.pop()
            if at == 0:
                index[node] = low[node] = next_index
                next_index += 1
                stack.append(node)
                on_stack[node] = 1
            descended = False
            following = successors[node]
            while at < len(following):
                target = following[at]
                at += 1
                if not index[target]:
                    work.append((node, at))
                    work.append((target, 0))
                    descended = True
                    break
                if on_stack[target]:
                    low[node] = min(low[node], index[target])
            if descended:
                continue
            if low[node] == index[node]:
                members = []
                while True:
                    member = stack.pop()
                    on_stack[member] = 0
                    members.append(member)
                    if member == node:
                        break
                if len(members) > 1 or node in successors[node]:
                    for member in members:
                        env.aux[member].scc = next_scc
                    next_scc += 1
            if work:
                above = work[-1][0]
                low[above] = min(low[above], low[node])


def _callchain(env: Env, state: State) -> tuple[int, ...] | None:
    """What names a stay in a loop: the call sites up to it, and the loop."""
    chain: list[int] = []
    last = len(state.frames) - 1
    for number in range(last + 1):
        idx = state.insn_idx if number == last else state.frames[number + 1].callsite
        found = env.aux[idx].scc
        if found:
            return (*chain, -found)
        chain.append(idx)
    return None


def maybe_enter(env: Env, state: State) -> None:
    """The first checkpoint inside is what the loop hangs on."""
    chain = _callchain(env, state)
    if chain is None:
        return
    visit = env.scc_visits.setdefault(chain, Visit())
    if visit.entry is None:
        visit.entry = state


def incomplete(env: Env, state: State) -> bool:
    """Whether marks of a state may still change (incomplete_read_marks)."""
    chain = _callchain(env, state)
    if chain is None:
        return False
    visit = env.scc_visits.get(chain)
    return visit is not None and bool(visit.backedges)


def add_backedge(env: Env, state: State, backedge: State) -> None:
    """A path ended in a state whose own paths are not done yet."""
    chain = _callchain(env, state)
    if chain is not None:
        env.scc_visits.setdefault(chain, Visit()).backedges.append(backedge)


def maybe_exit(env: Env, state: State) -> None:
    """When the first checkpoint is done: pass precision along all that came back to it."""
    chain = _callchain(env, state)
    if chain is None:
        return
    visit = env.scc_visits.get(chain)
    if visit is None or visit.entry is not state:
        return
    _propagate(env, visit)
    visit.entry = None
    visit.backedges = []


def _propagate(env: Env, visit: Visit) -> None:
    from bpfctl.kernel.bpf.verifier.precision import mark_all_scalars_precise
    from bpfctl.kernel.bpf.verifier.prune import propagate_precision

    for _ in range(MAX_BACKEDGE_ITERS + 1):
        changed = False
        for backedge in visit.backedges:
            assert backedge.equal_state is not None
            if propagate_precision(env, backedge.equal_state, backedge):
                changed = True
        if not changed:
            return
    for backedge in visit.backedges:
        mark_all_scalars_precise(backedge)
