"""Explored states: finding one that vouches for the current, adding checkpoints
(is_state_visited)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier import scc
from bpfctl.kernel.bpf.verifier.branch import push_jump
from bpfctl.kernel.bpf.verifier.env import COMPLEXITY_LIMIT_STATES, Env
from bpfctl.kernel.bpf.verifier.equal import (
    EXACT,
    NOT_EXACT,
    RANGE_WITHIN,
    maybe_looping,
    states_equal,
)
from bpfctl.kernel.bpf.verifier.precision import (
    Backtrack,
    mark_all_scalars_imprecise,
    mark_chain_precision_batch,
)
from bpfctl.kernel.bpf.verifier.regs import LIVE_DONE, LIVE_READ, mark_read
from bpfctl.kernel.bpf.verifier.regtype import SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.state import (
    EMPTY_SLOT,
    FP,
    NOT_INIT_REG,
    SPILL,
    UNKNOWN_SCALAR,
    Iter,
    Live,
    Slot,
    State,
)

HISTORY_LIMIT = 40


def bucket(env: Env, insn_idx: int) -> list[State]:
    """The chain of explored states that an instruction shares (explored_state)."""
    callsite = env.cur_state.frames[-1].callsite
    key = ((insn_idx ^ callsite) & 0xFFFFFFFF) % len(env.insns)
    return env.explored.setdefault(key, [])


# --- what dead registers hold ----------------------------------------------------------


def _clean_dynamic(state: State) -> None:
    """Forget what was never read (clean_verifier_state, up to 6.17)."""
    if state.frames[0].live[0].marks & LIVE_DONE:
        return
    for frame in state.frames:
        for regno in range(FP):
            node = frame.live[regno]
            if not node.marks & LIVE_READ:
                frame.regs[regno] = NOT_INIT_REG
            node.marks |= LIVE_DONE
        for spi, node in enumerate(frame.stack_live):
            if not node.marks & LIVE_READ:
                frame.stack[spi] = EMPTY_SLOT
                frame.stack_precise &= ~(1 << spi)
            node.marks |= LIVE_DONE


def _clean_static(env: Env, state: State) -> None:
    """Forget what is not read later (clean_verifier_state, from 6.18)."""
    if state.cleaned:
        return
    state.cleaned = True
    alive = None if env.stack_live is None else env.stack_live.query(state)
    last = len(state.frames) - 1
    for number, frame in enumerate(state.frames):
        idx = state.insn_idx if number == last else state.frames[number + 1].callsite
        live = env.aux[idx].live_regs
        for regno in range(FP):
            if not live >> regno & 1:
                frame.regs[regno] = NOT_INIT_REG
                frame.precise &= ~(1 << regno)
        if alive is None:
            continue
        for spi in range(len(frame.stack)):
            if not alive(number, spi):
                frame.stack[spi] = EMPTY_SLOT
                frame.stack_precise &= ~(1 << spi)


def _clean_states(env: Env, insn_idx: int, cur: State, found: list[State]) -> None:
    static = env.rules.liveness == "static"
    for state in found:
        if state.branches or state.insn_idx != insn_idx:
            continue
        if len(state.frames) != len(cur.frames):
            continue
        if any(a.callsite != b.callsite for a, b in zip(state.frames, cur.frames, strict=True)):
            continue
        if not static:
            _clean_dynamic(state)
            continue
        if env.rules.loops == "scc" and scc.incomplete(env, state):
            continue
        _clean_static(env, state)


# --- passing marks on ------------------------------------------------------------------


def _propagate_liveness(old: State, cur: State) -> None:
    last = len(old.frames) - 1
    for number, frame in enumerate(old.frames):
        target = cur.frames[number]
        for regno in range(6 if number < last else 0, FP):
            if frame.live[regno].marks & LIVE_READ:
                _read_here(target.live[regno])
        for node, other in zip(frame.stack_live, target.stack_live, strict=False):
            if node.marks & LIVE_READ:
                _read_here(other)


def _read_here(node: Live) -> None:
    if not node.marks & LIVE_READ:
        node.marks |= LIVE_READ
        mark_read(node)


def propagate_precision(env: Env, old: State, cur: State) -> bool:
    """What mattered for ``old`` matters for ``cur``; tell whether that was news."""
    single = env.rules.precision == "single"
    dynamic = env.rules.liveness == "dynamic"
    changed = False
    whole = Backtrack(len(cur.frames) - 1)
    for number in range(len(old.frames) - 1, -1, -1):
        frame = old.frames[number]
        regs = slots = 0
        for regno in range(FP):
            if not frame.precise >> regno & 1 or frame.regs[regno].type != SCALAR_VALUE:
                continue
            if dynamic and not frame.live[regno].marks & LIVE_READ:
                continue
            regs |= 1 << regno
        for spi, slot in enumerate(frame.stack):
            if not frame.stack_precise >> spi & 1:
                continue
            if slot.types[7] != SPILL or slot.reg.type != SCALAR_VALUE:
                continue
            if dynamic and not frame.stack_live[spi].marks & LIVE_READ:
                continue
            slots |= 1 << spi
        if not single:
            whole.regs[number], whole.slots[number] = regs, slots
            continue
        for regno in range(FP):
            if regs >> regno & 1:
                one = Backtrack(number)
                one.regs[number] = 1 << regno
                mark_chain_precision_batch(env, cur, one, env.insn_idx)
        for spi in range(len(frame.stack)):
            if slots >> spi & 1:
                one = Backtrack(number)
                one.slots[number] = 1 << spi
                mark_chain_precision_batch(env, cur, one, env.insn_idx)
    if not single:
        changed = mark_chain_precision_batch(env, cur, whole, cur.insn_idx)
    return changed


# --- loops -----------------------------------------------------------------------------


def find_prev_entry(env: Env, state: State | None, insn_idx: int) -> State | None:
    """The last checkpoint of this instruction in the same frames on the path.

    The one that was set just now does not count.
    """
    cur, start = env.cur_state, state
    while state is not None:
        fresh = state is start
        if not fresh and state.insn_idx == insn_idx and len(state.frames) == len(cur.frames):
            same = all(
                a.callsite == b.callsite for a, b in zip(state.frames, cur.frames, strict=True)
            )
            if same:
                return state
        state = state.parent
    return None


def widen_imprecise(env: Env, old: State, new: State) -> None:
    """Forget numbers that changed and do not matter, so that loops end
    (widen_imprecise_scalars)."""
    for number, before in enumerate(old.frames):
        after = new.frames[number]
        for regno in range(FP):
            if _widen(before.regs[regno], bool(before.precise >> regno & 1), after.regs[regno]):
                after.regs[regno] = UNKNOWN_SCALAR
                after.precise &= ~(1 << regno)
        for spi, slot in enumerate(before.stack):
            if spi >= len(after.stack):
                break
            other = after.stack[spi]
            if slot.types[7] != SPILL or other.types[7] != SPILL:
                continue
            if _widen(slot.reg, bool(before.stack_precise >> spi & 1), other.reg):
                after.stack[spi] = Slot(other.types, UNKNOWN_SCALAR)
                after.stack_precise &= ~(1 << spi)


def _widen(old: object, precise: bool, new: object) -> bool:
    from bpfctl.kernel.bpf.verifier.state import Reg

    assert isinstance(old, Reg)
    assert isinstance(new, Reg)
    if old.type != SCALAR_VALUE or new.type != SCALAR_VALUE:
        return False
    if precise:
        return False
    same = old.same_but_ids(new) and old.id == new.id and old.ref_obj_id == new.ref_obj_id
    return not same


def _iter_depths(state: State) -> dict[tuple[int, int], int]:
    found = {}
    for number, frame in enumerate(state.frames):
        for spi, slot in enumerate(frame.stack):
            if isinstance(slot.reg.aux, Iter) and slot.reg.aux.state == "active":
                found[number, spi] = slot.reg.aux.depth
    return found


def _depths_differ(old: State, cur: State) -> bool:
    """iter_active_depths_differ()."""
    before = _iter_depths(old)
    if not before:
        return False
    after = _iter_depths(cur)
    return any(after.get(place) != depth for place, depth in before.items())


def _get_loop_entry(state: State) -> State | None:
    topmost = state.loop_entry
    while topmost is not None and topmost.loop_entry not in (None, topmost):
        topmost = topmost.loop_entry
    return topmost


def update_loop_entry(cur: State, head: State) -> None:
    """Note that ``cur`` is in a loop that begins at ``head`` (6.8 to 6.16)."""
    cur1 = _get_loop_entry(cur) or cur
    head1 = _get_loop_entry(head) or head
    if head1.branches and head1.dfs_depth <= cur1.dfs_depth:
        cur.loop_entry = head
        head.used_as_loop_entry = True


def end_path(env: Env) -> None:
    """The current path has ended: update the counts of the states on it."""
    state: State | None = env.cur_state
    while state is not None:
        state.branches -= 1
        if env.rules.loops == "entry" and not state.branches:
            if state.parent is not None and state.loop_entry is not None:
                update_loop_entry(state.parent, state.loop_entry)
        if state.branches:
            break
        if env.rules.loops == "scc":
            scc.maybe_exit(env, state)
        parent = state.parent
        if parent is not None and parent.evicted and not parent.branches - 1:
            pass
        state = parent


# --- the search --------------------------------------------------------------------------

_GO_ON, _HIT, _MISS = range(3)


def is_state_visited(env: Env, insn_idx: int) -> bool:
    """Tell whether an explored state vouches for the current one; else remember that, if due.

    :raises Refused: EINVAL, for an infinite loop.
    """
    rules = env.rules
    cur = env.cur_state
    cur.last_insn_idx = env.prev_insn_idx
    aux = env.aux[insn_idx]
    force = aux.force_checkpoint
    if rules.history_limit and len(cur.history) > HISTORY_LIMIT:
        force = True
    add_new = force
    if (
        env.jmps_processed - env.prev_jmps_processed >= 2
        and env.insn_processed - env.prev_insn_processed >= 8
    ):
        add_new = True
    found = bucket(env, insn_idx)
    _clean_states(env, insn_idx, cur, found)
    states_cnt = len(found)
    evicted = False
    for state in found:
        if state.insn_idx != insn_idx:
            continue
        loop = False
        if state.branches:
            hit = _check_open(env, state, cur, insn_idx)
            if not hit and (
                not force
                and env.jmps_processed - env.prev_jmps_processed < 20
                and env.insn_processed - env.prev_insn_processed < 100
            ):
                add_new = False
            loop = hit
        else:
            exact = NOT_EXACT
            entry = None
            if rules.loops == "scc":
                loop = scc.incomplete(env, state)
                exact = RANGE_WITHIN if loop else NOT_EXACT
            elif rules.loops == "entry":
                entry = _get_loop_entry(state)
                if entry is not None and entry.branches > 0:
                    exact = RANGE_WITHIN
            hit = states_equal(env, state, cur, exact)
            if hit and entry is not None and exact == RANGE_WITHIN:
                update_loop_entry(cur, entry)
        if hit:
            _on_hit(env, state, cur, insn_idx, loop)
            if evicted:
                found[:] = [state for state in found if not state.evicted]
            return True
        if add_new:
            state.miss_cnt += 1
        most = 64 if force and rules.force_keeps and aux.force_checkpoint and state.branches else 3
        if state.miss_cnt > state.hit_cnt * most + most:
            state.evicted = evicted = True
            _evict(env, state)
    if evicted:
        found[:] = [state for state in found if not state.evicted]
    stats = env.stats
    if stats.max_states_per_insn < states_cnt:
        stats.max_states_per_insn = states_cnt
    if not env.bpf_capable and states_cnt > COMPLEXITY_LIMIT_STATES:
        add_new = False
    if add_new:
        _remember(env, cur, insn_idx, found)
    return False


def _evict(env: Env, state: State) -> None:
    if env.rules.peak == "kept":
        env.explored_size -= 1
        env.free_list_size += 1
        if not state.branches and not state.used_as_loop_entry:
            env.free_list_size -= 1
    elif env.rules.liveness == "dynamic" and state.frames[0].live[0].marks & LIVE_DONE:
        env.peak -= 1


def _check_open(env: Env, state: State, cur: State, insn_idx: int) -> bool:
    """A state whose own paths are not all done: only loops of some kinds may end here."""
    rules = env.rules
    frame = state.frames[-1]
    aux = env.aux[insn_idx]
    if frame.in_async_callback_fn and frame.async_entry_cnt != cur.frames[-1].async_entry_cnt:
        return False
    if rules.loops == "none":
        if maybe_looping(state, cur) and states_equal(env, state, cur, NOT_EXACT):
            _infinite(env, state, cur, insn_idx)
        return False
    if aux.iter_next:
        if states_equal(env, state, cur, RANGE_WITHIN) and _iter_active(env, cur):
            if rules.loops == "entry":
                update_loop_entry(cur, state)
            return True
        return False
    if (
        aux.may_goto
        and state.may_goto_depth != cur.may_goto_depth
        and states_equal(env, state, cur, RANGE_WITHIN)
    ):
        if rules.loops == "entry":
            update_loop_entry(cur, state)
        return True
    if aux.calls_callback:
        if states_equal(env, state, cur, RANGE_WITHIN):
            if rules.loops == "entry":
                update_loop_entry(cur, state)
            return True
        return False
    if (
        maybe_looping(state, cur)
        and states_equal(env, state, cur, EXACT)
        and not _depths_differ(state, cur)
        and state.may_goto_depth == cur.may_goto_depth
        and state.callback_unroll_depth == cur.callback_unroll_depth
    ):
        _infinite(env, state, cur, insn_idx)
    return False


def _iter_active(env: Env, cur: State) -> bool:
    """Whether the iterator that r1 points at has not ended."""
    reg = cur.frames[-1].regs[1]
    frame = cur.frames[reg.frameno]
    spi = (-(reg.off + reg.value) - 1 & 0xFFFFFFFF) // 8
    for index in (spi, spi - 1):
        if 0 <= index < len(frame.stack):
            held = frame.stack[index].reg.aux
            if isinstance(held, Iter) and held.state == "active":
                return True
    return False


def _infinite(env: Env, state: State, cur: State, insn_idx: int) -> None:
    from bpfctl.kernel.bpf.verifier.log import infinite_loop

    infinite_loop(env, state, cur, insn_idx)
    env.fail(E.INVAL)


def _on_hit(env: Env, state: State, cur: State, insn_idx: int, loop: bool) -> None:
    rules = env.rules
    state.hit_cnt += 1
    if rules.liveness == "dynamic":
        _propagate_liveness(state, cur)
    if env.aux[insn_idx].jmp_point:
        env.cur_jump = None
        push_jump(env)
    propagate_precision(env, state, cur)
    if loop and rules.loops == "scc":
        backedge = cur.copy()
        backedge.equal_state = state
        backedge.insn_idx = insn_idx
        scc.add_backedge(env, state, backedge)


def _remember(env: Env, cur: State, insn_idx: int, found: list[State]) -> None:
    """Add a checkpoint, on which the current state depends from now on."""
    rules = env.rules
    stats = env.stats
    stats.total_states += 1
    if rules.peak == "kept":
        env.explored_size += 1
        stats.peak_states = max(stats.peak_states, env.explored_size + env.free_list_size)
    else:
        env.peak += 1
        stats.peak_states = env.peak
    env.prev_jmps_processed = env.jmps_processed
    env.prev_insn_processed = env.insn_processed
    if env.bpf_capable and rules.precision_forget:
        mark_all_scalars_imprecise(cur)
    new = cur.copy()
    new.insn_idx = insn_idx
    new.branches = 1
    if rules.loops == "scc":
        scc.maybe_enter(env, new)
    cur.parent = new
    cur.first_insn_idx = insn_idx
    cur.dfs_depth = new.dfs_depth + 1
    cur.history = []
    env.cur_jump = None
    if rules.liveness == "dynamic":
        _connect(new, cur)
    found.insert(0, new)


def _connect(new: State, cur: State) -> None:
    last = len(cur.frames) - 1
    for number, frame in enumerate(cur.frames):
        source = new.frames[number]
        for regno in range(FP):
            node = frame.live[regno]
            if number == last or regno >= 6:
                node.parent = source.live[regno]
            node.marks = 0
        for spi, node in enumerate(frame.stack_live):
            node.parent = source.stack_live[spi]
            node.marks = 0
