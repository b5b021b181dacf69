"""Control flow before the walk: where states are looked for, unreachable code (check_cfg)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import (
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_JMP32,
    BPF_X,
    JA32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
)
from bpfctl.kernel.bpf.verifier.env import Env

DISCOVERED, EXPLORED, FALLTHROUGH, BRANCH = 0x10, 0x20, 1, 2
MAY_GOTO_CODE = BPF_JMP | 0xE0

SYNC_CALLBACKS = frozenset((164, 180, 181, 209))
"""Helpers that call a function back before they return: for_each_map_elem, loop, find_vma,
user_ringbuf_drain."""
CALLBACK_IDS = {"for_each_map_elem": 164, "find_vma": 180, "loop": 181, "user_ringbuf_drain": 209}
ASYNC_CALLBACKS = frozenset((170,))
"""timer_set_callback."""


class _Walk:
    """The depth-first search, with the kernel's states."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.state = [0] * len(env.insns)
        self.stack: list[int] = []
        self.two_slots = env.rules.cfg == "two_slots"

    def push(self, at: int, to: int, edge: int) -> bool:
        """Follow an edge; True if there is more to explore behind it first (push_insn)."""
        env, state = self.env, self.state
        if edge == FALLTHROUGH and state[at] >= (DISCOVERED | FALLTHROUGH):
            return False
        if edge == BRANCH and state[at] >= (DISCOVERED | BRANCH):
            return False
        if not 0 <= to < len(state):
            env.fail(E.INVAL, f"jump out of range from insn {at} to {to}")
        if edge == BRANCH:
            env.aux[to].prune_point = env.aux[to].jmp_point = True
        if state[to] == 0:
            state[at] = DISCOVERED | edge
            state[to] = DISCOVERED
            self.stack.append(to)
            return True
        if state[to] & 0xF0 == DISCOVERED:
            if env.bpf_capable and self._loop_allowed(at):
                return False
            env.fail(E.INVAL, f"back-edge from insn {at} to {to}")
        state[at] = DISCOVERED | edge
        return False

    def _loop_allowed(self, at: int) -> bool:
        insn = self.env.insns[at]
        recursion = insn.code == BPF_JMP | BPF_CALL and insn.src == PSEUDO_CALL
        return not (recursion and self.env.rules.cfg_recursion == "back-edge")

    def visit(self, at: int) -> bool:
        """Follow the next edge of an instruction; False when all are done (visit_insn)."""
        env = self.env
        insn = env.insns[at]
        code = insn.code
        if code == LD_IMM64 and insn.src == PSEUDO_FUNC:
            return self._call(at, insn.imm)
        if code & 7 not in (BPF_JMP, BPF_JMP32):
            return self.push(
                at, at + (2 if code == LD_IMM64 and self.two_slots else 1), FALLTHROUGH
            )
        opcode = code & 0xF0
        if opcode == BPF_EXIT:
            return False
        if opcode == BPF_CALL:
            self._mark_call(at)
            return self._call(at, insn.imm if insn.src == PSEUDO_CALL else None)
        if opcode == 0:
            if code & BPF_X:
                env.fail(E.INVAL)
            off = insn.imm if code == JA32 else insn.off
            more = self.push(at, at + off + 1, FALLTHROUGH)
            if not more:
                target = env.aux[at + off + 1]
                target.prune_point = target.jmp_point = True
                if env.rules.prune_after_jump and at + 1 < len(env.insns):
                    env.aux[at + 1].prune_point = env.aux[at + 1].jmp_point = True
            return more
        aux = env.aux[at]
        aux.prune_point = True
        if code == MAY_GOTO_CODE and env.isa >= 4:
            aux.force_checkpoint = aux.may_goto = True
        if self.push(at, at + 1, FALLTHROUGH):
            return True
        return self.push(at, at + insn.off + 1, BRANCH)

    def _mark_call(self, at: int) -> None:
        env = self.env
        insn = env.insns[at]
        aux = env.aux[at]
        if insn.src == 0:
            if insn.imm in ASYNC_CALLBACKS and env.rules.loops != "none":
                aux.prune_point = True
            if insn.imm in SYNC_CALLBACKS:
                aux.calls_callback = True
                if env.rules.callbacks == "iterate":
                    aux.force_checkpoint = aux.prune_point = aux.jmp_point = True
        elif insn.src == PSEUDO_KFUNC_CALL and env.is_iter_next(insn):
            aux.prune_point = aux.force_checkpoint = aux.iter_next = True

    def _call(self, at: int, imm: int | None) -> bool:
        env = self.env
        size = 2 if env.insns[at].code == LD_IMM64 and self.two_slots else 1
        if self.push(at, at + size, FALLTHROUGH):
            return True
        if at + size < len(env.insns):
            env.aux[at + size].prune_point = env.aux[at + size].jmp_point = True
        if imm is None:
            return False
        env.aux[at].prune_point = True
        return self.push(at, at + imm + 1, BRANCH)

    def run(self, start: int) -> None:
        """Explore all that can be reached."""
        self.state[start] = DISCOVERED
        self.stack.append(start)
        while self.stack:
            at = self.stack[-1]
            if not self.visit(at):
                self.state[at] = EXPLORED
                self.stack.pop()


def check_cfg(env: Env) -> None:
    """Search the program, mark prune points, refuse what cannot be reached.

    :raises Refused: EINVAL.
    """
    walk = _Walk(env)
    walk.run(0)
    idx = 0
    while idx < len(env.insns):
        if walk.state[idx] != EXPLORED:
            env.fail(E.INVAL, f"unreachable insn {idx}")
        if walk.two_slots and env.insns[idx].code == LD_IMM64:
            if walk.state[idx + 1]:
                env.fail(E.INVAL, f"jump into the middle of ldimm64 insn {idx}")
            idx += 1
        idx += 1
