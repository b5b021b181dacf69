"""The log: registers, stack and instructions in the kernel's words (print_verifier_state)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.precision import Backtrack
from bpfctl.kernel.bpf.verifier.state import State


def print_state(env: Env, state: State, frameno: int, whole: bool) -> None:
    """Show the registers and the stack of one frame."""


def before_insn(env: Env, idx: int) -> None:
    """Show what the last instruction changed, and the next."""


def infinite_loop(env: Env, old: State, cur: State, insn_idx: int) -> None:
    """Say that a loop never ends; from 6.8 with both states."""
    line = f"infinite loop detected at insn {insn_idx}"
    env.verbose(line + "\n")
    env.last_line = line


def precise_parent(env: Env, state: State, bt: Backtrack, frame: int) -> None:
    """Show a checkpoint that precision was marked in."""


def precise_insn(env: Env, bt: Backtrack, idx: int) -> None:
    """Show an instruction that backtracking looks at."""
