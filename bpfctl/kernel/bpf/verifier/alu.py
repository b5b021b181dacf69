"""Arithmetic instructions (check_alu_op)."""

from __future__ import annotations

import operator
from collections.abc import Callable

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_ALU64, BPF_X, Insn
from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.bounds import (
    coerce_subreg_to_size_sx,
    coerce_to_size_sx,
    zext_32_to_64,
)
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.ptr_alu import adjust_ptr
from bpfctl.kernel.bpf.verifier.regs import check_writable, mark_unknown, read_reg, write_unknown
from bpfctl.kernel.bpf.verifier.regtype import PTR_TO_ARENA, SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.spec import sanitize_needed, sanitize_val_alu
from bpfctl.kernel.bpf.verifier.state import (
    ADD_CONST,
    U32_MAX,
    U64_MAX,
    UNKNOWN_SCALAR,
    Reg,
    const_reg,
    new_reg,
)

ALU_SIGNS = (
    "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian",
    "inv", "inv",
)  # fmt: skip
SHIFTS = (scalar.LSH, scalar.RSH, scalar.ARSH)


def check_alu_op(env: Env, insn: Insn) -> None:
    """Check one ALU or ALU64 instruction and do it.

    :raises Refused: EINVAL, EACCES.
    """
    opcode = insn.code & 0xF0
    if opcode == scalar.END or opcode == scalar.NEG:
        _unary(env, insn, opcode)
    elif opcode == scalar.MOV:
        _mov(env, insn)
    elif opcode > scalar.END:
        env.fail(E.INVAL, f"invalid BPF_ALU opcode {opcode:x}")
    else:
        _binary(env, insn, opcode)


# --- one operand -----------------------------------------------------------------


def _unary(env: Env, insn: Insn, opcode: int) -> None:
    if opcode == scalar.NEG:
        if insn.code & BPF_X or insn.src or insn.off or insn.imm:
            env.fail(E.INVAL, "BPF_NEG uses reserved fields")
    elif (
        insn.src
        or insn.off
        or insn.imm not in (16, 32, 64)
        or (insn.code & 7 == BPF_ALU64 and insn.code & BPF_X)
    ):
        env.fail(E.INVAL, "BPF_END uses reserved fields")
    reg = read_reg(env, insn.dst)
    if env.is_pointer_value(insn.dst):
        env.fail(E.ACCES, f"R{insn.dst} pointer arithmetic prohibited")
    if opcode == scalar.NEG and reg.type == SCALAR_VALUE and env.rules.neg_bounds:
        check_writable(env, insn.dst)
        adjust_scalar(env, insn, opcode, reg, const_reg(0))
    elif opcode == scalar.END and reg.type == SCALAR_VALUE and env.rules.bswap_bounds:
        check_writable(env, insn.dst)
        _byte_swap(env, insn, reg)
    else:
        write_unknown(env, insn.dst)


def _byte_swap(env: Env, insn: Insn, reg: Reg) -> None:
    """Follow the bits through a byte swap, or a cut on this little-endian machine."""
    swap = insn.code & 7 == BPF_ALU64 or bool(insn.code & BPF_X)
    size = insn.imm // 8
    new = UNKNOWN_SCALAR.copy()
    low = (1 << insn.imm) - 1
    value, mask = reg.value & low, reg.mask & low
    if swap:
        value = int.from_bytes(value.to_bytes(size, "little"), "big")
        mask = int.from_bytes(mask.to_bytes(size, "little"), "big")
    new.value, new.mask = value, mask
    env.sync(new)
    env.set_reg(insn.dst, new, bool(env.frame.precise >> insn.dst & 1))


# --- moves -----------------------------------------------------------------------


def _mov_reserved(env: Env, insn: Insn) -> None:
    is64 = insn.code & 7 == BPF_ALU64
    if not insn.code & BPF_X:
        if insn.src or insn.off:
            env.fail(E.INVAL, "BPF_MOV uses reserved fields")
        return
    if is64 and insn.off == 1 and env.isa >= 4:
        if insn.imm not in (1, 1 << 16):
            env.fail(E.INVAL, "addr_space_cast insn can only convert between address space 1 and 0")
        if not any(map_.type == "arena" for map_ in env.maps):
            env.fail(
                E.INVAL,
                "addr_space_cast insn can only be used in a program that has an associated arena",
            )
        return
    allowed = ((0, 8, 16, 32) if is64 else (0, 8, 16)) if env.isa >= 4 else (0,)
    if insn.off not in allowed or insn.imm:
        env.fail(E.INVAL, "BPF_MOV uses reserved fields")


def with_id_before_mov(env: Env, regno: int) -> Reg:
    """Give a number that is about to be copied an id (assign_scalar_id_before_mov)."""
    reg = env.regs[regno]
    if reg.type != SCALAR_VALUE:
        return reg
    new = None
    if reg.id & ADD_CONST:
        new = reg.copy()
        new.id = new.off = 0
    if not (new or reg).id and (reg.mask or env.rules.scalar_ids == "always"):
        new = new or reg.copy()
        new.id = env.new_id()
    if new is None:
        return reg
    env.frame.regs[regno] = new
    return new


