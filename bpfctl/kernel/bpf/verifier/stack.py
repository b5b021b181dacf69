"""Reads and writes of the stack (check_stack_read, check_stack_write and what is below them)."""

from __future__ import annotations

from typing import Any

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_ST, Insn
from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.alu import with_id_before_mov
from bpfctl.kernel.bpf.verifier.branch import push_stack_access
from bpfctl.kernel.bpf.verifier.env import READ, WRITE, Env
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.ptr_alu import MAX_VAR_OFF
from bpfctl.kernel.bpf.verifier.regs import LIVE_WRITTEN, mark_read, mark_unknown
from bpfctl.kernel.bpf.verifier.regtype import PTR_TO_STACK, SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.state import (
    DYNPTR,
    INVALID,
    MAX_BPF_STACK,
    MISC,
    NOT_INIT_REG,
    REG_SIZE,
    SPILL,
    UNKNOWN_SCALAR,
    ZERO,
    Frame,
    Reg,
    Slot,
    const_reg,
)


def s64(value: int) -> int:
    """A 64-bit value as a signed number."""
    return value - (1 << 64) if value >> 63 else value


# --- bounds --------------------------------------------------------------------------


def check_within_bounds(
    env: Env, regno: int, reg: Reg, off: int, size: int, access: int, helper: bool
) -> None:
    """Check that an access lies in the stack, and make slots for it.

    :raises Refused: EACCES, EINVAL (check_stack_access_within_bounds).
    """
    rules = env.rules
    if helper and rules.stack_words == "indirect":
        extra = " indirect access to"
    else:
        extra = " read from" if access == READ else " write to"
    if not reg.mask:
        low = s64(reg.value) + off
        high = low + size
    else:
        if reg.smax >= MAX_VAR_OFF or reg.smin <= -MAX_VAR_OFF:
            env.fail(E.ACCES, f"invalid unbounded variable-offset{extra} stack R{regno}")
        low, high = reg.smin + off, reg.smax + off + size
    frame = env.func(reg)
    if access == WRITE or (env.allow_uninit_stack and rules.uninit_stack_read == "all"):
        least = -MAX_BPF_STACK
    else:
        least = -frame.allocated_stack
    err = 0
    if low < least or low > -1:
        err = E.ACCES
    elif rules.stack_bounds == "ends":
        last = high - 1 if size > 0 else low
        err = E.ACCES if last < least or last > -1 else 0
    elif high > 0:
        err = E.INVAL
    if not err and size < 0:
        err = E.FAULT
    if err:
        if not reg.mask:
            shown = low if rules.stack_shows_off else off
            env.fail(err, f"invalid{extra} stack R{regno} off={shown} size={size}")
        bits = reg.var_off
        if rules.pointer_off == "var":
            bits, off = tnum.add(bits, tnum.const(reg.off)), off - reg.off
        shown_off = f" off={off}" if rules.stack_shows_off else ""
        env.fail(
            err,
            f"invalid variable-offset{extra} stack R{regno} "
            f"var_off={tnum.text(bits)}{shown_off} size={size}",
        )
    if not (helper and rules.uninit_stack_read == "slots"):
        frame.grow_stack(-low, bool(frame.live))
    info = env.subprogs[frame.subprogno]
    if info.stack_depth < -low:
        info.stack_depth = -low


# --- marks ---------------------------------------------------------------------------


def _read_mark(env: Env, frame: Frame, spi: int) -> None:
    if frame.live:
        mark_read(frame.stack_live[spi])
    elif env.stack_live is not None:
        env.stack_live.read(frame.frameno, spi)


def _write_mark(env: Env, frame: Frame, spi: int) -> None:
    if frame.live:
        frame.stack_live[spi].marks |= LIVE_WRITTEN
    elif env.stack_live is not None:
        env.stack_live.write(frame.frameno, spi)


def _set_precise(frame: Frame, spi: int, precise: bool) -> None:
    if precise:
        frame.stack_precise |= 1 << spi
    else:
        frame.stack_precise &= ~(1 << spi)


def _is_spilled_scalar(slot: Slot) -> bool:
    return slot.types[7] == SPILL and slot.reg.type == SCALAR_VALUE


def _scrub(types: bytes | bytearray) -> bytearray:
    """Turn spilled and special bytes into data (scrub_spilled_slot)."""
    return bytearray(MISC if kind != INVALID else INVALID for kind in types)


