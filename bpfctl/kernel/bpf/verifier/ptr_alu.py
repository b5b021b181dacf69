"""Arithmetic on pointers (adjust_ptr_min_max_vals)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_ALU64, Insn
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier import scalar, tnum
from bpfctl.kernel.bpf.verifier.bounds import s64
from bpfctl.kernel.bpf.verifier.env import Env, Refused
from bpfctl.kernel.bpf.verifier.regs import mark_unknown, words
from bpfctl.kernel.bpf.verifier.spec import Window, sanitize_needed, sanitize_ptr
from bpfctl.kernel.bpf.verifier.state import (
    MAX_BPF_STACK,
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U64_MAX,
    Reg,
)

MAX_VAR_OFF = 1 << 29

_MOVABLE = frozenset(
    (
        rt.PTR_TO_CTX, rt.PTR_TO_MAP_VALUE, rt.PTR_TO_MAP_KEY, rt.PTR_TO_STACK,
        rt.PTR_TO_PACKET_META, rt.PTR_TO_PACKET, rt.PTR_TO_TP_BUFFER, rt.PTR_TO_BTF_ID,
        rt.PTR_TO_MEM, rt.PTR_TO_BUF, rt.PTR_TO_FUNC, rt.CONST_PTR_TO_DYNPTR,
        rt.PTR_TO_PERCPU_BTF_ID,
    )
)  # fmt: skip
_BITWISE = {scalar.AND: "&=", scalar.OR: "|=", scalar.XOR: "^="}
_SIGNS = (
    "+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "neg", "%=", "^=", "=", "s>>=", "endian",
)  # fmt: skip


def check_sane_offset(env: Env, reg: Reg, named: Reg) -> None:
    """Refuse offsets that are out of all reason (check_reg_sane_offset).

    :raises Refused: EINVAL.
    """
    name = words(env, named)
    value = s64(reg.value)
    if not reg.mask and (value >= MAX_VAR_OFF or value <= -MAX_VAR_OFF):
        env.fail(E.INVAL, f"math between {name} pointer and {value} is not allowed")
    if reg.off >= MAX_VAR_OFF or reg.off <= -MAX_VAR_OFF:
        env.fail(E.INVAL, f"{name} pointer offset {reg.off} is not allowed")
    if reg.smin == S64_MIN:
        env.fail(
            E.INVAL,
            f"math between {name} pointer and register with unbounded min value is not allowed",
        )
    if reg.smin >= MAX_VAR_OFF or reg.smin <= -MAX_VAR_OFF:
        env.fail(E.INVAL, f"value {reg.smin} makes {name} pointer be out of bounds")


def _check_type(env: Env, insn: Insn, opcode: int, ptr: Reg, off: Reg) -> None:
    if ptr.type & rt.PTR_MAYBE_NULL:
        env.fail(
            E.ACCES,
            f"R{insn.dst} pointer arithmetic on {words(env, ptr)} prohibited, null-check it first",
        )
    base = ptr.type & rt.BASE
    if base in _MOVABLE:
        return
    known = not off.mask
    if base == rt.PTR_TO_FLOW_KEYS and known:
        return
    if base in (rt.CONST_PTR_TO_MAP, rt.PTR_TO_FLOW_KEYS) and env.rules.map_ptr_plus_zero:
        if known and off.smin == 0 and opcode == scalar.ADD:
            return
    if base in (rt.PTR_TO_PACKET_END, *rt.SOCK_TYPES) and env.rules.map_ptr_plus_zero == "all":
        if known and off.smin == 0 and opcode == scalar.ADD:
            return
    env.fail(E.ACCES, f"R{insn.dst} pointer arithmetic on {words(env, ptr)} prohibited")


def adjust_ptr(env: Env, insn: Insn, opcode: int, ptr: Reg, off: Reg, off_regno: int) -> None:
    """Store pointer plus or minus number in the destination.

    ``off_regno`` is where the number is, -1 for an immediate.

    :raises Refused: EACCES, EINVAL.
    """
    if (
        (not off.mask and (off.smin != off.smax or off.umin != off.umax))
        or off.smin > off.smax
        or off.umin > off.umax
    ):
        mark_unknown(env, insn.dst)
        return
    if insn.code & 7 != BPF_ALU64:
        if opcode == scalar.SUB and env.allow_ptr_leaks:
            mark_unknown(env, insn.dst)
            return
        env.fail(E.ACCES, f"R{insn.dst} 32-bit pointer arithmetic prohibited")
    _check_type(env, insn, opcode, ptr, off)
    check_sane_offset(env, off, ptr)
    check_sane_offset(env, ptr, ptr)
    ptr_is_dst = off_regno != insn.dst
    window = Window()
    if sanitize_needed(opcode):
        sanitize_ptr(env, insn, ptr, off, ptr_is_dst, window, False)
    new = ptr.copy()
    scalar.mark32_unbounded(new)
    if opcode == scalar.ADD:
        _add(env, new, ptr, off)
    elif opcode == scalar.SUB:
        _sub(env, insn, new, ptr, off, off_regno)
    elif opcode in _BITWISE:
        env.fail(E.ACCES, f"R{insn.dst} bitwise operator {_BITWISE[opcode]} on pointer prohibited")
    else:
        env.fail(
            E.ACCES,
            f"R{insn.dst} pointer arithmetic with {_SIGNS[opcode >> 4]} operator prohibited",
        )
    check_sane_offset(env, new, ptr)
    env.sync(new)
    if not env.bypass_spec_v1:
        _check_bounds(env, insn, new)
        if sanitize_needed(opcode):
            sanitize_ptr(env, insn, new, off, ptr_is_dst, window, True)
    env.set_reg(insn.dst, new)


def _fixed(env: Env, ptr: Reg, off: Reg, sign: int) -> int | None:
    """The new fixed offset, None where the variable one has to change."""
    if off.mask:
        return None
    total = ptr.off + sign * off.smin
    return total if S32_MIN <= total <= S32_MAX else None


def _add(env: Env, new: Reg, ptr: Reg, off: Reg) -> None:
    fixed = _fixed(env, ptr, off, 1)
    if fixed is not None:
        new.off = fixed
        return
    low, high = ptr.smin + off.smin, ptr.smax + off.smax
    if low < S64_MIN or high > S64_MAX or low > S64_MAX or high < S64_MIN:
        low, high = S64_MIN, S64_MAX
    new.smin, new.smax = low, high
    low, high = ptr.umin + off.umin, ptr.umax + off.umax
    new.umin, new.umax = (0, U64_MAX) if high > U64_MAX else (low, high)
    new.value, new.mask = tnum.add((ptr.value, ptr.mask), (off.value, off.mask))
    if rt.is_pkt(ptr.type):
        new.id = env.new_id()
        new.aux = 0


def _sub(env: Env, insn: Insn, new: Reg, ptr: Reg, off: Reg, off_regno: int) -> None:
    if off_regno == insn.dst:
        env.fail(E.ACCES, f"R{insn.dst} tried to subtract pointer from scalar")
    if ptr.type == rt.PTR_TO_STACK:
        env.fail(E.ACCES, f"R{insn.dst} subtraction from stack pointer prohibited")
    fixed = _fixed(env, ptr, off, -1)
    if fixed is not None:
        new.off = fixed
        return
    low, high = ptr.smin - off.smax, ptr.smax - off.smin
    if low < S64_MIN or high > S64_MAX or low > S64_MAX or high < S64_MIN:
        low, high = S64_MIN, S64_MAX
    new.smin, new.smax = low, high
    if ptr.umin < off.umax:
        new.umin, new.umax = 0, U64_MAX
    else:
        new.umin, new.umax = ptr.umin - off.umax, ptr.umax - off.umin
    new.value, new.mask = tnum.sub((ptr.value, ptr.mask), (off.value, off.mask))
    if rt.is_pkt(ptr.type):
        new.id = env.new_id()
        if off.smin < 0:
            new.aux = 0


def _shown(env: Env, reg: Reg) -> str:
    """The variable offset, from 7.1 with the fixed one in it."""
    if env.rules.pointer_off == "var":
        return tnum.text(tnum.add(reg.var_off, tnum.const(reg.off)))
    return tnum.text(reg.var_off)


def _check_bounds(env: Env, insn: Insn, new: Reg) -> None:
    """Without CAP_PERFMON a pointer stays inside at every step (sanitize_check_bounds)."""
    if new.type == rt.PTR_TO_STACK:
        off = new.off + s64(new.value)
        if new.mask and env.rules.pointer_off == "var":
            off = s64((new.value + new.off & ~new.mask) & U64_MAX)
        if new.mask:
            env.fail(
                E.ACCES,
                f"R{insn.dst} variable stack access prohibited for !root, "
                f"var_off={_shown(env, new)} off={off}",
            )
        if off >= 0 or off < -MAX_BPF_STACK:
            env.fail(
                E.ACCES,
                f"R{insn.dst} stack pointer arithmetic goes out of range, "
                f"prohibited for !root; off={off}",
            )
    elif new.type == rt.PTR_TO_MAP_VALUE:
        from bpfctl.kernel.bpf.verifier.memory import check_map_access

        try:
            check_map_access(env, insn.dst, new, new.off, 1, False, True)
        except Refused:
            if env.rules.pointer_off == "var":
                raise
            env.fail(
                E.ACCES,
                f"R{insn.dst} pointer arithmetic of map value goes out of range, "
                "prohibited for !root",
            )