def _copy_to(env: Env, insn: Insn, reg: Reg) -> None:
    """Store a copy of the source, which may have been changed, in the destination."""
    frame = env.frame
    frame.regs[insn.dst] = reg
    if frame.precise >> insn.src & 1:
        frame.precise |= 1 << insn.dst
    else:
        frame.precise &= ~(1 << insn.dst)


def _mov(env: Env, insn: Insn) -> None:
    _mov_reserved(env, insn)
    if insn.code & BPF_X:
        read_reg(env, insn.src)
    check_writable(env, insn.dst)
    if not insn.code & BPF_X:
        value = insn.imm if insn.code & 7 == BPF_ALU64 else insn.imm & U32_MAX
        env.set_reg(insn.dst, const_reg(value), env.precise_default)
    elif insn.code & 7 == BPF_ALU64:
        _mov64(env, insn)
    else:
        _mov32(env, insn)


def _mov64(env: Env, insn: Insn) -> None:
    if insn.imm:
        mark_unknown(env, insn.dst)
        if insn.imm == 1:
            env.set_reg(insn.dst, new_reg(PTR_TO_ARENA))
    elif not insn.off:
        _copy_to(env, insn, with_id_before_mov(env, insn.src))
    elif env.is_pointer_value(insn.src):
        env.fail(E.ACCES, f"R{insn.src} sign-extension part of pointer")
    elif env.regs[insn.src].type == SCALAR_VALUE:
        _copy_to(env, insn, _sign_extended(env, insn, False))
    else:
        mark_unknown(env, insn.dst)


def _sign_extended(env: Env, insn: Insn, is32: bool) -> Reg:
    unchanged = env.regs[insn.src].umax < 1 << (insn.off - 1)
    if unchanged:
        with_id_before_mov(env, insn.src)
    new = env.regs[insn.src].copy()
    if not unchanged:
        new.id = 0
    if is32:
        coerce_subreg_to_size_sx(new, insn.off >> 3, env.sync)
    else:
        coerce_to_size_sx(new, insn.off >> 3)
    return new


def _mov32(env: Env, insn: Insn) -> None:
    if env.is_pointer_value(insn.src):
        env.fail(E.ACCES, f"R{insn.src} partial copy of pointer")
    sync = env.sync
    src = env.regs[insn.src]
    if src.type != SCALAR_VALUE:
        mark_unknown(env, insn.dst)
        new = env.regs[insn.dst].copy()
        zext_32_to_64(new, sync)
        env.frame.regs[insn.dst] = new
        return
    if insn.off:
        new = _sign_extended(env, insn, True)
    else:
        narrow = src.umax <= U32_MAX and env.rules.scalar_ids != "always"
        if narrow:
            src = with_id_before_mov(env, insn.src)
        new = src.copy()
        if not narrow:
            new.id = 0
    zext_32_to_64(new, sync)
    _copy_to(env, insn, new)


# --- two operands ------------------------------------------------------------------


def _binary(env: Env, insn: Insn, opcode: int) -> None:
    by_reg = insn.code & BPF_X
    signed = env.isa >= 4 and opcode in (scalar.DIV, scalar.MOD)
    if (insn.off and not (signed and insn.off == 1)) or (insn.imm if by_reg else insn.src):
        env.fail(E.INVAL, "BPF_ALU uses reserved fields")
    if by_reg:
        read_reg(env, insn.src)
    read_reg(env, insn.dst)
    if not by_reg:
        if opcode in (scalar.DIV, scalar.MOD) and insn.imm == 0:
            env.fail(E.INVAL, "div by zero")
        size = 64 if insn.code & 7 == BPF_ALU64 else 32
        if opcode in SHIFTS and not 0 <= insn.imm < size:
            env.fail(E.INVAL, f"invalid shift {insn.imm}")
    check_writable(env, insn.dst)
    _adjust_reg(env, insn, opcode)


def _adjust_reg(env: Env, insn: Insn, opcode: int) -> None:
    """adjust_reg_min_max_vals()."""
    frame = env.frame
    dst = frame.regs[insn.dst]
    if dst.type == PTR_TO_ARENA:
        return
    dst_is_ptr = dst.type != SCALAR_VALUE
    if insn.code & BPF_X:
        src = frame.regs[insn.src]
        if src.type != SCALAR_VALUE:
            if src.type == PTR_TO_ARENA and not dst_is_ptr:
                _copy_to(env, insn, src)
                return
            if not dst_is_ptr:
                mark_chain_precision(env, insn.dst)
                adjust_ptr(env, insn, opcode, src, dst, insn.dst)
            elif opcode == scalar.SUB and env.allow_ptr_leaks:
                mark_unknown(env, insn.dst)
            else:
                env.fail(
                    E.ACCES, f"R{insn.dst} pointer {ALU_SIGNS[opcode >> 4]} pointer prohibited"
                )
            return
        if dst_is_ptr:
            mark_chain_precision(env, insn.src)
            adjust_ptr(env, insn, opcode, dst, src, insn.src)
            return
        if frame.precise >> insn.dst & 1:
            mark_chain_precision(env, insn.src)
    else:
        src = const_reg(insn.imm)
        if dst_is_ptr:
            adjust_ptr(env, insn, opcode, dst, src, -1)
            return
    adjust_scalar(env, insn, opcode, dst, src)
    _link_delta(env, insn, opcode, src)