def _reg_width(reg: Reg) -> int:
    return reg.umax.bit_length()


# --- writes --------------------------------------------------------------------------


def check_stack_write(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, value_regno: int
) -> None:
    """Check a store to the stack and do it; ``value_regno`` -1 for an immediate or anything.

    :raises Refused: EACCES, EINVAL.
    """
    frame = env.func(reg)
    if reg.mask:
        _write_var_off(env, insn, frame, reg, off, size, value_regno)
    else:
        _write_fixed_off(env, insn, frame, off + s64(reg.value), size, value_regno, regno)


def _save(env: Env, frame: Frame, spi: int, reg: Reg, size: int, precise: bool) -> None:
    """Spill a register (save_register_state)."""
    old = frame.stack[spi].types
    types = bytearray(old)
    types[8 - size :] = bytes((SPILL,)) * size
    for index in range(8 - size):
        kind = types[index]
        if kind == ZERO and env.rules.spill_keeps == "zero":
            continue
        if kind == INVALID and env.rules.spill_keeps == "zero" and _keeps_invalid(env):
            continue
        types[index] = MISC
        if env.rules.spill_keeps == "spill" and kind != SPILL:
            types[index] = kind
    frame.stack[spi] = Slot(bytes(types), reg)
    _set_precise(frame, spi, precise)
    if size == REG_SIZE:
        _write_mark(env, frame, spi)


def _keeps_invalid(env: Env) -> bool:
    return env.allow_ptr_leaks or env.rules.misc_keeps_invalid


def _is_spillable(reg: Reg) -> bool:
    return reg.type != SCALAR_VALUE and reg.type != 0


def _write_fixed_off(
    env: Env, insn: Insn, frame: Frame, off: int, size: int, value_regno: int, ptr_regno: int
) -> None:
    slot_no = -off - 1
    spi = slot_no // REG_SIZE
    slot = frame.stack[spi]
    current = env.frame
    reg = current.regs[value_regno] if value_regno >= 0 else None
    rules = env.rules
    if (
        not env.allow_ptr_leaks
        and slot.types[7] == SPILL
        and (slot.reg.type != SCALAR_VALUE or rules.corrupt_any_spill)
        and size != REG_SIZE
    ):
        env.fail(E.ACCES, "attempt to corrupt spilled pointer on stack")
    if not env.bypass_spec_v4:
        _sanitize(env, slot, reg, slot_no, size)
    _destroy_special(env, frame, spi)
    slot = frame.stack[spi]
    aligned = off % REG_SIZE == 0
    is_st = insn.code & 7 == BPF_ST
    if reg is not None and reg.type == SCALAR_VALUE and _spills_scalar(env, reg, aligned, size):
        if not rules.history_flags and ptr_regno != 10:
            mark_chain_precision(env, value_regno)
        if rules.spill_ids:
            fits = _reg_width(reg) <= 8 * size
            if fits:
                reg = with_id_before_mov(env, value_regno)
            else:
                reg = reg.copy()
                reg.id = 0
        elif _reg_width(reg) > 8 * size and reg.id:
            reg = reg.copy()
            reg.id = 0
        _save(env, frame, spi, reg, size, bool(current.precise >> value_regno & 1))
    elif (
        reg is None
        and value_regno == -1
        and is_st
        and aligned
        and env.bpf_capable
        and rules.spill_imm
        and (insn.imm or rules.spill_imm == "all")
    ):
        imm = insn.imm if rules.spill_imm_signed else insn.imm & 0xFFFFFFFF
        _save(env, frame, spi, const_reg(imm), size, False)
    elif reg is not None and _is_spillable(reg):
        if size != REG_SIZE:
            env.fail(E.ACCES, "invalid size of register spill")
        if frame is not current and reg.type == PTR_TO_STACK:
            env.fail(E.INVAL, "cannot spill pointers to stack into stack frame of the caller")
        _save(env, frame, spi, reg, size, False)
    else:
        _write_data(env, insn, frame, spi, slot_no, size, reg, value_regno, is_st)
        return
    if rules.history_flags:
        push_stack_access(env, frame.frameno, spi)


