"""When a state that was found safe vouches for another (states_equal, regsafe, stacksafe)."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.regs import LIVE_READ
from bpfctl.kernel.bpf.verifier.state import (
    ADD_CONST,
    DYNPTR,
    INVALID,
    IRQ_FLAG,
    ITER,
    MISC,
    NR_REGS,
    REG_SIZE,
    SPILL,
    UNKNOWN_SCALAR,
    ZERO,
    Frame,
    Iter,
    Reg,
    Slot,
    State,
)

NOT_EXACT, EXACT, RANGE_WITHIN = range(3)


class IdMap:
    """Ids of two states that stand for each other (check_ids)."""

    __slots__ = ("fresh", "new", "old", "unique")

    def __init__(self, fresh: int, unique: bool) -> None:
        self.old: dict[int, int] = {}
        self.new: set[int] = set()
        self.unique = unique
        self.fresh = fresh

    def same(self, old: int, new: int) -> bool:
        """Whether two ids may be the same thing."""
        if self.unique:
            if bool(old) != bool(new):
                return False
            if old == 0:
                return True
        found = self.old.get(old)
        if found is not None:
            return found == new
        if self.unique and new in self.new:
            return False
        self.old[old] = new
        self.new.add(new)
        return True

    def same_scalar(self, old: int, new: int) -> bool:
        """As :meth:`same`; numbers without an id have one of their own (check_scalar_ids)."""
        if not old:
            self.fresh += 1
            old = self.fresh
        if not new:
            self.fresh += 1
            new = self.fresh
        return self.same(old, new)


def range_within(old: Reg, new: Reg) -> bool:
    """Whether all ranges of ``new`` lie in those of ``old``, known bits included (tnum_in)."""
    return (
        old.umin <= new.umin
        and old.umax >= new.umax
        and old.smin <= new.smin
        and old.smax >= new.smax
        and old.u32_min <= new.u32_min
        and old.u32_max >= new.u32_max
        and old.s32_min <= new.s32_min
        and old.s32_max >= new.s32_max
        and not new.mask & ~old.mask
        and old.value == new.value & ~old.mask
    )


def _exact(old: Reg, new: Reg, ids: IdMap) -> bool:
    return (
        old.same_but_ids(new)
        and ids.same(old.id, new.id)
        and ids.same(old.ref_obj_id, new.ref_obj_id)
    )


def _same_place(old: Reg, new: Reg) -> bool:
    """memcmp() up to the variable offset."""
    return old.type == new.type and old.off == new.off and old.aux == new.aux


_BOUNDED = frozenset(
    (rt.PTR_TO_MAP_KEY, rt.PTR_TO_MAP_VALUE, rt.PTR_TO_MEM, rt.PTR_TO_BUF, rt.PTR_TO_TP_BUFFER)
)


def _packet_safe(old: Reg, new: Reg, ids: IdMap) -> bool:
    if old.aux < 0 or new.aux < 0:
        if old.aux != new.aux:
            return False
    elif old.aux > new.aux:
        return False
    return old.off == new.off and ids.same(old.id, new.id) and range_within(old, new)


def regsafe(env: Env, old: Reg, precise: bool, new: Reg, ids: IdMap, exact: int) -> bool:
    """Whether what was safe with ``old`` is with ``new`` (from 6.8)."""
    if exact == EXACT:
        return _exact(old, new, ids)
    if old.type == rt.NOT_INIT:
        return True
    if old.type != new.type:
        return False
    base = old.type & rt.BASE
    if base == rt.SCALAR_VALUE:
        if env.explore_alu_limits:
            return old.same_but_ids(new) and ids.same_scalar(old.id, new.id)
        if not precise and exact == NOT_EXACT:
            return True
        if old.id & ADD_CONST != new.id & ADD_CONST:
            return False
        if old.id & ADD_CONST and old.off != new.off:
            return False
        return range_within(old, new) and ids.same_scalar(old.id, new.id)
    if base in _BOUNDED:
        return (
            _same_place(old, new)
            and range_within(old, new)
            and ids.same(old.id, new.id)
            and ids.same(old.ref_obj_id, new.ref_obj_id)
        )
    if rt.is_pkt(base):
        return _packet_safe(old, new, ids)
    if base == rt.PTR_TO_STACK:
        return _exact(old, new, ids) and old.frameno == new.frameno
    return base == rt.PTR_TO_ARENA or _exact(old, new, ids)


def _identical(old: Reg, new: Reg) -> bool:
    return old is new or (
        old.value == new.value
        and old.id == new.id
        and old.ref_obj_id == new.ref_obj_id
        and old.same_but_ids(new)
    )


def regsafe_ids(env: Env, old: Reg, precise: bool, new: Reg, ids: IdMap, exact: int) -> bool:
    """As :func:`regsafe`, up to 6.2: equal registers need no comparison of ids."""
    equal = _identical(old, new)
    if old.type == rt.PTR_TO_STACK:
        return equal and old.frameno == new.frameno
    if equal or old.type == rt.NOT_INIT:
        return True
    if new.type == rt.NOT_INIT or old.type != new.type:
        return False
    base = old.type & rt.BASE
    if base == rt.SCALAR_VALUE:
        if env.explore_alu_limits:
            return False
        return not precise or range_within(old, new)
    if base in (rt.PTR_TO_MAP_KEY, rt.PTR_TO_MAP_VALUE):
        if old.type & rt.PTR_MAYBE_NULL:
            return old.same_but_ids(new) and ids.same(old.id, new.id)
        return (
            _same_place(old, new)
            and range_within(old, new)
            and (not env.rules.map_value_ids or ids.same(old.id, new.id))
        )
    if rt.is_pkt(base):
        if old.aux > new.aux or old.off != new.off:
            return False
        if old.id and not ids.same(old.id, new.id):
            return False
        return range_within(old, new)
    return False


RegSafe = Callable[[Env, Reg, bool, Reg, IdMap, int], bool]


# --- stack -----------------------------------------------------------------------------


def _scalar_of(env: Env, slot: Slot, precise: bool) -> tuple[Reg, bool] | None:
    """A slot that a load of 8 bytes would give a number from (scalar_reg_for_stack)."""
    types = slot.types
    if types == _SPILLED:
        return (slot.reg, precise) if slot.reg.type == rt.SCALAR_VALUE else None
    for kind in types:
        if kind != MISC and not (kind == INVALID and env.allow_uninit_stack):
            return None
    return UNKNOWN_SCALAR, False


_SPILLED = bytes((SPILL,)) * REG_SIZE
_EMPTY_SLOT = bytes((INVALID,)) * REG_SIZE


def _slot_safe(
    env: Env, old: Slot, precise: bool, new: Slot | None, ids: IdMap, exact: int, safe: RegSafe
) -> bool:
    rules = env.rules
    old_types = old.types
    if exact == EXACT and (new is None or new.types != old_types):
        return False
    if old_types == _EMPTY_SLOT:
        return True
    skip_misc = rules.stacksafe_uninit and env.allow_uninit_stack
    if new is None:
        return all(kind == INVALID or (skip_misc and kind == MISC) for kind in old_types)
    if rules.stacksafe_scalars:
        # Reached as soon as one byte matters; the bytes before it were skipped.
        if any(kind != INVALID and not (skip_misc and kind == MISC) for kind in old_types):
            old_scalar = _scalar_of(env, old, precise)
            new_scalar = _scalar_of(env, new, False)
            if old_scalar is not None and new_scalar is not None:
                return safe(env, old_scalar[0], old_scalar[1], new_scalar[0], ids, exact)
    new_types = new.types
    for index in range(REG_SIZE):
        kind = old_types[index]
        if kind == INVALID or (skip_misc and kind == MISC):
            continue
        if kind == MISC and new_types[index] == ZERO:
            continue
        if kind != new_types[index]:
            return False
    return _special_safe(env, old, precise, new, ids, exact, safe)


def _special_safe(
    env: Env, old: Slot, precise: bool, new: Slot, ids: IdMap, exact: int, safe: RegSafe
) -> bool:
    kind = old.types[7]
    if kind == SPILL:
        return safe(env, old.reg, precise, new.reg, ids, exact)
    if kind == DYNPTR:
        return old.reg.aux == new.reg.aux and ids.same(old.reg.id, new.reg.id)
    if kind == ITER:
        before, after = old.reg.aux, new.reg.aux
        if isinstance(before, Iter) and isinstance(after, Iter):
            if (before.name, before.state) != (after.name, after.state):
                return False
        return ids.same(old.reg.ref_obj_id, new.reg.ref_obj_id)
    if kind == IRQ_FLAG:
        return ids.same(old.reg.ref_obj_id, new.reg.ref_obj_id)
    return True


def _stacksafe(env: Env, old: Frame, new: Frame, ids: IdMap, exact: int, safe: RegSafe) -> bool:
    dynamic = old.stack_live
    new_stack = new.stack
    for spi, slot in enumerate(old.stack):
        if dynamic and exact == NOT_EXACT and not dynamic[spi].marks & LIVE_READ:
            continue
        other = new_stack[spi] if spi < len(new_stack) else None
        precise = bool(old.stack_precise >> spi & 1)
        if not _slot_safe(env, slot, precise, other, ids, exact, safe):
            return False
    return True


# --- states ----------------------------------------------------------------------------


def _refsafe(env: Env, old: State, new: State, ids: IdMap) -> bool:
    if len(old.refs) != len(new.refs):
        return False
    if (
        old.active_rcu_lock != new.active_rcu_lock
        or old.active_preempt_locks != new.active_preempt_locks
        or old.active_locks != new.active_locks
    ):
        return False
    if bool(old.active_lock) != bool(new.active_lock):
        return False
    if old.active_lock and not _lock_same(old.active_lock, new.active_lock, ids):
        return False
    if old.active_irq_id or new.active_irq_id:
        if not ids.same(old.active_irq_id, new.active_irq_id):
            return False
    for before, after in zip(old.refs, new.refs, strict=True):
        if before.kind != after.kind or before.ptr != after.ptr:
            return False
        if not ids.same(before.id, after.id):
            return False
    return True


def _lock_same(old: object, new: object, ids: IdMap) -> bool:
    if isinstance(old, tuple) and isinstance(new, tuple):
        return old[0] == new[0] and ids.same(old[1], new[1])
    return old == new


def states_equal(env: Env, old: State, new: State, exact: int) -> bool:
    """Whether ``new`` needs no look, since ``old`` was found safe."""
    rules = env.rules
    if len(old.frames) != len(new.frames):
        return False
    if old.speculative and not new.speculative:
        return False
    if old.in_sleepable != new.in_sleepable:
        return False
    for before, after in zip(old.frames, new.frames, strict=True):
        if before.callsite != after.callsite:
            return False
    ids = IdMap(env.id_gen, rules.unique_ids)
    if not _refsafe(env, old, new, ids):
        return False
    safe = regsafe if rules.regsafe == "types" else regsafe_ids
    last = len(old.frames) - 1
    for number, before in enumerate(old.frames):
        after = new.frames[number]
        if before.callback_depth > after.callback_depth:
            return False
        if rules.liveness == "static":
            if number == last:
                idx = old.insn_idx
            else:
                idx = old.frames[number + 1].callsite
            wanted = env.aux[idx].live_regs
        else:
            wanted = 0x7FF
            if exact == NOT_EXACT or rules.regsafe != "types":
                wanted = 1 << 10
                for regno in range(10):
                    if before.live[regno].marks & LIVE_READ:
                        wanted |= 1 << regno
        old_regs, new_regs = before.regs, after.regs
        precise = before.precise
        if not rules.old_precise_only:
            precise |= after.precise
        for regno in range(NR_REGS):
            if not wanted >> regno & 1:
                continue
            if not safe(
                env, old_regs[regno], bool(precise >> regno & 1), new_regs[regno], ids, exact
            ):
                return False
        if not _stacksafe(env, before, after, ids, exact, safe):
            return False
    return True


def maybe_looping(old: State, new: State) -> bool:
    """Whether the innermost registers are the very same (states_maybe_looping)."""
    if len(old.frames) != len(new.frames):
        return False
    for before, after in zip(old.frames[-1].regs, new.frames[-1].regs, strict=True):
        if before is not after and not _identical(before, after):
            return False
    return True
