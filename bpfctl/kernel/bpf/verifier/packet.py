"""What comparisons with the end of a packet tell about packet pointers."""

from __future__ import annotations

from bpfctl.isa.insn import BPF_JMP32, BPF_X, Insn
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.regtype import PTR_TO_PACKET, PTR_TO_PACKET_END, PTR_TO_PACKET_META
from bpfctl.kernel.bpf.verifier.state import AT_PKT_END, BEYOND_PKT_END, SPILL, Reg, Slot, State

MAX_PACKET_OFF = 0xFFFF
JGT, JGE, JLT, JLE = 0x20, 0x30, 0xA0, 0xB0

_FLIPPED = {JGT: JLT, JLT: JGT, JGE: JLE, JLE: JGE}


def each_reg(state: State, change: object) -> None:
    """Let ``change(reg)`` replace every register and spilled register of a path.

    ``change`` returns None for "as it is" (bpf_for_each_reg_in_vstate).
    """
    for frame in state.frames:
        regs = frame.regs
        for regno, reg in enumerate(regs):
            new = change(reg)  # type: ignore[operator]
            if new is not None:
                regs[regno] = new
        for spi, slot in enumerate(frame.stack):
            if slot.types[7] == SPILL:
                new = change(slot.reg)  # type: ignore[operator]
                if new is not None:
                    frame.stack[spi] = Slot(slot.types, new)


def find_good(env: Env, state: State, ptr: Reg, right_open: bool) -> None:
    """All pointers made from the same one may be followed so far (find_good_pkt_pointers)."""
    if ptr.off < 0 or (ptr.off == 0 and right_open):
        return
    if ptr.umax > MAX_PACKET_OFF or ptr.umax + ptr.off > MAX_PACKET_OFF:
        return
    new_range = ptr.off + (1 if right_open else 0)
    if env.rules.packet_region:
        new_range += ptr.umax
    kind, ident = ptr.type, ptr.id

    def widen(reg: Reg) -> Reg | None:
        if reg.type != kind or reg.id != ident or reg.aux >= new_range:
            return None
        new = reg.copy()
        new.aux = new_range
        return new

    each_reg(state, widen)


def _mark_end(env: Env, state: State, regno: int, right_open: bool) -> None:
    """Remember that a pointer lies at the end or beyond (mark_pkt_end)."""
    regs = state.frames[-1].regs
    if regs[regno].type != PTR_TO_PACKET or not env.rules.packet_end_marks:
        return
    new = regs[regno].copy()
    new.aux = BEYOND_PKT_END if right_open else AT_PKT_END
    regs[regno] = new


def _is_start(reg: Reg) -> bool:
    """Whether a register is the packet's first byte (reg_is_init_pkt_pointer)."""
    return reg.type == PTR_TO_PACKET and not (reg.off or reg.id or reg.value or reg.mask)


def _inner_first(dst: Reg, src: Reg) -> bool:
    return (dst.type == PTR_TO_PACKET and src.type == PTR_TO_PACKET_END) or (
        dst.type == PTR_TO_PACKET_META and _is_start(src)
    )


def try_match(
    env: Env, insn: Insn, dst: Reg, src: Reg, this_branch: State, other_branch: State
) -> bool:
    """Learn from a comparison of a packet pointer with the end; False where it is none
    (try_match_pkt_pointers)."""
    if not insn.code & BPF_X or insn.code & 7 == BPF_JMP32:
        return False
    opcode = insn.code & 0xF0
    if opcode not in _FLIPPED:
        return False
    if _inner_first(dst, src):
        inner, regno = dst, insn.dst
    elif _inner_first(src, dst):
        inner, regno, opcode = src, insn.src, _FLIPPED[opcode]
    else:
        return False
    # Now: inner OP end, taken in other_branch.
    if opcode == JGT:
        find_good(env, this_branch, inner, False)
        _mark_end(env, other_branch, regno, True)
    elif opcode == JLT:
        find_good(env, other_branch, inner, True)
        _mark_end(env, this_branch, regno, False)
    elif opcode == JGE:
        find_good(env, this_branch, inner, True)
        _mark_end(env, other_branch, regno, False)
    else:
        find_good(env, other_branch, inner, False)
        _mark_end(env, this_branch, regno, True)
    return True


def is_pkt_any(reg: Reg) -> bool:
    """Whether a register points into a packet, to its metadata or its end."""
    return reg.type in (PTR_TO_PACKET, PTR_TO_PACKET_META, PTR_TO_PACKET_END)


def branch_taken(dst: Reg, src: Reg, opcode: int) -> int:
    """1 taken, 0 not, -1 unknown, from what earlier comparisons said (is_pkt_ptr_branch_taken)."""
    if src.type == PTR_TO_PACKET_END:
        pkt = dst
    elif dst.type == PTR_TO_PACKET_END:
        pkt = src
        opcode = _FLIPPED.get(opcode, 0)
    else:
        return -1
    if not isinstance(pkt.aux, int) or pkt.aux >= 0:
        return -1
    if opcode in (JLE, JGT):
        return int(opcode == JGT) if pkt.aux == BEYOND_PKT_END else -1
    if opcode in (JLT, JGE):
        return int(opcode == JGE)
    return -1
