"""Dynamic pointers on the stack (process_dynptr_func and what is below it).

A dynptr takes two slots; their registers hold a :class:`~.state.Dynptr`, the dynptr's id and,
for ring buffer records, the reference. A slice of one has the dynptr's id as ``map_uid``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Flag
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import WRITE, Env
from bpfctl.kernel.bpf.verifier.memory import check_mem_access
from bpfctl.kernel.bpf.verifier.packet import each_reg
from bpfctl.kernel.bpf.verifier.refs import acquire, release
from bpfctl.kernel.bpf.verifier.state import (
    DYNPTR,
    EMPTY,
    NOT_INIT_REG,
    REG_SIZE,
    UNKNOWN_SCALAR,
    Dynptr,
    Frame,
    Reg,
    Slot,
    new_reg,
)

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.verifier.args import CallMeta

NR_SLOTS = 2
DYNPTR_SIZE = NR_SLOTS * REG_SIZE
_TYPES = (
    (Flag.DYNPTR_LOCAL, "local"),
    (Flag.DYNPTR_RINGBUF, "ringbuf"),
    (Flag.DYNPTR_SKB, "skb"),
    (Flag.DYNPTR_XDP, "xdp"),
)


def _arg_dynptr_type(arg_type: int) -> str:
    return next((name for flag, name in _TYPES if arg_type & flag), "")


def _spi(env: Env, reg: Reg) -> int:
    """The dynptr's first slot, the higher one (dynptr_get_spi); -1: beyond the allocated stack.

    :raises Refused: EINVAL.
    """
    if reg.mask:
        env.fail(E.INVAL, "dynptr has to be at a constant offset")
    value = reg.value - (1 << 64) if reg.value >> 63 else reg.value
    off = reg.off + value
    spi = (-off - 1) // REG_SIZE
    if off % REG_SIZE or spi < 1:
        env.fail(E.INVAL, f"cannot pass in dynptr at an offset={off}")
    return spi if spi < len(env.func(reg).stack) else -1


def _at(frame: Frame, spi: int) -> Dynptr | None:
    """The dynptr whose first slot ``spi`` is."""
    if spi < 1:
        return None
    first, second = frame.stack[spi], frame.stack[spi - 1]
    if first.types[7] != DYNPTR or second.types[7] != DYNPTR:
        return None
    found = first.reg.aux
    return found if isinstance(found, Dynptr) and found.first_slot else None


def process_dynptr(env: Env, regno: int, reg: Reg, arg_type: int, meta: CallMeta) -> None:
    """Check a dynptr argument; make one where the helper does.

    :raises Refused: EINVAL.
    """
    place = prog_rules(env.kernel.profile.name).dynptr_arg.format(regno, regno - 1)
    if arg_type & Flag.UNINIT:
        if reg.type != rt.PTR_TO_STACK:
            env.fail(E.INVAL, "Dynptr has to be an uninitialized dynptr")
        _spi(env, reg)
        insn = env.insns[env.insn_idx]
        for off in range(0, DYNPTR_SIZE, REG_SIZE):
            check_mem_access(env, insn, regno, off, REG_SIZE, WRITE, -1)
        _mark(env, reg, _arg_dynptr_type(arg_type))
        return
    if reg.type == rt.CONST_PTR_TO_DYNPTR:
        if not arg_type & Flag.RDONLY:
            env.fail(E.INVAL, "cannot pass pointer to const bpf_dynptr, the helper mutates it")
        found = reg.aux if isinstance(reg.aux, Dynptr) else None
    else:
        found = _at(env.func(reg), _spi(env, reg))
    if found is None:
        env.fail(E.INVAL, f"Expected an initialized dynptr as {place}")
    wanted = _arg_dynptr_type(arg_type)
    if wanted and found.type != wanted:
        env.fail(E.INVAL, f"Expected a dynptr of type {wanted} as {place}")
    meta.initialized_dynptr = found
    if reg.type == rt.PTR_TO_STACK:
        first = env.func(reg).stack[_spi(env, reg)].reg
        meta.dynptr_id = first.id
        if first.ref_obj_id:
            meta.ref_obj_id = first.ref_obj_id
    else:
        meta.dynptr_id = reg.id


def _mark(env: Env, reg: Reg, kind: str) -> None:
    """Make a dynptr on the stack (mark_stack_slots_dynptr)."""
    frame = env.func(reg)
    spi = _spi(env, reg)
    destroy_if_dynptr(env, frame, spi)
    destroy_if_dynptr(env, frame, spi - 1)
    ident = env.new_id()
    ref_id = acquire(env, env.insn_idx) if kind == "ringbuf" else 0
    for slot_no, first in ((spi, True), (spi - 1, False)):
        held = new_reg(rt.CONST_PTR_TO_DYNPTR, 0, Dynptr(kind, first))
        held.id = ident
        held.ref_obj_id = ref_id
        frame.stack[slot_no] = Slot(bytes((DYNPTR,)) * REG_SIZE, held)


def destroy_if_dynptr(env: Env, frame: Frame, spi: int) -> None:
    """Overwriting a part of a dynptr destroys it (destroy_if_dynptr_stack_slot).

    :raises Refused: EINVAL for one that holds a reference.
    """
    if frame.stack[spi].types[7] != DYNPTR:
        return
    held = frame.stack[spi].reg
    assert isinstance(held.aux, Dynptr)
    if not held.aux.first_slot:
        spi += 1
    if held.ref_obj_id:
        env.fail(E.INVAL, "cannot overwrite referenced dynptr")
    _clear(frame, spi)
    _invalidate_slices(env, held.id)


def _clear(frame: Frame, spi: int) -> None:
    frame.stack[spi] = frame.stack[spi - 1] = Slot(EMPTY, NOT_INIT_REG)


def _invalidate_slices(env: Env, ident: int) -> None:
    gone = UNKNOWN_SCALAR if env.allow_ptr_leaks else NOT_INIT_REG

    def forget(reg: Reg) -> Reg | None:
        is_mem = reg.type & rt.BASE == rt.PTR_TO_MEM
        return gone if is_mem and reg.map_uid == ident else None

    each_reg(env.cur_state, forget)


def check_releasable(env: Env, regno: int, reg: Reg) -> None:
    """Check that a dynptr may be given back.

    :raises Refused: EINVAL.
    """
    if reg.type != rt.PTR_TO_STACK:
        env.fail(E.INVAL, "cannot release unowned const bpf_dynptr")
    spi = _spi(env, reg)
    if spi < 0 or not env.func(reg).stack[spi].reg.ref_obj_id:
        env.fail(E.INVAL, f"arg {regno} is an unacquired reference")


def unmark(env: Env, reg: Reg) -> None:
    """Give a dynptr back (unmark_stack_slots_dynptr)."""
    frame = env.func(reg)
    spi = _spi(env, reg)
    held = frame.stack[spi].reg
    if held.ref_obj_id:
        release(env, held.ref_obj_id)
        for other in env.cur_state.frames:
            for slot_no, slot in enumerate(other.stack):
                if slot.types[7] != DYNPTR or slot.reg.ref_obj_id != held.ref_obj_id:
                    continue
                other.stack[slot_no] = Slot(EMPTY, NOT_INIT_REG)
    _clear(frame, spi)
    _invalidate_slices(env, held.id)


def data_of(env: Env, meta: CallMeta) -> None:
    """bpf_dynptr_data: the slice lives as long as its dynptr, which is noted already.

    :raises Refused: EFAULT.
    """
    if meta.initialized_dynptr is None:
        env.fail(E.FAULT, "verifier internal error: multiple dynptr args in func")
