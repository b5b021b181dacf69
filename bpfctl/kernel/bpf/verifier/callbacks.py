"""Helpers that call a function of the program (push_callback_call).

What runs later (timers) is a path of its own. What runs before the helper returns is entered as a
path beside the one that goes on, so that any number of calls is covered ("iterate"), or, on older
releases, once on the way ("call").
"""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.args import CallMeta, is_null
from bpfctl.kernel.bpf.verifier.branch import push, push_stack
from bpfctl.kernel.bpf.verifier.env import LOG_LEVEL2, Env, VMap
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.state import (
    NOT_INIT_REG,
    UNKNOWN_SCALAR,
    BtfRef,
    Dynptr,
    Frame,
    State,
    pointer,
)
from bpfctl.kernel.bpf.verifier.subprogs import SetCallee, new_frame, setup_func_entry

MAIN_FUNC = -1
_ITERABLE = frozenset(
    ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "array", "percpu_array")
)
"""Map types that bpf_for_each_map_elem() takes."""


def _forget(callee: Frame, *regnos: int) -> None:
    for regno in regnos:
        callee.regs[regno] = NOT_INIT_REG


def _pass(caller: Frame, callee: Frame, source: int, regno: int) -> None:
    callee.regs[regno] = caller.regs[source]
    if caller.precise >> source & 1:
        callee.precise |= 1 << regno


def _sync(callee: Frame) -> None:
    callee.in_callback_fn = True
    callee.callback_ret_range = (0, 1)


def _loop(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    callee.regs[1] = UNKNOWN_SCALAR
    if env.precise_default:
        callee.precise |= 2
    _pass(caller, callee, 3, 2)
    _forget(callee, 3, 4, 5)
    _sync(callee)


def _map_elem(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    map_ = env.aux[insn_idx].map
    if map_ is None or map_.type not in _ITERABLE:
        env.fail(E.NOTSUPP, "callback function not allowed for map")
    _pass(caller, callee, 1, 1)
    callee.regs[2] = pointer(rt.PTR_TO_MAP_KEY, 0, map_)
    callee.regs[3] = pointer(rt.PTR_TO_MAP_VALUE, 0, map_)
    _pass(caller, callee, 3, 4)
    _forget(callee, 5)
    _sync(callee)


def _timer(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    map_: VMap = caller.regs[1].aux
    callee.regs[1] = pointer(rt.CONST_PTR_TO_MAP, 0, map_)
    callee.regs[2] = pointer(rt.PTR_TO_MAP_KEY, 0, map_)
    callee.regs[3] = pointer(rt.PTR_TO_MAP_VALUE, 0, map_)
    _forget(callee, 4, 5)
    callee.in_async_callback_fn = True
    callee.callback_ret_range = (0, 0)


def _find_vma(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    _pass(caller, callee, 1, 1)
    callee.regs[2] = pointer(rt.PTR_TO_BTF_ID, 0, BtfRef(None, 0, "vm_area_struct"))
    _pass(caller, callee, 4, 3)
    _forget(callee, 4, 5)
    _sync(callee)


def _drain(env: Env, caller: Frame, callee: Frame, insn_idx: int) -> None:
    reg = pointer(rt.CONST_PTR_TO_DYNPTR, 0, Dynptr("local"))
    reg.id = env.new_id()
    callee.regs[1] = reg
    _pass(caller, callee, 3, 2)
    _forget(callee, 3, 4, 5)
    _sync(callee)


_SET: dict[str, SetCallee] = {
    "loop": _loop,
    "for_each_map_elem": _map_elem,
    "find_vma": _find_vma,
    "user_ringbuf_drain": _drain,
}


def call_callback(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    """Have a callback verified.

    :raises Refused: ENOTSUPP, E2BIG.
    """
    name = meta.helper.name
    if name == "timer_set_callback":
        _push_async(env, insn_idx, meta.func)
        return
    if name == "loop":
        _note_inline(env, insn_idx, meta.func)
    env.subprogs[meta.func].is_cb = True
    if env.rules.callbacks != "iterate":
        _enter(env, insn_idx, meta.func, _SET[name])
        return
    if name == "loop":
        mark_chain_precision(env, 1)
        frame = env.frame
        if frame.callback_depth >= env.regs[1].umax:
            frame.callback_depth = 0
            if env.log_level & LOG_LEVEL2:
                env.verbose(f"frame{env.cur_state.curframe} bpf_loop iteration limit reached\n")
            return
    _push(env, insn_idx, meta.func, _SET[name])


def _push(env: Env, insn_idx: int, subprog: int, set_callee: SetCallee) -> None:
    """Queue the callback; this path goes on as if the helper were done."""
    state = push_stack(env, env.subprogs[subprog].start, insn_idx, False)
    setup_func_entry(env, subprog, insn_idx, set_callee, state)
    state.callback_unroll_depth += 1
    state.frames[-2].callback_depth += 1
    env.frame.callback_depth = 0


def _enter(env: Env, insn_idx: int, subprog: int, set_callee: SetCallee) -> None:
    """Go into the callback once the call itself is done with."""
    state = env.cur_state
    depth = len(state.frames)
    if depth >= env.rules.max_frames:
        env.fail(E.BIG, f"the call stack of {depth + 1} frames is too deep")
    callee = new_frame(env, insn_idx, depth, subprog)
    set_callee(env, state.frames[-1], callee, insn_idx)
    env.extra["enter"] = callee


def enter_pending(env: Env) -> None:
    """Push the frame of a callback that :func:`call_callback` has prepared."""
    callee = env.extra.pop("enter", None)
    if callee is not None:
        env.cur_state.frames.append(callee)
        env.next_idx = env.subprogs[callee.subprogno].start


def _push_async(env: Env, insn_idx: int, subprog: int) -> None:
    """Queue a callback that runs later, on a stack of its own (push_async_cb)."""
    info = env.subprogs[subprog]
    info.is_cb = info.is_async_cb = True
    state = State()
    callee = new_frame(env, MAIN_FUNC, 0, subprog)
    state.frames = [callee]
    callee.async_entry_cnt = env.frame.async_entry_cnt + 1
    _timer(env, env.frame, callee, insn_idx)
    push(env, state, info.start, insn_idx)


def _note_inline(env: Env, insn_idx: int, subprog: int) -> None:
    """Note whether a loop can be written out (update_loop_inline_state)."""
    flags_zero = is_null(env.regs[4])
    if flags_zero:
        mark_chain_precision(env, 4)
    aux = env.aux[insn_idx]
    extra = dict(aux.extra or {})
    if extra.setdefault("loop_callback", subprog) != subprog or not flags_zero:
        extra["loop_generic"] = True
    aux.extra = extra
