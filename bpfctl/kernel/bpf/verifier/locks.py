"""Special fields of map values: spin locks, timers, kernel pointers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from bpfctl.errors import E
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import Env, VMap
from bpfctl.kernel.bpf.verifier.state import Reg

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.verifier.args import CallMeta


def _traits(env: Env) -> frozenset[str]:
    return prog_rules(env.kernel.profile.name).traits


def _refuse(env: Env, text: str) -> NoReturn:
    errno = E.ACCES if "lock_errno_eacces" in _traits(env) else E.INVAL
    env.fail(errno, text)


def field_offset(map_: VMap, kind: str) -> int:
    """Where a map's values have their only ``kind``, -1 if they have none."""
    places = map_.fields.get(kind)
    return places[0][0] if places else -1


def _place(env: Env, regno: int, reg: Reg, kind: str, user: str) -> int:
    """Check that a register points at the ``kind`` of a map's value; return the offset."""
    if reg.mask:
        _refuse(
            env,
            f"R{regno} doesn't have constant offset. {kind} has to be at the constant offset",
        )
    map_: VMap = reg.aux
    if not map_.btf_id:
        _refuse(env, f"map '{map_.name}' has to have BTF in order to use {user}")
    return reg.off + reg.value


def _check_offset(env: Env, map_: VMap, kind: str, off: int) -> None:
    at = field_offset(map_, kind.removeprefix("bpf_"))
    if at < 0:
        if "lock_words_old" in _traits(env) and kind == "bpf_spin_lock":
            _refuse(env, f"map '{map_.name}' doesn't have 'struct bpf_spin_lock'")
        _refuse(env, f"map '{map_.name}' has no valid {kind}")
    if at != off:
        where = "" if "lock_words_old" in _traits(env) else f" that is at {at}"
        _refuse(env, f"off {off} doesn't point to 'struct {kind}'{where}")


def process_spin_lock(env: Env, regno: int, reg: Reg, lock: bool) -> None:
    """Take or give back a lock (process_spin_lock).

    :raises Refused: EINVAL, EACCES on old releases.
    """
    off = _place(env, regno, reg, "bpf_spin_lock", "bpf_spin_lock")
    _check_offset(env, reg.aux, "bpf_spin_lock", off)
    state = env.cur_state
    held = (reg.aux, reg.id)
    if lock:
        if state.active_lock is not None:
            _refuse(env, "Locking two bpf_spin_locks are not allowed")
        state.active_lock = held
        return
    if state.active_lock is None:
        _refuse(env, "bpf_spin_unlock without taking a lock")
    if state.active_lock[0] is not held[0] or state.active_lock[1] != held[1]:
        _refuse(env, "bpf_spin_unlock of different lock")
    state.active_lock = None


def process_timer(env: Env, regno: int, reg: Reg, meta: CallMeta) -> None:
    """Check a pointer to a timer (process_timer_func)."""
    off = _place(env, regno, reg, "bpf_timer", "bpf_timer")
    _check_offset(env, reg.aux, "bpf_timer", off)
    meta.map = reg.aux
    meta.map_uid = reg.map_uid


def process_kptr(env: Env, regno: int, reg: Reg, meta: CallMeta) -> None:
    """Check a place for a kernel pointer (process_kptr_func)."""
    if reg.type & rt.BASE != rt.PTR_TO_MAP_VALUE:
        _refuse(env, f"R{regno} has no valid kptr")
    off = _place(env, regno, reg, "kptr", "bpf_kptr_xchg")
    map_: VMap = reg.aux
    meta.map = map_
    if "kptr" not in map_.fields:
        old = "lock_words_old" in _traits(env)
        _refuse(
            env, f"map '{map_.name}' has no valid kptr" if old else f"R{regno} has no valid kptr"
        )
    if all(place[0] != off for place in map_.fields["kptr"]):
        env.fail(E.ACCES, f"off={off} doesn't point to kptr")
