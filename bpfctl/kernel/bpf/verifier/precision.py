"""Which numbers matter: marking them, back along the path (mark_chain_precision).

A number whose range decided something (a branch, an offset, a size) must be as narrow in every
state that is to be taken for the same. So its sources are found by walking back over the
instructions of the path, through the checkpoints that it passed.
"""

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
    PSEUDO_CALL,
    PSEUDO_KFUNC_CALL,
    Insn,
)
from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.branch import F_DST_STACK, F_SRC_STACK, F_STACK_ACCESS, Jump
from bpfctl.kernel.bpf.verifier.env import LOG_LEVEL2, Env
from bpfctl.kernel.bpf.verifier.regtype import SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.state import FP, Frame, State

ARGS = 0x3E
R0 = 1
TAIL_CALL = 12


class _Untracked(Exception):
    """Backtracking met what it cannot follow (ENOTSUPP)."""


class Backtrack:
    """struct backtrack_state: registers and slots asked for, by frame."""

    __slots__ = ("frame", "regs", "slots")

    def __init__(self, frame: int) -> None:
        self.frame = frame
        self.regs = [0] * (frame + 1)
        self.slots = [0] * (frame + 1)

    def empty(self) -> bool:
        """Whether nothing is asked for."""
        return not any(self.regs) and not any(self.slots)

    def enter(self) -> None:
        """Go back into a function that returned here."""
        self.frame += 1
        if len(self.regs) <= self.frame:
            self.regs.append(0)
            self.slots.append(0)

    def leave(self) -> None:
        """Go back to the caller."""
        self.frame -= 1

    def sync_linked(self, jump: Jump | None) -> None:
        """Ask for all of a group of linked registers, if for any (bt_sync_linked_regs)."""
        if jump is None or not jump.linked:
            return
        for frame, is_reg, number in jump.linked:
            masks = self.regs if is_reg else self.slots
            if frame < len(masks) and masks[frame] >> number & 1:
                break
        else:
            return
        for frame, is_reg, number in jump.linked:
            (self.regs if is_reg else self.slots)[frame] |= 1 << number


def mark_all_scalars_precise(state: State | None) -> None:
    """Mark all numbers of all checkpoints on the way (the big hammer)."""
    while state is not None:
        for frame in state.frames:
            for regno in range(FP):
                if frame.regs[regno].type == SCALAR_VALUE:
                    frame.precise |= 1 << regno
            for spi, slot in enumerate(frame.stack):
                if slot.types[7] == 1 and slot.reg.type == SCALAR_VALUE:
                    frame.stack_precise |= 1 << spi
        state = state.parent


def mark_all_scalars_imprecise(state: State) -> None:
    """Forget which numbers matter, before a checkpoint (mark_all_scalars_imprecise)."""
    for frame in state.frames:
        frame.precise = 0
        frame.stack_precise = 0


def mark_chain_precision(env: Env, regno: int) -> None:
    """Note that the number in a register of the current frame matters."""
    if not env.bpf_capable:
        return
    state = env.cur_state
    bt = Backtrack(len(state.frames) - 1)
    bt.regs[bt.frame] = 1 << regno
    backtrack(env, state, bt, env.insn_idx)


def mark_chain_precision_batch(env: Env, state: State, bt: Backtrack, last_idx: int) -> bool:
    """Note that several registers and slots of ``state`` matter; tell whether that was news."""
    if not env.bpf_capable or bt.empty():
        return False
    return backtrack(env, state, bt, last_idx)


