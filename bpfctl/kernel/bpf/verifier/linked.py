"""Copies of a number: what one learns holds for all (find_equal_scalars, sync_linked_regs)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.branch import Linked
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.regtype import SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.state import ADD_CONST, FP, SPILL, Reg, Slot, State, const_reg

LINKED_MAX = 6


def collect_linked(env: Env, state: State, ids: list[int]) -> Linked:
    """Find the registers and slots with one of ``ids``; what is over the limit loses its id."""
    found: list[tuple[int, bool, int]] = []
    for wanted in ids:
        wanted &= ~ADD_CONST
        if not wanted:
            continue
        for number in range(len(state.frames) - 1, -1, -1):
            frame = state.frames[number]
            for regno in range(FP):
                reg = frame.regs[regno]
                if reg.id & ~ADD_CONST == wanted and reg.type == SCALAR_VALUE:
                    entry = (number, True, regno)
                    if entry in found:
                        continue
                    if len(found) < LINKED_MAX:
                        found.append(entry)
                    else:
                        new = reg.copy()
                        new.id = 0
                        frame.regs[regno] = new
            for spi, slot in enumerate(frame.stack):
                reg = slot.reg
                if slot.types[7] != SPILL or reg.type != SCALAR_VALUE:
                    continue
                if reg.id & ~ADD_CONST == wanted:
                    entry = (number, False, spi)
                    if entry in found:
                        continue
                    if len(found) < LINKED_MAX:
                        found.append(entry)
                    else:
                        new = reg.copy()
                        new.id = 0
                        frame.stack[spi] = Slot(slot.types, new)
    return tuple(found)


def sync_linked(env: Env, state: State, regno: int, linked: Linked) -> None:
    """Give every copy of a register what is known of that now."""
    frame = state.frames[-1]
    known = frame.regs[regno]
    if not known.id or known.type != SCALAR_VALUE:
        return
    precise = bool(frame.precise >> regno & 1)
    if env.rules.linked_regs == "history":
        _sync_history(state, known, precise, linked)
    else:
        _sync_equal(state, known, precise)


def _sync_equal(state: State, known: Reg, precise: bool) -> None:
    for frame in state.frames:
        for regno in range(FP):
            reg = frame.regs[regno]
            if reg.id == known.id and reg.type == SCALAR_VALUE:
                frame.regs[regno] = known
                frame.precise = _bit(frame.precise, regno, precise)
        for spi, slot in enumerate(frame.stack):
            if slot.types[7] == SPILL and slot.reg.id == known.id:
                if slot.reg.type == SCALAR_VALUE:
                    frame.stack[spi] = Slot(slot.types, known)
                    frame.stack_precise = _bit(frame.stack_precise, spi, precise)


def _bit(mask: int, number: int, value: bool) -> int:
    return mask | 1 << number if value else mask & ~(1 << number)


def _sync_history(state: State, known: Reg, precise: bool, linked: Linked) -> None:
    for number, is_reg, index in linked:
        frame = state.frames[number]
        slot = None
        if is_reg:
            reg = frame.regs[index]
        else:
            slot = frame.stack[index]
            reg = slot.reg
        if reg is known or reg.type != SCALAR_VALUE:
            continue
        if reg.id & ~ADD_CONST != known.id & ~ADD_CONST:
            continue
        new = _moved(reg, known)
        if slot is None:
            frame.regs[index] = new
            frame.precise = _bit(frame.precise, index, precise)
        else:
            frame.stack[index] = Slot(slot.types, new)
            frame.stack_precise = _bit(frame.stack_precise, index, precise)


_ADD = scalar._add(scalar.WRAPS["any"])


def _moved(reg: Reg, known: Reg) -> Reg:
    """``known`` plus the constant that ``reg`` is apart from it."""
    plain = not reg.id & ADD_CONST and not known.id & ADD_CONST
    if plain or reg.off == known.off:
        return known
    new = known.copy()
    delta = (reg.off if reg.id & ADD_CONST else 0) - (known.off if known.id & ADD_CONST else 0)
    _ADD(new, const_reg(delta))
    new.off = reg.off
    return new
