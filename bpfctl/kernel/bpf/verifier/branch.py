"""Paths still to be followed: the stack of pending branches (push_stack, pop_stack)."""

from __future__ import annotations

from typing import NamedTuple

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier.env import COMPLEXITY_LIMIT_JMP_SEQ, Env
from bpfctl.kernel.bpf.verifier.state import State


class Pending(NamedTuple):
    """A path to follow later, from ``insn_idx`` on; ``log_len``: the log to go back to."""

    state: State
    insn_idx: int
    prev_insn_idx: int
    log_len: int


def push(env: Env, state: State, insn_idx: int, prev_insn_idx: int) -> None:
    """Queue a path, whatever its state hangs on.

    :raises Refused: E2BIG or EFAULT by release, with too many.
    """
    env.stack.append(Pending(state, insn_idx, prev_insn_idx, len(env.log)))
    if len(env.stack) > COMPLEXITY_LIMIT_JMP_SEQ:
        env.fail(
            env.rules.jmp_limit_errno, f"The sequence of {len(env.stack)} jumps is too complex."
        )


def push_stack(env: Env, insn_idx: int, prev_insn_idx: int, speculative: bool) -> State:
    """Queue a copy of the current state and return it, to be changed by the caller.

    :raises Refused: EFAULT or E2BIG.
    """
    new = env.cur_state.copy()
    new.speculative = new.speculative or speculative
    new.branches = 1
    if new.parent is not None:
        new.parent.branches += 1
    push(env, new, insn_idx, prev_insn_idx)
    return new


def update_branch_counts(state: State | None) -> None:
    """Tell the states on the way that one path has ended (update_branch_counts)."""
    while state is not None:
        state.branches -= 1
        if state.branches:
            break
        state = state.parent


# --- jump history ----------------------------------------------------------------

F_STACK_ACCESS, F_SRC_STACK, F_DST_STACK = 1, 2, 4

Linked = tuple[tuple[int, bool, int], ...]
"""Linked registers: (frame, whether a register, its number or slot)."""


class Jump:
    """struct bpf_jmp_history_entry: an instruction that backtracking must know more of."""

    __slots__ = ("flags", "frameno", "idx", "linked", "prev_idx", "spi")

    def __init__(self, idx: int, prev_idx: int) -> None:
        self.idx = idx
        self.prev_idx = prev_idx
        self.flags = 0
        self.frameno = 0
        self.spi = 0
        self.linked: Linked = ()


def _entry(env: Env) -> Jump:
    history = env.cur_state.history
    jump: Jump | None = env.cur_jump
    if jump is None:
        jump = Jump(env.insn_idx, env.prev_insn_idx)
        history.append(jump)
        env.cur_jump = jump
    return jump


def push_jump(env: Env, flags: int = 0, linked: Linked = ()) -> None:
    """Add to the history what happens at this instruction (push_jmp_history)."""
    jump = _entry(env)
    jump.flags |= flags
    if linked:
        jump.linked = linked


def push_stack_access(env: Env, frameno: int, spi: int) -> None:
    """Remember that this instruction reads or writes a stack slot."""
    jump = _entry(env)
    jump.flags |= F_STACK_ACCESS
    jump.frameno, jump.spi = frameno, spi


def too_complex(env: Env) -> None:
    """The refusal of a state that cannot be queued (ENOMEM of the kernel)."""
    env.fail(E.NOMEM)