def _spills_scalar(env: Env, reg: Reg, aligned: bool, size: int) -> bool:
    """Whether a number is kept as what it is when it is stored."""
    if not env.bpf_capable or not aligned:
        return False
    how = env.rules.spill_scalars
    if how == "all":
        return True
    bounded = bool(
        reg.smin != -(1 << 63) or reg.smax != (1 << 63) - 1 or reg.umin or reg.umax != (1 << 64) - 1
    )
    if reg.mask == 0 and reg.value == 0:
        return False
    return bounded and (how == "bounded" or size == REG_SIZE)


def _write_data(
    env: Env,
    insn: Insn,
    frame: Frame,
    spi: int,
    slot_no: int,
    size: int,
    reg: Reg | None,
    value_regno: int,
    is_st: bool,
) -> None:
    rules = env.rules
    slot = frame.stack[spi]
    types = bytearray(slot.types)
    kind = MISC
    if slot.types[7] in (SPILL, DYNPTR) or slot.types[7] > ZERO:
        types = _scrub(types) if rules.scrub_keeps_invalid else bytearray((MISC,)) * 8
    if size == REG_SIZE:
        _write_mark(env, frame, spi)
    zero = reg is not None and reg.type == SCALAR_VALUE and not reg.mask and not reg.value
    zero_imm = rules.spill_imm and value_regno == -1 and is_st and insn.imm == 0
    if zero or zero_imm:
        if value_regno >= 0:
            mark_chain_precision(env, value_regno)
        kind = ZERO
    for index in range(size):
        types[(slot_no - index) % REG_SIZE] = kind
    frame.stack[spi] = Slot(bytes(types), NOT_INIT_REG)
    _set_precise(frame, spi, False)


def _sanitize(env: Env, slot: Slot, reg: Reg | None, slot_no: int, size: int) -> None:
    """A store that may be overtaken by a load under speculation gets a barrier (Spectre v4)."""
    needed = reg is not None and _is_spillable(reg)
    for index in range(size):
        kind = slot.types[(slot_no - index) % REG_SIZE]
        if kind == INVALID or (env.rules.v4_any and kind not in (MISC, ZERO)):
            needed = True
    if needed:
        env.aux[env.insn_idx].nospec_result = True


def _destroy_special(env: Env, frame: Frame, spi: int) -> None:
    """Overwriting a dynptr invalidates it (destroy_if_dynptr_stack_slot)."""
    if frame.stack[spi].types[7] == DYNPTR:
        from bpfctl.kernel.bpf.verifier.dynptr import destroy_if_dynptr

        destroy_if_dynptr(env, frame, spi)