def backtrack(env: Env, start: State, bt: Backtrack, last_idx: int) -> bool:
    """Walk back from ``last_idx`` and mark what is asked for; tell whether marks were set."""
    single = env.rules.precision == "single"
    quick = not env.log_level & LOG_LEVEL2
    touches = env.touches
    if not touches:
        touches = env.touches = [_touches(insn) for insn in env.insns]
    if bt.empty():
        return False
    state = start
    skip_first = True
    subseq_idx = -1
    changed = False
    try:
        while True:
            if env.log_level & LOG_LEVEL2:
                env.verbose(
                    f"mark_precise: frame{bt.frame}: last_idx {last_idx} "
                    f"first_idx {state.first_insn_idx} subseq_idx {subseq_idx} \n"
                )
            if last_idx < 0:
                _at_entry(env, state, bt)
                return True
            history, first = state.history, state.first_insn_idx
            idx, cnt = last_idx, len(history)
            while True:
                if skip_first:
                    skip_first = False
                else:
                    hist = history[cnt - 1] if cnt else None
                    if hist is not None and hist.idx != idx:
                        hist = None
                    if quick and touches[idx] >= 0 and not touches[idx] & bt.regs[bt.frame]:
                        if hist is not None and hist.linked:
                            bt.sync_linked(hist)
                    elif single:
                        _backtrack_single(env, idx, bt)
                        if bt.empty():
                            return changed
                    else:
                        _backtrack_insn(env, idx, subseq_idx, hist, bt)
                        if bt.empty():
                            return changed
                subseq_idx = idx
                if idx == first and (cnt == 0 or (cnt == 1 and history[0].idx == idx)):
                    break
                if cnt and history[cnt - 1].idx == idx:
                    cnt -= 1
                    idx = history[cnt].prev_idx
                else:
                    idx -= 1
                if idx < 0:
                    env.fail(E.FAULT, f"BUG backtracking idx {idx}")
            if state.parent is None:
                break
            state = state.parent
            marked = _mark_state(env, state, bt, single)
            changed = changed or marked
            if bt.empty() or (single and not marked):
                return changed
            subseq_idx = idx
            last_idx = state.last_insn_idx
    except _Untracked:
        mark_all_scalars_precise(start.parent if not single else state.parent)
        return True
    if not single and not bt.empty():
        mark_all_scalars_precise(start.parent)
        return True
    return changed


def _touches(insn: Insn) -> int:
    """Registers by which an instruction concerns backtracking, or all bits for always."""
    code = insn.code
    cls, opcode = code & 7, code & 0xF0
    dst, src = 1 << insn.dst, 1 << insn.src
    if cls in (BPF_ALU, BPF_ALU64):
        if opcode in (scalar.END, scalar.NEG):
            return 0
        return dst if code & BPF_X or opcode == scalar.MOV else 0
    if cls == BPF_LDX:
        return dst
    if cls == BPF_LD:
        return dst if code else 0
    if cls in (BPF_JMP, BPF_JMP32) and opcode not in (BPF_CALL, BPF_EXIT):
        return dst | src if code & BPF_X and opcode else 0
    return -1


def _at_entry(env: Env, state: State, bt: Backtrack) -> None:
    """The entry of a global function: only its arguments can be asked for."""
    frame = state.frames[0]
    if len(state.frames) > 1 or not frame.subprogno or any(bt.slots) or bt.regs[0] & ~ARGS:
        env.fail(E.FAULT, "BUG backtracking func entry")
    for regno in range(1, 6):
        if bt.regs[0] >> regno & 1 and frame.regs[regno].type == SCALAR_VALUE:
            frame.precise |= 1 << regno


def _mark_state(env: Env, state: State, bt: Backtrack, single: bool) -> bool:
    """Mark a checkpoint; what is not a number there is asked for no more."""
    marked = False
    for number in range(bt.frame, -1, -1):
        frame = state.frames[number]
        wanted = bt.regs[number]
        for regno in range(FP):
            if not wanted >> regno & 1:
                continue
            if frame.regs[regno].type != SCALAR_VALUE:
                bt.regs[number] &= ~(1 << regno)
            elif not frame.precise >> regno & 1:
                frame.precise |= 1 << regno
                marked = True
            elif not single:
                bt.regs[number] &= ~(1 << regno)
        wanted = bt.slots[number]
        spi = 0
        while wanted >> spi:
            if wanted >> spi & 1:
                if spi >= len(frame.stack):
                    raise _Untracked
                slot = frame.stack[spi]
                if slot.types[7] != 1 or slot.reg.type != SCALAR_VALUE:
                    bt.slots[number] &= ~(1 << spi)
                elif not frame.stack_precise >> spi & 1:
                    frame.stack_precise |= 1 << spi
                    marked = True
                elif not single:
                    bt.slots[number] &= ~(1 << spi)
            spi += 1
        if env.log_level & LOG_LEVEL2:
            from bpfctl.kernel.bpf.verifier.log import precise_parent

            precise_parent(env, state, bt, number)
    return marked


