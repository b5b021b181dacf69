"""References that a program must give back, and locks that it must open."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.packet import each_reg
from bpfctl.kernel.bpf.verifier.state import NOT_INIT_REG, UNKNOWN_SCALAR, Ref, Reg


def acquire(env: Env, insn_idx: int) -> int:
    """Note a new reference and return its id (acquire_reference_state)."""
    ref_id = env.new_id()
    state = env.cur_state
    state.refs = (*state.refs, Ref(ref_id, insn_idx, "ptr", state.frame.frameno))
    return ref_id


def release(env: Env, ref_obj_id: int) -> bool:
    """Give a reference back and forget all copies of the pointer (release_reference)."""
    state = env.cur_state
    kept = tuple(ref for ref in state.refs if ref.id != ref_obj_id)
    if len(kept) == len(state.refs):
        return False
    state.refs = kept
    gone = UNKNOWN_SCALAR if env.allow_ptr_leaks else NOT_INIT_REG

    def forget(reg: Reg) -> Reg | None:
        return gone if reg.ref_obj_id == ref_obj_id else None

    each_reg(state, forget)
    return True


def clear_packet_pointers(env: Env) -> None:
    """A packet has changed: all pointers into it are void (clear_all_pkt_pointers)."""
    gone = UNKNOWN_SCALAR if env.allow_ptr_leaks else NOT_INIT_REG
    pkt = (rt.PTR_TO_PACKET, rt.PTR_TO_PACKET_META, rt.PTR_TO_PACKET_END)

    def forget(reg: Reg) -> Reg | None:
        return gone if reg.type in pkt else None

    each_reg(env.cur_state, forget)


def check_reference_leak(env: Env, exception_exit: bool, prefix: str) -> None:
    """Refuse to leave with references (check_reference_leak, check_resource_leak).

    ``prefix`` is what leaves, as the release names it last; empty for no such line.

    :raises Refused: EINVAL.
    """
    state = env.cur_state
    frame = state.frame
    if not exception_exit and frame.frameno and not frame.in_callback_fn:
        return
    leaked = False
    for ref in state.refs:
        if ref.kind != "ptr":
            continue
        if not exception_exit and frame.in_callback_fn and ref.frameno != frame.frameno:
            continue
        env.verbose(f"Unreleased reference id={ref.id} alloc_insn={ref.insn_idx}\n")
        leaked = True
    if leaked:
        env.fail(E.INVAL, f"{prefix} would lead to reference leak" if prefix else "")


def check_resource_leak(env: Env, exception_exit: bool, prefix: str) -> None:
    """Refuse to leave with references, a lock, or inside a region (check_resource_leak).

    :raises Refused: EINVAL.
    """
    state = env.cur_state
    check_reference_leak(env, exception_exit, prefix)
    if state.active_lock is not None:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_spin_lock-ed region")
    if state.active_rcu_lock:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_rcu_read_lock-ed region")
    if state.active_preempt_locks:
        env.fail(E.INVAL, f"{prefix} cannot be used inside bpf_preempt_disable-ed region")