def _link_delta(env: Env, insn: Insn, opcode: int, src: Reg) -> None:
    """Keep a sum linked to what it was made from, or cut the link."""
    reg = env.regs[insn.dst]
    if not reg.id:
        return
    new = reg.copy()
    if (
        env.rules.add_const != "none"
        and env.bpf_capable
        and opcode == scalar.ADD
        and insn.code & 7 == BPF_ALU64
        and not src.mask
    ):
        if new.id & ADD_CONST or src.value > 0x7FFFFFFF:
            new.off = new.id = 0
        else:
            new.id |= ADD_CONST
            new.off = src.value
    else:
        new.id = 0
    env.frame.regs[insn.dst] = new


def _src_ok(src: Reg, is32: bool) -> bool:
    if is32:
        known = not src.mask & U32_MAX
        if known and (src.s32_min != src.s32_max or src.u32_min != src.u32_max):
            return False
        return src.s32_min <= src.s32_max and src.u32_min <= src.u32_max
    if not src.mask and (src.smin != src.smax or src.umin != src.umax):
        return False
    return src.smin <= src.smax and src.umin <= src.umax


_ALWAYS = (scalar.ADD, scalar.SUB, scalar.AND, scalar.NEG)
_BITS_AND_MUL = (scalar.XOR, scalar.OR, scalar.MUL)


def _computable(env: Env, opcode: int, src: Reg, is32: bool) -> bool:
    """Whether the operation is followed for such a source (is_safe_to_compute_dst_reg_range)."""
    known = not (src.mask & U32_MAX if is32 else src.mask)
    if opcode in _ALWAYS:
        return True
    if opcode in _BITS_AND_MUL:
        return known or env.rules.unknown_operand == "bits"
    if opcode in SHIFTS:
        return known and (src.u32_max if is32 else src.umax) < (32 if is32 else 64)
    return env.rules.div_mod_bounds and known


_FOLDS: dict[int, Callable[[int, int], int]] = {
    scalar.ADD: operator.add,
    scalar.SUB: operator.sub,
    scalar.MUL: operator.mul,
    scalar.AND: operator.and_,
    scalar.OR: operator.or_,
    scalar.XOR: operator.xor,
}
"""What two known numbers give: the long way ends in the same."""


def adjust_scalar(env: Env, insn: Insn, opcode: int, dst: Reg, src: Reg) -> None:
    """Store what an operation on two numbers gives (adjust_scalar_min_max_vals)."""
    is32 = insn.code & 7 != BPF_ALU64
    if not _src_ok(src, is32) or not _computable(env, opcode, src, is32):
        mark_unknown(env, insn.dst)
        return
    if sanitize_needed(opcode):
        sanitize_val_alu(env, insn)
    fold = _FOLDS.get(opcode)
    if fold is not None and not src.mask | dst.mask and dst.smin == dst.smax:
        value = fold(dst.value, src.value)
        new = dst.copy()
        new.set_known(value & U32_MAX if is32 else value)
        env.frame.regs[insn.dst] = new
        return
    if env.rules.fork_scalars and opcode in (scalar.AND, scalar.OR) and not src.mask:
        dst = _fork(env, insn, dst)
    new = dst.copy()
    if opcode in (scalar.DIV, scalar.MOD):
        _divide(new, insn, opcode, src, is32)
    else:
        env.ops[opcode, is32](new, src)
    sync = env.sync
    if is32:
        zext_32_to_64(new, sync)
    else:
        sync(new)
    env.frame.regs[insn.dst] = new


def _divide(new: Reg, insn: Insn, opcode: int, src: Reg, is32: bool) -> None:
    by = src.value & U32_MAX if is32 else src.value & U64_MAX
    if by == 0:
        if opcode == scalar.DIV:
            if is32:
                scalar.mark32_known(new, 0)
            else:
                new.set_known(0)
        return
    scalar.DIVISIONS[opcode, bool(insn.off), is32](new, by)


def _fork(env: Env, insn: Insn, dst: Reg) -> Reg:
    """Follow 0 and -1 apart where a number is one of them (maybe_fork_scalars)."""
    from bpfctl.kernel.bpf.verifier.branch import push_stack

    if (dst.smin, dst.smax) == (-1, 0):
        is32 = False
    elif (dst.s32_min, dst.s32_max) == (-1, 0):
        is32 = True
    else:
        return dst
    branch = push_stack(env, env.insn_idx, env.insn_idx, False)
    zero, ones = dst.copy(), dst.copy()
    if is32:
        scalar.mark32_known(zero, 0)
        scalar.mark32_known(ones, -1)
    else:
        zero.set_known(0)
        ones.set_known(-1)
    branch.frames[-1].regs[insn.dst] = zero
    return ones
