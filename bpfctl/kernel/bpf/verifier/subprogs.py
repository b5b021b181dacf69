"""Functions of a program: calls, returns, and the stack that a chain of calls takes."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.errors import E
from bpfctl.isa.insn import CALL, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, Insn
from bpfctl.kernel.bpf.verifier.env import LOG_LEVEL1, Env
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.regs import LIVE_READ, mark_read, mark_unknown
from bpfctl.kernel.bpf.verifier.regtype import (
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_PACKET_META,
    PTR_TO_STACK,
    SCALAR_VALUE,
)
from bpfctl.kernel.bpf.verifier.state import (
    FP,
    MAX_BPF_STACK,
    NOT_INIT_REG,
    UNKNOWN_SCALAR,
    Frame,
    Live,
    Reg,
    State,
)

TAIL_CALL = 12
TAIL_CALL_STACK = 256

SetCallee = Callable[[Env, Frame, Frame, int], None]


def new_frame(env: Env, callsite: int, frameno: int, subprogno: int) -> Frame:
    """A frame with unreadable registers (init_func_state)."""
    frame = Frame(callsite, frameno, subprogno)
    if env.rules.liveness == "dynamic":
        frame.live = [Live() for _ in range(FP + 1)]
    return frame


def set_callee_state(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    """A plain call passes r1 to r5, their read marks included."""
    for regno in range(1, 6):
        callee.regs[regno] = caller.regs[regno]
        bit = 1 << regno
        callee.precise |= caller.precise & bit
        if caller.live:
            node = caller.live[regno]
            callee.live[regno] = Live(node.parent, node.marks)


def setup_func_entry(
    env: Env, subprog: int, callsite: int, set_callee: SetCallee, state: State
) -> Frame:
    """Push a frame on a path (setup_func_entry).

    :raises Refused: E2BIG.
    """
    depth = len(state.frames)
    if depth >= env.rules.max_frames:
        env.fail(E.BIG, f"the call stack of {depth + 1} frames is too deep")
    callee = new_frame(env, callsite, depth, subprog)
    set_callee(env, state.frames[-1], callee, callsite)
    state.frames.append(callee)
    return callee


def clear_caller_saved(env: Env, frame: Frame) -> None:
    """r0 to r5 are lost in a call."""
    for regno in range(6):
        frame.regs[regno] = NOT_INIT_REG
        if frame.live:
            frame.live[regno].marks |= 2
    frame.precise &= ~0x3F


def clear_all_pkt_pointers(env: Env) -> None:
    """Packet pointers are void after the packet may have moved."""
    from bpfctl.kernel.bpf.verifier.packet import each_reg

    kinds = (PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_PACKET_END)

    gone = UNKNOWN_SCALAR if env.allow_ptr_leaks else NOT_INIT_REG

    def forget(reg: Reg) -> Reg | None:
        return gone if reg.type in kinds else None

    each_reg(env.cur_state, forget)


def check_func_call(env: Env, insn: Insn) -> int:
    """Check a call of another function and return where to go on.

    :raises Refused: EINVAL, EACCES, E2BIG.
    """
    state = env.cur_state
    caller = state.frames[-1]
    subprog_no = env.subprog_by_start[env.insn_idx + insn.imm + 1]
    subprog = env.subprogs[subprog_no]
    rules = env.rules
    if len(state.frames) >= rules.max_frames and rules.global_args == "first":
        env.fail(E.BIG, f"the call stack of {len(state.frames) + 1} frames is too deep")
    if subprog.is_global:
        from bpfctl.kernel.bpf.verifier.global_func import check_global_call

        check_global_call(env, subprog_no)
        if subprog.changes_pkt_data:
            clear_all_pkt_pointers(env)
        subprog.called = True
        clear_caller_saved(env, caller)
        if subprog.void:
            env.forget_reg(0)
        else:
            mark_unknown(env, 0)
        return env.insn_idx + 1
    setup_func_entry(env, subprog_no, env.insn_idx, set_callee_state, state)
    clear_caller_saved(env, caller)
    if env.log_level & LOG_LEVEL1:
        from bpfctl.kernel.bpf.verifier.log import print_state

        env.verbose("caller:\n")
        print_state(env, state, len(state.frames) - 2, True)
        env.verbose("callee:\n")
        print_state(env, state, len(state.frames) - 1, True)
    return subprog.start


def find_packet_changers(env: Env) -> None:
    """Mark the functions that may change the packet, themselves or through others."""
    callees: list[set[int]] = []
    for subprog in env.subprogs:
        called = set()
        for idx in range(subprog.start, subprog.end):
            insn = env.insns[idx]
            if insn.code == CALL and insn.src == 0:
                proto = env.helper_proto(insn.imm)
                if insn.imm == TAIL_CALL or (proto is not None and proto.changes_pkt):
                    subprog.changes_pkt_data = True
            callee = _called(env, idx)
            if callee is not None:
                called.add(callee)
        callees.append(called)
    again = True
    while again:
        again = False
        for no, subprog in enumerate(env.subprogs):
            if subprog.changes_pkt_data:
                continue
            if any(env.subprogs[callee].changes_pkt_data for callee in callees[no]):
                subprog.changes_pkt_data = again = True


def prepare_func_exit(env: Env) -> int:
    """Leave a function and return where to go on (prepare_func_exit).

    :raises Refused: EINVAL, EACCES.
    """
    state = env.cur_state
    callee = state.frames[-1]
    caller = state.frames[-2]
    r0 = callee.regs[0]
    if r0.type == PTR_TO_STACK:
        env.fail(E.INVAL, "cannot return stack pointer to the caller")
    if callee.in_callback_fn:
        _callback_return(env, callee, r0)
    else:
        caller.regs[0] = r0
        caller.precise = caller.precise & ~1 | callee.precise & 1
        if callee.live:
            caller.live[0] = callee.live[0]
    goes_back = callee.in_callback_fn and env.rules.callbacks == "iterate"
    next_idx = callee.callsite if goes_back else callee.callsite + 1
    if env.log_level & LOG_LEVEL1:
        from bpfctl.kernel.bpf.verifier.log import print_state

        env.verbose("returning from callee:\n")
        print_state(env, state, len(state.frames) - 1, True)
        env.verbose(f"to caller at {next_idx}:\n")
        print_state(env, state, len(state.frames) - 2, True)
    state.frames.pop()
    if goes_back:
        from bpfctl.kernel.bpf.verifier.prune import find_prev_entry, widen_imprecise

        before = find_prev_entry(env, state.parent, next_idx)
        if before is not None:
            widen_imprecise(env, before, state)
    return next_idx


def _callback_return(env: Env, callee: Frame, r0: Reg) -> None:
    if r0.type != SCALAR_VALUE:
        env.fail(E.ACCES, "R0 not a scalar value")
    if env.rules.callbacks == "iterate":
        if callee.live:
            node = callee.live[0]
            if not node.marks & LIVE_READ:
                mark_read(node)
        mark_chain_precision(env, 0)
    low, high = callee.callback_ret_range or (0, 0)
    from bpfctl.kernel.bpf.verifier.exit import in_range, refuse_range

    if not in_range(env, r0, low, high):
        refuse_range(env, r0, low, high, "callback return", "R0")


# --- the stack of a chain of calls --------------------------------------------------------


def _round(env: Env, depth: int) -> int:
    step = env.rules.stack_round
    if env.rules.stack_round_least:
        depth = max(depth, 1)
    return -(-depth // step) * step


def check_max_stack_depth(env: Env) -> None:
    """Add up the frames of every chain of calls (check_max_stack_depth).

    :raises Refused: EACCES, E2BIG.
    """
    for start, subprog in enumerate(env.subprogs):
        if start == 0 or (subprog.is_async_cb and env.rules.async_stack):
            _check_chain(env, start)


def _check_chain(env: Env, start: int) -> None:
    depth = 0
    frames: list[tuple[int, int]] = []
    no = start
    idx = env.subprogs[no].start
    entered = True
    while True:
        subprog = env.subprogs[no]
        if entered:
            if no and subprog.has_tail_call and depth >= TAIL_CALL_STACK:
                env.fail(
                    E.ACCES,
                    "tail_calls are not allowed when call stack of previous frames is "
                    f"{depth} bytes. Too large",
                )
            depth += _round(env, subprog.stack_depth)
            if depth > MAX_BPF_STACK:
                env.fail(
                    E.ACCES,
                    f"combined stack size of {len(frames) + 1} calls is {depth}. Too large",
                )
            entered = False
        callee = None
        while idx < subprog.end:
            callee = _called(env, idx)
            if callee is not None:
                break
            idx += 1
        if callee is not None:
            frames.append((idx + 1, no))
            if len(frames) >= env.rules.max_frames:
                env.fail(E.BIG, f"the call stack of {len(frames)} frames is too deep !")
            if env.subprogs[callee].has_tail_call:
                for _, caller in frames:
                    env.subprogs[caller].tail_call_reachable = True
            no, idx = callee, env.subprogs[callee].start
            entered = True
            continue
        depth -= _round(env, subprog.stack_depth)
        if not frames:
            return
        idx, no = frames.pop()


def _called(env: Env, idx: int) -> int | None:
    insn = env.insns[idx]
    direct = insn.code == CALL and insn.src == PSEUDO_CALL
    if not direct and not (insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC):
        return None
    callee = env.subprog_by_start.get(idx + insn.imm + 1)
    if callee is None:
        return None
    if env.subprogs[callee].is_async_cb and not direct:
        return None
    return callee