# --- one instruction, with the history's help (from 6.8) ---------------------------


def _backtrack_insn(env: Env, idx: int, subseq_idx: int, hist: Jump | None, bt: Backtrack) -> None:
    insn = env.insns[idx]
    code = insn.code
    if code == 0:
        return
    if env.log_level & LOG_LEVEL2:
        from bpfctl.kernel.bpf.verifier.log import precise_insn

        precise_insn(env, bt, idx)
    bt.sync_linked(hist)
    cls = code & 7
    frame = bt.frame
    regs = bt.regs[frame]
    dst, src = 1 << insn.dst, 1 << insn.src
    if cls in (BPF_ALU, BPF_ALU64):
        if not regs & dst:
            return
        opcode = code & 0xF0
        if opcode == scalar.END or opcode == scalar.NEG:
            return
        if opcode == scalar.MOV:
            regs &= ~dst
        if code & BPF_X and insn.src != FP:
            regs |= src
        bt.regs[frame] = regs
    elif cls == BPF_LDX:
        if not regs & dst:
            return
        bt.regs[frame] = regs & ~dst
        if hist is None or not hist.flags & F_STACK_ACCESS:
            return
        bt.slots[hist.frameno] |= 1 << hist.spi
    elif cls in (BPF_STX, BPF_ST):
        if regs & dst:
            raise _Untracked
        if hist is None or not hist.flags & F_STACK_ACCESS:
            return
        if not bt.slots[hist.frameno] >> hist.spi & 1:
            return
        bt.slots[hist.frameno] &= ~(1 << hist.spi)
        if cls == BPF_STX:
            bt.regs[frame] |= src
    elif cls in (BPF_JMP, BPF_JMP32):
        if _backtrack_jump(env, insn, idx, subseq_idx, hist, bt):
            return
    elif cls == BPF_LD:
        if not regs & dst:
            return
        bt.regs[frame] = regs & ~dst
        if code & 0xE0 in (0x20, 0x40):
            raise _Untracked
    bt.sync_linked(hist)


def _backtrack_jump(
    env: Env, insn: Insn, idx: int, subseq_idx: int, hist: Jump | None, bt: Backtrack
) -> bool:
    """Jumps, calls, exits; tell whether all is done."""
    opcode = insn.code & 0xF0
    if opcode == BPF_CALL and insn.code & 7 == BPF_JMP:
        _backtrack_call(env, insn, idx, subseq_idx, bt)
        return True
    if opcode == BPF_EXIT:
        if subseq_idx >= 0 and env.aux[subseq_idx].calls_callback:
            bt.regs[bt.frame] &= ~ARGS
        if bt.regs[bt.frame] & ARGS:
            env.fail(E.FAULT, f"backtracking exit unexpected regs {bt.regs[bt.frame]:x}")
        called = env.insns[subseq_idx - 1] if subseq_idx >= 1 else None
        returns = called is not None and called.code == 0x85 and called.src == PSEUDO_CALL
        r0_precise = returns and bt.regs[bt.frame] & R0
        bt.regs[bt.frame] &= ~R0
        bt.enter()
        if r0_precise:
            bt.regs[bt.frame] |= R0
        return True
    if insn.code & BPF_X and opcode:
        regs = bt.regs[bt.frame]
        if not regs & (1 << insn.dst | 1 << insn.src):
            return True
        if hist is None or not hist.flags & F_SRC_STACK:
            regs |= 1 << insn.src
        if hist is None or not hist.flags & F_DST_STACK:
            regs |= 1 << insn.dst
        bt.regs[bt.frame] = regs
    return False


