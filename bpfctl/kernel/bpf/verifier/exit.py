"""The end of a function: what may be left over, what a callback may return."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.state import S64_MAX, S64_MIN, Reg


def in_range(env: Env, reg: Reg, low: int, high: int) -> bool:
    """Whether a number is between ``low`` and ``high`` for sure (retval_range_within)."""
    if env.rules.return_ranges == "tnum":
        return tnum.in_(tnum.range_(low, high), reg.var_off)
    return low <= reg.smin and reg.smax <= high


def refuse_range(env: Env, reg: Reg, low: int, high: int, where: str, name: str) -> None:
    """Say that a returned number is out of range (verbose_invalid_scalar).

    :raises Refused: EINVAL, always.
    """
    text = f"At {where} the register {name} "
    if env.rules.return_ranges == "tnum":
        if reg.mask == (1 << 64) - 1:
            text += "has unknown scalar value"
        else:
            text += f"has value {tnum.text(reg.var_off)}"
        text += f" should have been in {tnum.text(tnum.range_(low, high))}"
    else:
        text += "has"
        if reg.smin > S64_MIN:
            text += f" smin={reg.smin}"
        if reg.smax < S64_MAX:
            text += f" smax={reg.smax}"
        if reg.smin == S64_MIN and reg.smax == S64_MAX:
            text += " unknown scalar value"
        text += f" should have been in [{low}, {high}]"
    env.fail(E.INVAL, text)


def check_leaks(env: Env, check_locks: bool, prefix: str, exception: bool = False) -> None:
    """References that are not given back, locks that are held (check_resource_leak).

    :raises Refused: EINVAL.
    """
    state = env.cur_state
    rules = env.rules
    plain = rules.leak_words == "plain"
    if check_locks and (state.active_locks or state.active_lock) and not plain:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_spin_lock-ed region")
    frame = state.frames[-1]
    if exception or len(state.frames) == 1 or frame.in_callback_fn:
        leaked = [
            ref
            for ref in state.refs
            if ref.kind == "ptr" and (not frame.in_callback_fn or ref.frameno == frame.frameno)
        ]
        for ref in leaked:
            env.verbose(f"Unreleased reference id={ref.id} alloc_insn={ref.insn_idx}\n")
        if leaked:
            if plain or rules.leak_words == "reference":
                env.fail(E.INVAL)
            env.fail(E.INVAL, f"{prefix} would lead to reference leak")
    if not check_locks or plain:
        return
    if state.active_irq_id:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_local_irq_save-ed region")
    if state.active_rcu_lock:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_rcu_read_lock-ed region")
    if state.active_preempt_locks:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_preempt_disable-ed region")