def _write_var_off(
    env: Env, insn: Insn, frame: Frame, ptr: Reg, off: int, size: int, value_regno: int
) -> None:
    low, high = ptr.smin + off, ptr.smax + off + size
    reg = env.frame.regs[value_regno] if value_regno >= 0 else None
    zero = reg is not None and reg.type == SCALAR_VALUE and not reg.mask and not reg.value
    if value_regno == -1 and insn.code & 7 == BPF_ST and env.rules.spill_imm:
        zero = zero or insn.imm == 0
    for spi in {(-i - 1) // REG_SIZE for i in range(low, high)}:
        _destroy_special(env, frame, spi)
    zero_used = False
    for i in range(low, high):
        slot_no = -i - 1
        spi = slot_no // REG_SIZE
        slot = frame.stack[spi]
        kind = slot.types[slot_no % REG_SIZE]
        if not env.allow_ptr_leaks and _var_write_refused(env, kind):
            env.fail(
                E.INVAL,
                f"spilled ptr in range of var-offset stack write; insn {env.insn_idx}, "
                f"ptr off: {i}",
            )
        if zero and kind == SPILL and _is_spilled_scalar(slot) and env.rules.spill_ids:
            if not slot.reg.mask and not slot.reg.value:
                zero_used = True
                continue
        new_kind = MISC
        if zero and kind == ZERO:
            new_kind = ZERO
            zero_used = True
        if kind == INVALID and not env.allow_ptr_leaks:
            env.fail(
                E.INVAL,
                f"uninit stack in range of var-offset write prohibited for !root; "
                f"insn {env.insn_idx}, off: {i}",
            )
        types = bytearray(slot.types)
        types[slot_no % REG_SIZE] = new_kind
        frame.stack[spi] = Slot(bytes(types), NOT_INIT_REG)
        _set_precise(frame, spi, False)
    if zero_used and value_regno >= 0:
        mark_chain_precision(env, value_regno)


def _var_write_refused(env: Env, kind: int) -> bool:
    if env.rules.corrupt_any_spill:
        # 5.10 compares kinds of stack bytes with types of registers.
        return kind not in (INVALID, SPILL)
    return kind not in (MISC, ZERO)


# --- reads ---------------------------------------------------------------------------


def check_stack_read(env: Env, regno: int, reg: Reg, off: int, size: int, dst_regno: int) -> None:
    """Check a load from the stack and do it; ``dst_regno`` -1 for no register.

    :raises Refused: EACCES.
    """
    if reg.mask:
        if dst_regno < 0:
            env.fail(
                E.ACCES,
                "variable offset stack pointer cannot be passed into helper function; "
                f"var_off={tnum.text(reg.var_off)} off={off} size={size}",
            )
        check_range_initialized(env, regno, reg, off, size, False, READ, None, False)
        frame = env.func(reg)
        _load_data(env, frame, reg.smin + off, reg.smax + off + size, dst_regno)
        return
    _read_fixed_off(env, env.func(reg), off + s64(reg.value), size, dst_regno)


def _read_fixed_off(env: Env, frame: Frame, off: int, size: int, dst_regno: int) -> None:
    slot_no = -off - 1
    spi = slot_no // REG_SIZE
    slot = frame.stack[spi]
    reg = slot.reg
    track = False
    if slot.types[7] == SPILL:
        spill_size = 1
        while spill_size < 8 and slot.types[7 - spill_size] == SPILL:
            spill_size += 1
        if size != REG_SIZE or spill_size != REG_SIZE:
            track = _partial_fill(env, frame, spi, off, size, spill_size, dst_regno)
        elif dst_regno >= 0:
            env.set_reg(dst_regno, reg, bool(frame.stack_precise >> spi & 1))
            track = True
        else:
            if not env.allow_ptr_leaks and reg.type != SCALAR_VALUE:
                env.fail(E.ACCES, f"leaking pointer from stack off {off}")
            track = True
        _read_mark(env, frame, spi)
    else:
        for index in range(size):
            _check_byte(env, slot.types[(slot_no - index) % REG_SIZE], off, index, size)
        _read_mark(env, frame, spi)
        if dst_regno >= 0:
            _load_data(env, frame, off, off + size, dst_regno)
    if track and env.rules.history_flags:
        push_stack_access(env, frame.frameno, spi)


def _check_byte(env: Env, kind: int, off: int, index: int, size: int) -> None:
    if kind in (MISC, ZERO) or (kind == INVALID and env.allow_uninit_stack):
        return
    env.fail(E.ACCES, f"invalid read from stack off {off}+{index} size {size}")


def _partial_fill(
    env: Env, frame: Frame, spi: int, off: int, size: int, spill_size: int, dst_regno: int
) -> bool:
    """Load a part of a spilled number; tell whether backtracking goes on in the slot."""
    slot = frame.stack[spi]
    reg = slot.reg
    rules = env.rules
    if reg.type != SCALAR_VALUE:
        env.fail(E.ACCES, "invalid size of register fill")
    if dst_regno < 0:
        return False
    if rules.partial_fill == "unknown":
        mark_unknown(env, dst_regno)
        return False
    whole = size == spill_size if rules.partial_fill == "same" else size <= spill_size
    if off % REG_SIZE == 0 and whole:
        if _reg_width(reg) > size * 8:
            reg = reg.copy()
            reg.id = 0
        env.set_reg(dst_regno, reg, bool(frame.stack_precise >> spi & 1))
        return True
    spills = zeros = 0
    for index in range(size):
        kind = slot.types[(-off - 1 - index) % REG_SIZE]
        if kind == SPILL:
            spills += 1
        elif kind == ZERO:
            zeros += 1
        else:
            _check_byte(env, kind, off, index, size)
    if rules.partial_fill == "narrow" and spills == size and not reg.mask and not reg.value:
        env.set_reg(dst_regno, const_reg(0), env.precise_default)
        return True
    if rules.partial_fill == "narrow" and zeros == size:
        env.set_reg(dst_regno, const_reg(0), env.precise_default)
    else:
        mark_unknown(env, dst_regno)
    return False


def _load_data(env: Env, frame: Frame, low: int, high: int, dst_regno: int) -> None:
    """Zero where all bytes are, anything otherwise (mark_reg_stack_read)."""
    for i in range(low, high):
        slot_no = -i - 1
        if frame.stack[slot_no // REG_SIZE].types[slot_no % REG_SIZE] != ZERO:
            mark_unknown(env, dst_regno)
            return
    env.set_reg(dst_regno, const_reg(0), env.precise_default if env.rules.spill_ids else True)


# --- helpers -------------------------------------------------------------------------


def check_range_initialized(
    env: Env,
    regno: int,
    reg: Reg,
    off: int,
    size: int,
    zero_size_allowed: bool,
    access: int,
    meta: Any,
    helper: bool,
) -> None:
    """Check stack memory that a helper gets (check_stack_range_initialized).

    ``meta`` may say ``raw_mode``: the helper fills it; then its ``access_size`` and ``regno`` are
    set, and the caller marks the bytes written.

    :raises Refused: EACCES, EINVAL.
    """
    rules = env.rules
    frame = env.func(reg)
    if size == 0 and not zero_size_allowed:
        env.fail(E.ACCES, "invalid zero-sized read")
    plain = rules.stack_words == "plain"
    clobber = access == WRITE if plain else helper
    bounds_access = access if plain else (WRITE if helper else READ)
    check_within_bounds(env, regno, reg, off, size, bounds_access, helper)
    if not reg.mask:
        low = high = s64(reg.value) + off
    else:
        if not env.bypass_spec_v1:
            indirect = " indirect" if helper and not plain else ""
            what = f"R{regno}{indirect} variable offset stack access prohibited for !root"
            env.fail(E.ACCES, f"{what}, var_off={tnum.text(reg.var_off)}")
        if meta is not None and meta.raw_mode:
            meta = None
        low, high = reg.smin + off, reg.smax + off
    if meta is not None and meta.raw_mode:
        _check_raw(env, frame, low, high + size)
        meta.access_size = size
        meta.regno = regno
        return
    for i in range(low, high + size):
        slot_no = -i - 1
        spi = slot_no // REG_SIZE
        if spi >= len(frame.stack):
            kind, slot = INVALID, None
        else:
            slot = frame.stack[spi]
            kind = slot.types[slot_no % REG_SIZE]
        if slot is None and not plain:
            _refuse_read(env, regno, reg, low, i, size, helper)
        if not _byte_usable(env, frame, spi, slot_no % REG_SIZE, kind, clobber):
            _refuse_read(env, regno, reg, low, i, size, helper)
        _read_mark(env, frame, spi)


def _check_raw(env: Env, frame: Frame, low: int, high: int) -> None:
    for i in range(low, high):
        slot_no = -i - 1
        if slot_no // REG_SIZE >= len(frame.stack):
            continue
        if frame.stack[slot_no // REG_SIZE].types[slot_no % REG_SIZE] == DYNPTR:
            env.fail(E.ACCES, f"potential write to dynptr at off={i} disallowed")


def _byte_usable(env: Env, frame: Frame, spi: int, index: int, kind: int, clobber: bool) -> bool:
    if kind == MISC:
        return True
    slot = frame.stack[spi]
    if kind == ZERO or (kind == INVALID and env.allow_uninit_stack):
        if clobber:
            types = bytearray(slot.types)
            types[index] = MISC
            frame.stack[spi] = Slot(bytes(types), slot.reg)
        return True
    if slot.types[7] != SPILL:
        return False
    if slot.reg.type != SCALAR_VALUE and not env.allow_ptr_leaks:
        return False
    if clobber:
        keeps = env.rules.scrub_keeps_invalid
        types = _scrub(slot.types) if keeps else bytearray((MISC,)) * 8
        frame.stack[spi] = Slot(bytes(types), UNKNOWN_SCALAR)
        _set_precise(frame, spi, env.precise_default)
    return True


def _refuse_read(env: Env, regno: int, reg: Reg, low: int, i: int, size: int, helper: bool) -> None:
    indirect = " indirect" if helper and env.rules.stack_words != "plain" else ""
    if not reg.mask:
        env.fail(
            E.ACCES,
            f"invalid{indirect} read from stack R{regno} off {low}+{i - low} size {size}",
        )
    env.fail(
        E.ACCES,
        f"invalid{indirect} read from stack R{regno} var_off {tnum.text(reg.var_off)}"
        f"+{i - low} size {size}",
    )