def _backtrack_call(env: Env, insn: Insn, idx: int, subseq_idx: int, bt: Backtrack) -> None:
    frame = bt.frame
    if insn.src == PSEUDO_CALL:
        if env.subprog_at(idx + insn.imm + 1).is_global:
            if bt.regs[frame] & ARGS:
                env.fail(E.FAULT, f"global subprog unexpected regs {bt.regs[frame]:x}")
            bt.regs[frame] &= ~R0
            return
        if bt.regs[frame] & ~ARGS or bt.slots[frame]:
            env.fail(E.FAULT, f"static subprog unexpected regs {bt.regs[frame]:x}")
        bt.regs[frame - 1] |= bt.regs[frame]
        bt.regs[frame] = 0
        bt.leave()
        return
    if env.aux[idx].calls_callback and idx != subseq_idx - 1:
        if bt.regs[frame] & ~ARGS or bt.slots[frame]:
            env.fail(E.FAULT, f"callback unexpected regs {bt.regs[frame]:x}")
        bt.regs[frame] = 0
        bt.leave()
        return
    if insn.src == PSEUDO_KFUNC_CALL and insn.imm == 0:
        raise _Untracked
    bt.regs[frame] &= ~R0
    if bt.regs[frame] & ARGS:
        env.fail(E.FAULT, f"backtracking call unexpected regs {bt.regs[frame]:x}")
    if insn.src == 0 and insn.imm == TAIL_CALL and subseq_idx - idx != 1:
        bt.enter()


# --- one instruction, within one frame (up to 6.7) ----------------------------------


def _backtrack_single(env: Env, idx: int, bt: Backtrack) -> None:
    insn = env.insns[idx]
    code = insn.code
    if code == 0:
        return
    cls = code & 7
    frame = bt.frame
    regs = bt.regs[frame]
    dst, src = 1 << insn.dst, 1 << insn.src
    if cls in (BPF_ALU, BPF_ALU64):
        if not regs & dst:
            return
        opcode = code & 0xF0
        if opcode == scalar.END or opcode == scalar.NEG:
            return
        if opcode == scalar.MOV:
            regs &= ~dst
        if code & BPF_X:
            regs |= src
        bt.regs[frame] = regs
    elif cls == BPF_LDX:
        if not regs & dst:
            return
        bt.regs[frame] = regs & ~dst
        if insn.src == FP:
            bt.slots[frame] |= 1 << (-insn.off - 1) // 8
    elif cls in (BPF_STX, BPF_ST):
        if regs & dst:
            raise _Untracked
        if insn.dst != FP:
            return
        spi = (-insn.off - 1) // 8
        if not bt.slots[frame] >> spi & 1:
            return
        bt.slots[frame] &= ~(1 << spi)
        if cls == BPF_STX:
            bt.regs[frame] |= src
    elif cls in (BPF_JMP, BPF_JMP32):
        opcode = code & 0xF0
        if opcode == BPF_CALL and cls == BPF_JMP:
            if insn.src == PSEUDO_CALL or env.aux[idx].calls_callback:
                raise _Untracked
            if insn.src == PSEUDO_KFUNC_CALL and insn.imm == 0:
                raise _Untracked
            bt.regs[frame] &= ~R0
            if bt.regs[frame] & ARGS:
                env.fail(E.FAULT, f"BUG regs {bt.regs[frame]:x}")
        elif opcode == BPF_EXIT:
            raise _Untracked
        elif code & BPF_X and opcode and regs & (dst | src):
            bt.regs[frame] |= dst | src
    elif cls == BPF_LD:
        if not regs & dst:
            return
        bt.regs[frame] = regs & ~dst
        if code & 0xE0 in (0x20, 0x40):
            raise _Untracked


def mark_stack_slot_precise(env: Env, frame: Frame, spi: int) -> None:
    """Note that the number in a slot of a frame of the current path matters."""
    bt = Backtrack(len(env.cur_state.frames) - 1)
    bt.slots[frame.frameno] = 1 << spi
    mark_chain_precision_batch(env, env.cur_state, bt, env.insn_idx)
