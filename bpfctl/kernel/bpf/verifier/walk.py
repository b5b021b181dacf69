"""do_check(): one instruction after the other, one path after the other."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import (
    BPF_ALU,
    BPF_ALU64,
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_LDX,
    BPF_ST,
    BPF_STX,
    BPF_X,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_VALUE,
    VALUES,
    Insn,
)
from bpfctl.kernel.bpf.verifier.alu import check_alu_op
from bpfctl.kernel.bpf.verifier.branch import push_jump, push_stack
from bpfctl.kernel.bpf.verifier.env import (
    COMPLEXITY_LIMIT_INSNS,
    LOG_LEVEL1,
    LOG_LEVEL2,
    Env,
    Refused,
)
from bpfctl.kernel.bpf.verifier.exit import check_leaks
from bpfctl.kernel.bpf.verifier.exits import check_return_code
from bpfctl.kernel.bpf.verifier.jumps import check_cond_jmp
from bpfctl.kernel.bpf.verifier.memory import check_load, check_ptr_off_reg, check_store
from bpfctl.kernel.bpf.verifier.prune import end_path, is_state_visited
from bpfctl.kernel.bpf.verifier.regs import check_writable, mark_unknown, read_reg, write_unknown
from bpfctl.kernel.bpf.verifier.regtype import (
    CONST_PTR_TO_MAP,
    PTR_TO_CTX,
    PTR_TO_FUNC,
    PTR_TO_MAP_VALUE,
)
from bpfctl.kernel.bpf.verifier.state import State, const_reg, pointer
from bpfctl.kernel.bpf.verifier.subprogs import (
    check_func_call,
    clear_caller_saved,
    prepare_func_exit,
)

_RECOVERABLE = (E.PERM, E.ACCES, E.INVAL)
_SKB_TYPES = frozenset(("socket_filter", "sched_cls", "sched_act"))
SPIN_UNLOCK = 94


class _PathEnds(Exception):
    """The program ends here (PROCESS_BPF_EXIT)."""


# --- classes of instructions ---------------------------------------------------------------


def _alu(env: Env, insn: Insn) -> int:
    check_alu_op(env, insn)
    return env.insn_idx + 1


def _ldx(env: Env, insn: Insn) -> int:
    check_load(env, insn)
    return env.insn_idx + 1


def _store(env: Env, insn: Insn) -> int:
    check_store(env, insn)
    return env.insn_idx + 1


def _jmp(env: Env, insn: Insn) -> int:
    env.jmps_processed += 1
    opcode = insn.code & 0xF0
    if opcode == BPF_CALL:
        return _call(env, insn)
    if opcode == BPF_EXIT:
        return _exit(env, insn)
    if opcode:
        return check_cond_jmp(env, insn)
    is32 = insn.code & 7 == BPF_JMP32
    if insn.code & BPF_X or insn.src or insn.dst or (insn.off if is32 else insn.imm):
        env.fail(E.INVAL, "BPF_JA uses reserved fields")
    return env.insn_idx + 1 + (insn.imm if is32 else insn.off)


def _call(env: Env, insn: Insn) -> int:
    rules = env.rules
    kinds = (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL) if rules.kfuncs else (0, PSEUDO_CALL)
    if (
        insn.code & BPF_X
        or (insn.off and insn.src != PSEUDO_KFUNC_CALL)
        or insn.src not in kinds
        or insn.dst
        or insn.code & 7 == BPF_JMP32
    ):
        env.fail(E.INVAL, "BPF_CALL uses reserved fields")
    if env.cur_state.active_lock or env.cur_state.active_locks:
        if insn.src == 0 and insn.imm != SPIN_UNLOCK:
            env.fail(E.INVAL, "function calls are not allowed while holding a lock")
    if insn.src == PSEUDO_CALL:
        return check_func_call(env, insn)
    from bpfctl.kernel.bpf.verifier import calls

    env.next_idx = env.insn_idx + 1
    if insn.src == PSEUDO_KFUNC_CALL:
        calls.check_kfunc_call(env, insn, env.insn_idx)
    else:
        calls.check_helper_call(env, insn, env.insn_idx)
    return env.next_idx


def _exit(env: Env, insn: Insn) -> int:
    if insn.code & BPF_X or insn.imm or insn.src or insn.dst or insn.code & 7 == BPF_JMP32:
        env.fail(E.INVAL, "BPF_EXIT uses reserved fields")
    state = env.cur_state
    rules = env.rules
    if rules.leak_words == "plain":
        if state.active_lock:
            env.fail(E.INVAL, "bpf_spin_unlock is missing")
        if state.frames[-1].in_callback_fn or len(state.frames) == 1:
            check_leaks(env, False, "")
    else:
        check_leaks(env, len(state.frames) == 1, "BPF_EXIT instruction in main prog")
    if len(state.frames) > 1:
        return prepare_func_exit(env)
    check_return_code(env)
    raise _PathEnds


def _ld(env: Env, insn: Insn) -> int:
    mode = insn.code & 0xE0
    if mode in (0x20, 0x40):
        return _ld_abs(env, insn, mode == 0x40)
    if mode == 0:
        _ld_imm(env, insn)
        return env.insn_idx + 2
    env.fail(E.INVAL, "invalid BPF_LD mode")


def _ld_imm(env: Env, insn: Insn) -> None:
    if insn.code & 0x18 != 0x18:
        env.fail(E.INVAL, "invalid BPF_LD_IMM insn")
    if insn.off:
        env.fail(E.INVAL, "BPF_LD_IMM64 uses reserved fields")
    write_unknown(env, insn.dst)
    idx = env.insn_idx
    if insn.src == 0:
        high = env.insns[idx + 1].imm
        env.set_reg(insn.dst, const_reg(high << 32 | insn.imm & 0xFFFFFFFF), env.precise_default)
        return
    if insn.src == PSEUDO_BTF_ID:
        from bpfctl.kernel.bpf.verifier.kfunc import variable_reg

        env.set_reg(insn.dst, variable_reg(env, idx))
        return
    if insn.src == PSEUDO_FUNC:
        no = env.subprog_by_start[idx + insn.imm + 1]
        if not env.has_func_info:
            env.fail(E.INVAL, "missing btf func_info")
        if env.subprogs[no].linkage != "static":
            env.fail(E.INVAL, "callback function not static")
        env.set_reg(insn.dst, pointer(PTR_TO_FUNC, 0, no))
        return
    aux = env.aux[idx]
    map_ = aux.map
    assert map_ is not None
    if insn.src in VALUES or insn.src == PSEUDO_MAP_VALUE:
        if map_.type == "arena":
            mark_unknown(env, insn.dst)
            return
        reg = pointer(PTR_TO_MAP_VALUE, aux.map_off, map_)
        if env.rules.direct_value_id and "spin_lock" in map_.fields:
            reg.id = env.new_id()
    else:
        reg = pointer(CONST_PTR_TO_MAP, 0, map_)
    env.set_reg(insn.dst, reg)


def _ld_abs(env: Env, insn: Insn, indirect: bool) -> int:
    if env.type.name not in _SKB_TYPES:
        env.fail(E.INVAL, "BPF_LD_[ABS|IND] instructions not allowed for this program type")
    rules = env.rules
    if len(env.subprogs) > 1 and rules.ld_abs_subprogs == "refused":
        env.fail(E.INVAL, "BPF_LD_[ABS|IND] instructions cannot be mixed with bpf-to-bpf calls")
    if insn.dst or insn.off or insn.code & 0x18 == 0x18 or (not indirect and insn.src):
        env.fail(E.INVAL, "BPF_LD_[ABS|IND] uses reserved fields")
    ctx = read_reg(env, 6)
    if rules.leak_words == "plain":
        if env.cur_state.refs:
            for ref in env.cur_state.refs:
                env.verbose(f"Unreleased reference id={ref.id} alloc_insn={ref.insn_idx}\n")
            env.fail(E.INVAL, "BPF_LD_[ABS|IND] cannot be mixed with socket references")
        if env.cur_state.active_lock:
            env.fail(E.INVAL, "BPF_LD_[ABS|IND] cannot be used inside bpf_spin_lock-ed region")
    else:
        check_leaks(env, True, "BPF_LD_[ABS|IND]", True)
    if ctx.type != PTR_TO_CTX:
        env.fail(E.INVAL, "at the time of BPF_LD_ABS|IND R6 != pointer to skb")
    if indirect:
        read_reg(env, insn.src)
    check_ptr_off_reg(env, ctx, 6)
    clear_caller_saved(env, env.frame)
    mark_unknown(env, 0)
    if rules.ld_abs_exits and len(env.cur_state.frames) > 1:
        return _may_end_here(env)
    return env.insn_idx + 1


def _may_end_here(env: Env) -> int:
    """The load may end the program inside a function: follow its return too, and first."""
    push_stack(env, env.insn_idx + 1, env.insn_idx, False)
    env.set_reg(0, const_reg(0), env.precise_default)
    return prepare_func_exit(env)


_CLASSES = {
    BPF_LD: _ld,
    BPF_LDX: _ldx,
    BPF_ST: _store,
    BPF_STX: _store,
    BPF_ALU: _alu,
    BPF_JMP: _jmp,
    BPF_JMP32: _jmp,
    BPF_ALU64: _alu,
}
_BY_CLASS = [_CLASSES[cls] for cls in range(8)]


# --- the walk ------------------------------------------------------------------------------


def _next_path(env: Env) -> bool:
    """The current path has ended: take the next from the stack (pop_stack)."""
    if env.stack_live is not None:
        env.stack_live.update()
    end_path(env)
    if not env.stack:
        return False
    pending = env.stack.pop()
    if not env.log_level & LOG_LEVEL2:
        del env.log[pending.log_len :]
    env.cur_state = pending.state
    env.insn_idx = pending.insn_idx
    env.prev_insn_idx = pending.prev_insn_idx
    return True


def _too_large(env: Env) -> None:
    env.fail(E.BIG, f"BPF program is too large. Processed {env.insn_processed} insn")


def do_check(env: Env) -> None:
    """Follow all paths of one function from the current state.

    :raises Refused: what the instructions refuse; E2BIG.
    """
    insns, aux = env.insns, env.aux
    log = bool(env.log_level & (LOG_LEVEL1 | LOG_LEVEL2))
    history = env.rules.precision != "single"
    stack_live = env.stack_live
    env.print_state = len(env.cur_state.frames) > 0 and log
    count = len(insns)
    while True:
        idx = env.insn_idx
        if idx >= count:
            env.fail(E.FAULT, f"invalid insn idx {idx} insn_cnt {count}")
        env.cur_jump = None
        insn = insns[idx]
        info = aux[idx]
        env.insn_processed += 1
        if env.insn_processed > COMPLEXITY_LIMIT_INSNS:
            _too_large(env)
        state = env.cur_state
        state.last_insn_idx = env.prev_insn_idx
        state.insn_idx = idx
        if info.prune_point:
            if is_state_visited(env, idx):
                if log:
                    _say_safe(env)
                if not _next_path(env):
                    return
                env.print_state = log
                continue
            if not history and idx:
                _single_history(env, state)
        if history:
            if info.jmp_point:
                push_jump(env)
        elif info.jmp_point and not info.prune_point:
            _single_history(env, state)
        if log:
            _print_insn(env, idx)
        info.seen = 1
        if state.speculative and info.nospec:
            if not _next_path(env):
                return
            env.print_state = log
            continue
        if stack_live is not None:
            stack_live.begin()
        try:
            after = _BY_CLASS[insn.code & 7](env, insn)
        except _PathEnds:
            if not _next_path(env):
                return
            env.print_state = log
            continue
        except Refused as exc:
            if env.rules.nospec == "barrier" and state.speculative and exc.code in _RECOVERABLE:
                info.nospec = True
                info.alu_state = 0
                if not _next_path(env):
                    return
                env.print_state = log
                continue
            raise
        if state.speculative and info.nospec_result and env.rules.nospec == "barrier":
            if not _next_path(env):
                return
            env.print_state = log
            continue
        env.prev_insn_idx = idx
        env.insn_idx = after


def _single_history(env: Env, state: State) -> None:
    """Up to 6.7 the history is where the path jumped."""
    if (env.cur_jump is None and state.first_insn_idx != env.insn_idx) or state.history:
        push_jump(env)


def _say_safe(env: Env) -> None:
    spec = " (speculative execution)" if env.cur_state.speculative else ""
    if env.print_state:
        env.verbose(f"\nfrom {env.prev_insn_idx} to {env.insn_idx}{spec}: safe\n")
    else:
        env.verbose(f"{env.insn_idx}: safe\n")


def _print_insn(env: Env, idx: int) -> None:
    from bpfctl.kernel.bpf.verifier.log import before_insn

    before_insn(env, idx)


__all__ = ["check_writable", "do_check"]
