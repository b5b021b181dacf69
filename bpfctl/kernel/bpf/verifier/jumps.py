"""Conditional jumps (check_cond_jmp_op)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_JMP, BPF_JMP32, BPF_X, Insn
from bpfctl.kernel.bpf.verifier import cond, packet
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.branch import F_DST_STACK, F_SRC_STACK, push_jump, push_stack
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.linked import collect_linked, sync_linked
from bpfctl.kernel.bpf.verifier.nullness import mark_ptr_or_null, not_null
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.regs import read_reg
from bpfctl.kernel.bpf.verifier.spec import speculative_branch
from bpfctl.kernel.bpf.verifier.state import Reg, State, const_reg

JCOND = 0xE0
JA = 0x00


def check_cond_jmp(env: Env, insn: Insn) -> int:
    """Check a conditional jump, queue its other side, return where to go on.

    :raises Refused: EINVAL, EACCES; what :func:`push_stack` raises.
    """
    opcode = insn.code & 0xF0
    is32 = insn.code & 7 == BPF_JMP32
    most = JCOND if env.isa >= 4 else cond.JSLE
    if opcode == JA or opcode > most:
        env.fail(E.INVAL, f"invalid BPF_JMP/JMP32 opcode {opcode:x}")
    if opcode == JCOND:
        return _may_goto(env, insn)
    dst, src = _operands(env, insn)
    this_branch = env.cur_state
    flags = 0
    if src.type == rt.PTR_TO_STACK:
        flags |= F_SRC_STACK
    if dst.type == rt.PTR_TO_STACK:
        flags |= F_DST_STACK
    if flags and env.rules.history_flags:
        push_jump(env, flags)
    pred = _predict(env, insn, dst, src, opcode, is32)
    if pred >= 0:
        if dst.type == rt.SCALAR_VALUE:
            mark_chain_precision(env, insn.dst)
        if insn.code & BPF_X and src.type == rt.SCALAR_VALUE:
            mark_chain_precision(env, insn.src)
        taken, other = env.insn_idx + insn.off + 1, env.insn_idx + 1
        if not pred:
            taken, other = other, taken
        if not env.bypass_spec_v1:
            speculative_branch(env, insn, other)
        return taken
    return _both(env, insn, dst, src, opcode, is32, this_branch)


def _operands(env: Env, insn: Insn) -> tuple[Reg, Reg]:
    by_reg = insn.code & BPF_X
    if env.rules.jump_reads_dst_first:
        read_reg(env, insn.dst)
    if by_reg:
        if insn.imm:
            env.fail(E.INVAL, "BPF_JMP/JMP32 uses reserved fields")
        read_reg(env, insn.src)
        dst, src = env.regs[insn.dst] if insn.dst < 11 else None, env.regs[insn.src]
        exempt = (
            env.rules.pkt_comparison_unprivileged
            and dst is not None
            and packet.is_pkt_any(dst)
            and packet.is_pkt_any(src)
        )
        if not exempt and env.is_pointer_value(insn.src):
            env.fail(E.ACCES, f"R{insn.src} pointer comparison prohibited")
    elif insn.src:
        env.fail(E.INVAL, "BPF_JMP/JMP32 uses reserved fields")
    if not env.rules.jump_reads_dst_first:
        read_reg(env, insn.dst)
    regs = env.regs
    return regs[insn.dst], regs[insn.src] if by_reg else const_reg(insn.imm)


def reg_not_null(reg: Reg) -> bool:
    """Whether a pointer is known not to be NULL (reg_not_null)."""
    if reg.type & rt.PTR_MAYBE_NULL:
        return False
    base = reg.type & rt.BASE
    if base in (
        rt.PTR_TO_SOCKET, rt.PTR_TO_TCP_SOCK, rt.PTR_TO_MAP_VALUE, rt.PTR_TO_MAP_KEY,
        rt.PTR_TO_SOCK_COMMON, rt.CONST_PTR_TO_MAP,
    ):  # fmt: skip
        return True
    if base == rt.PTR_TO_BTF_ID:
        return bool(reg.ref_obj_id or reg.type & (rt.PTR_TRUSTED | rt.MEM_RCU | rt.MEM_ALLOC))
    return base == rt.PTR_TO_MEM and not reg.type & rt.PTR_UNTRUSTED


def _reg_not_null(env: Env, reg: Reg) -> bool:
    if not reg_not_null(reg):
        return False
    base = reg.type & rt.BASE
    if base == rt.CONST_PTR_TO_MAP:
        return env.rules.map_ptr_not_null
    if base in (rt.PTR_TO_MEM, rt.PTR_TO_BTF_ID):
        return env.rules.mem_not_null
    return True


def _null_taken(env: Env, ptr: Reg, const: Reg, opcode: int, is32: bool) -> int:
    if not cond.is_const(const, is32) or not _reg_not_null(env, ptr):
        return -1
    if const.value & 0xFFFFFFFF if is32 else const.value:
        return -1
    return {cond.JEQ: 0, cond.JNE: 1}.get(opcode, -1)


def _predict(env: Env, insn: Insn, dst: Reg, src: Reg, opcode: int, is32: bool) -> int:
    """1 taken, 0 not, -1 both are possible (is_branch_taken)."""
    rules = env.rules
    numbers = dst.type == rt.SCALAR_VALUE == src.type
    if rules.branch == "const":
        return _predict_const(env, dst, src, opcode, is32)
    if insn.code & BPF_X and packet.is_pkt_any(dst) and packet.is_pkt_any(src) and not is32:
        return packet.branch_taken(dst, src, opcode)
    if numbers:
        if rules.branch_same_reg and insn.code & BPF_X and insn.dst == insn.src:
            return cond.taken_same(dst, opcode, is32)
        if not cond.is_const(src, is32):
            dst, src, opcode = src, dst, cond.flip(opcode)
        return cond.taken_by_ranges(dst, src, opcode, is32, rules)
    if not (src.type == rt.SCALAR_VALUE and cond.is_const(src, is32)):
        dst, src, opcode = src, dst, cond.flip(opcode)
    if src.type != rt.SCALAR_VALUE:
        return -1
    return _null_taken(env, dst, src, opcode, is32)


def _predict_const(env: Env, dst: Reg, src: Reg, opcode: int, is32: bool) -> int:
    """Up to 6.7 only constants decide."""
    if src.type == rt.SCALAR_VALUE and cond.is_const(src, is32):
        if dst.type != rt.SCALAR_VALUE:
            return _null_taken(env, dst, src, opcode, is32)
        return cond.taken_by_const(dst, src.value, opcode, is32, env.rules.jeq_ranges)
    if env.rules.packet_end_marks and packet.is_pkt_any(dst) and packet.is_pkt_any(src):
        return -1 if is32 else packet.branch_taken(dst, src, opcode)
    return -1


# --- both ways ---------------------------------------------------------------------


def _both(
    env: Env, insn: Insn, dst: Reg, src: Reg, opcode: int, is32: bool, this_branch: State
) -> int:
    by_reg = bool(insn.code & BPF_X)
    rules = env.rules
    linked: tuple[tuple[int, bool, int], ...] = ()
    if rules.linked_regs == "history":
        groups = []
        if by_reg and src.type == rt.SCALAR_VALUE and src.id:
            groups.append(src.id)
        if dst.type == rt.SCALAR_VALUE and dst.id:
            groups.append(dst.id)
        linked = collect_linked(env, this_branch, groups)
        if len(linked) > 1:
            push_jump(env, 0, linked)
        regs = env.regs
        dst = regs[insn.dst]
        src = regs[insn.src] if by_reg else src
    other_branch = push_stack(env, env.insn_idx + insn.off + 1, env.insn_idx, False)
    if dst.type == rt.SCALAR_VALUE and src.type == rt.SCALAR_VALUE:
        if rules.branch == "const":
            _learn_const(insn, dst, src, opcode, is32, this_branch, other_branch)
        else:
            _learn(env, insn, dst, src, opcode, is32, this_branch, other_branch)
    for regno in (insn.src, insn.dst) if by_reg else (insn.dst,):
        reg = this_branch.frame.regs[regno]
        if reg.type != rt.SCALAR_VALUE or not reg.id:
            continue
        if rules.branch == "const" and regno == insn.src and by_reg:
            if dst.type != rt.SCALAR_VALUE:
                continue
        sync_linked(env, this_branch, regno, linked)
        sync_linked(env, other_branch, regno, linked)
    _null_checks(env, insn, dst, src, opcode, is32, this_branch, other_branch)
    return env.insn_idx + 1


def _learn(
    env: Env,
    insn: Insn,
    dst: Reg,
    src: Reg,
    opcode: int,
    is32: bool,
    this_branch: State,
    other_branch: State,
) -> None:
    by_reg = insn.code & BPF_X
    if by_reg and insn.src == insn.dst and env.rules.branch_same_reg:
        return
    true = dst.copy(), src.copy()
    false = dst.copy(), src.copy()
    if by_reg and insn.src == insn.dst:
        true = true[0], true[0]
        false = false[0], false[0]
    cond.learn(true, false, opcode, is32, env.rules, env.sync)
    this_regs, other_regs = this_branch.frame.regs, other_branch.frame.regs
    this_regs[insn.dst], other_regs[insn.dst] = false[0], true[0]
    if by_reg:
        this_regs[insn.src], other_regs[insn.src] = false[1], true[1]


def _learn_const(
    insn: Insn,
    dst: Reg,
    src: Reg,
    opcode: int,
    is32: bool,
    this_branch: State,
    other_branch: State,
) -> None:
    """Up to 6.7: one side is a constant, or both are compared for equality."""
    this_regs, other_regs = this_branch.frame.regs, other_branch.frame.regs
    if cond.is_const(src, is32):
        true, false = dst.copy(), dst.copy()
        cond.set_min_max(true, false, src.value, opcode, is32)
        this_regs[insn.dst], other_regs[insn.dst] = false, true
    elif cond.is_const(dst, is32):
        true, false = src.copy(), src.copy()
        cond.set_min_max(true, false, dst.value, cond.flip(opcode), is32)
        this_regs[insn.src], other_regs[insn.src] = false, true
    elif not is32 and opcode in (cond.JEQ, cond.JNE) and insn.src != insn.dst:
        equal_dst, equal_src = dst.copy(), src.copy()
        cond.combine_equal(equal_src, equal_dst)
        regs = other_regs if opcode == cond.JEQ else this_regs
        regs[insn.dst], regs[insn.src] = equal_dst, equal_src


def _null_checks(
    env: Env,
    insn: Insn,
    dst: Reg,
    src: Reg,
    opcode: int,
    is32: bool,
    this_branch: State,
    other_branch: State,
) -> None:
    by_reg = insn.code & BPF_X
    equality = not is32 and opcode in (cond.JEQ, cond.JNE)
    if equality and by_reg and env.rules.null_by_pointer:
        _null_by_pointer(dst, src, insn, this_branch if opcode == cond.JNE else other_branch)
        dst = env.regs[insn.dst]
    zero = insn.imm == 0
    if by_reg:
        is_null = src.type == rt.SCALAR_VALUE and not src.mask and not src.value
        zero = env.rules.null_check_by_reg and is_null
    if equality and dst.type & rt.PTR_MAYBE_NULL and zero:
        mark_ptr_or_null(env, this_branch, insn.dst, opcode == cond.JNE)
        mark_ptr_or_null(env, other_branch, insn.dst, opcode == cond.JEQ)
    elif not packet.try_match(env, insn, dst, src, this_branch, other_branch):
        if env.is_pointer_value(insn.dst):
            env.fail(E.ACCES, f"R{insn.dst} pointer comparison prohibited")


def _null_by_pointer(dst: Reg, src: Reg, insn: Insn, equal: State) -> None:
    """What equals a pointer that is not NULL is not NULL."""
    if rt.SCALAR_VALUE in (dst.type, src.type):
        return
    if bool(dst.type & rt.PTR_MAYBE_NULL) == bool(src.type & rt.PTR_MAYBE_NULL):
        return
    if rt.PTR_TO_BTF_ID in (dst.type & rt.BASE, src.type & rt.BASE):
        return
    regs = equal.frame.regs
    regno = insn.src if src.type & rt.PTR_MAYBE_NULL else insn.dst
    regs[regno] = not_null(regs[regno])


def _may_goto(env: Env, insn: Insn) -> int:
    from bpfctl.kernel.bpf.verifier.prune import find_prev_entry, widen_imprecise

    if insn.code != BPF_JMP | JCOND or insn.src or insn.dst or insn.imm:
        env.fail(E.INVAL, f"invalid may_goto imm {insn.imm}")
    idx = env.insn_idx
    before = find_prev_entry(env, env.cur_state.parent, idx)
    queued = push_stack(env, idx + 1, idx, False)
    queued.may_goto_depth += 1
    if before is not None:
        widen_imprecise(env, before, queued)
    return idx + insn.off + 1
