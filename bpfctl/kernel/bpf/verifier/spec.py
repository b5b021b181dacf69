"""Speculation: limits for pointer arithmetic of callers without CAP_PERFMON (Spectre v1)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_X, Insn
from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.regtype import PTR_TO_MAP_VALUE, PTR_TO_STACK
from bpfctl.kernel.bpf.verifier.state import MAX_BPF_STACK, U32_MAX, UNKNOWN_SCALAR, Reg

ALU_SANITIZE_SRC, ALU_SANITIZE_DST = 1, 2
ALU_NEG_VALUE = 1 << 2
ALU_NON_POINTER = 1 << 3
ALU_IMMEDIATE = 1 << 4

_WHY = "pointer arithmetic with it prohibited for !root"


def sanitize_needed(opcode: int) -> bool:
    """Tell whether an operation may go wrong under speculation."""
    return opcode == scalar.ADD or opcode == scalar.SUB


def _can_skip(env: Env, insn: Insn) -> bool:
    return env.bypass_spec_v1 or not insn.code & BPF_X


def _refuse_paths(env: Env, insn: Insn) -> None:
    op = "add" if insn.code & 0xF0 == scalar.ADD else "sub"
    env.fail(E.ACCES, f"R{insn.dst} tried to {op} from different maps, paths or scalars, {_WHY}")


def _update(env: Env, insn: Insn, alu_state: int, alu_limit: int) -> None:
    """update_alu_sanitation_state(): one instruction, one mask."""
    aux = env.aux[env.insn_idx]
    if aux.alu_state and (aux.alu_state, aux.alu_limit) != (alu_state, alu_limit):
        _refuse_paths(env, insn)
    aux.alu_state, aux.alu_limit = alu_state, alu_limit


def sanitize_val_alu(env: Env, insn: Insn) -> None:
    """Note that an addition is one of numbers.

    :raises Refused: EACCES, if it was one of pointers before.
    """
    if not _can_skip(env, insn):
        _update(env, insn, ALU_NON_POINTER, 0)


class Window:
    """What the first phase of an addition found out, for the second (bpf_sanitize_info)."""

    __slots__ = ("alu_limit", "alu_state", "mask_to_left")

    def __init__(self) -> None:
        self.alu_state = 0
        self.alu_limit = 0
        self.mask_to_left = False


def _limit(env: Env, insn: Insn, ptr: Reg, to_left: bool, ptr_is_dst: bool) -> int:
    """How far a pointer may move (retrieve_ptr_limit)."""
    if ptr.type == PTR_TO_STACK:
        most = MAX_BPF_STACK + to_left
        limit = -(ptr.value + ptr.off) & U32_MAX
    elif ptr.type == PTR_TO_MAP_VALUE:
        most = ptr.aux.value_size
        limit = (ptr.smin if to_left else ptr.umax) + ptr.off & U32_MAX
    else:
        regno = insn.dst if ptr_is_dst else insn.src
        env.fail(E.ACCES, f"R{regno} has pointer with unsupported alu operation, {_WHY}")
    if limit >= most:
        op = "add" if insn.code & 0xF0 == scalar.ADD else "sub"
        env.fail(E.ACCES, f"R{insn.dst} tried to {op} beyond pointer bounds, {_WHY}")
    return limit


def sanitize_ptr(
    env: Env, insn: Insn, ptr: Reg, off: Reg, ptr_is_dst: bool, window: Window, commit: bool
) -> None:
    """Find the mask for an addition to a pointer (sanitize_ptr_alu).

    :raises Refused: EACCES.
    """
    if _can_skip(env, insn):
        return
    opcode = insn.code & 0xF0
    off_is_imm = not off.mask
    off_is_neg = off.smin < 0
    if not env.cur_state.speculative:
        if not commit:
            if not off_is_imm and off_is_neg != (off.smax < 0):
                regno = insn.src if ptr_is_dst else insn.dst
                env.fail(E.ACCES, f"R{regno} has unknown scalar with mixed signed bounds, {_WHY}")
            window.mask_to_left = off_is_neg if opcode == scalar.ADD else not off_is_neg
        limit = _limit(env, insn, ptr, window.mask_to_left, ptr_is_dst)
        if commit:
            alu_state = window.alu_state
            limit = abs(window.alu_limit - limit)
        else:
            alu_state = ALU_NEG_VALUE if off_is_neg else 0
            alu_state |= ALU_IMMEDIATE if off_is_imm else 0
            alu_state |= ALU_SANITIZE_SRC if ptr_is_dst else ALU_SANITIZE_DST
            window.alu_state, window.alu_limit = alu_state, limit
            if not off_is_imm:
                env.explore_alu_limits = True
        if commit:
            _update(env, insn, alu_state, limit)
    if commit or off_is_imm:
        return
    _simulate(env, insn, ptr, ptr_is_dst)


def _simulate(env: Env, insn: Insn, ptr: Reg, ptr_is_dst: bool) -> None:
    """Follow the path on which the offset was masked to 0."""
    from bpfctl.kernel.bpf.verifier.branch import push_stack

    branch = push_stack(env, env.insn_idx + 1, env.insn_idx, True)
    if not ptr_is_dst:
        branch.frames[-1].regs[insn.dst] = ptr
        branch.frames[-1].precise &= ~(1 << insn.dst)


def speculative_branch(env: Env, insn: Insn, next_idx: int) -> None:
    """Follow the side of a branch that is never taken (sanitize_speculative_path)."""
    from bpfctl.kernel.bpf.verifier.branch import push_stack

    branch = push_stack(env, next_idx, env.insn_idx, True)
    frame = branch.frames[-1]
    for regno in (insn.dst, insn.src) if insn.code & BPF_X else (insn.dst,):
        frame.regs[regno] = UNKNOWN_SCALAR
        if env.precise_default:
            frame.precise |= 1 << regno
        else:
            frame.precise &= ~(1 << regno)
