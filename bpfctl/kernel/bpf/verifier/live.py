"""Which registers and stack slots are still needed (compute_live_registers, liveness.c).

From 6.15 registers are found beforehand, from 6.18 stack slots are too, along with the walk: each
read adds to what is known of its instruction, and before states are compared it is passed back
over the control flow.
"""

from __future__ import annotations

from collections.abc import Callable

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
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_KFUNC_CALL,
    Insn,
)
from bpfctl.kernel.bpf.verifier import scalar
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.state import State

CALLER_SAVED = 0x3F
JCOND = 0xE5


def use_def(env: Env, insn: Insn) -> tuple[int, int]:
    """Registers that an instruction reads and writes, as masks (compute_insn_live_regs)."""
    code = insn.code
    cls, dst, src = code & 7, 1 << insn.dst, 1 << insn.src
    if cls == BPF_LD:
        return (0, dst) if code == LD_IMM64 else (0x7FF, 0)
    if cls == BPF_LDX:
        return src, dst
    if cls == BPF_ST:
        return dst, 0
    if cls == BPF_STX:
        return _use_def_stx(insn, dst, src)
    if cls in (BPF_ALU, BPF_ALU64):
        opcode = code & 0xF0
        if opcode == scalar.MOV:
            return (src if code & BPF_X else 0), dst
        if opcode in (scalar.END, scalar.NEG):
            return dst, dst
        return (dst | src if code & BPF_X else dst), dst
    if code in (JA, JA32, JCOND):
        return 0, 0
    if code == BPF_JMP | BPF_EXIT:
        return 1, 0
    if code == BPF_JMP | BPF_CALL:
        return (1 << nr_params(env, insn) + 1) - 2, CALLER_SAVED
    return (dst | src if code & BPF_X else dst), 0


def _use_def_stx(insn: Insn, dst: int, src: int) -> tuple[int, int]:
    if insn.code & 0xE0 != 0xC0:
        return dst | src, 0
    if insn.imm == 0xF1:
        return dst | src | 1, 1
    if insn.imm == 0x100:
        return src, dst
    if insn.imm == 0x110:
        return dst | src, 0
    return dst | src, src if insn.imm & 1 else 0


def nr_params(env: Env, insn: Insn) -> int:
    """How many registers a call reads; all five where that is not known."""
    if insn.src == 0:
        proto = env.helper_proto(insn.imm)
        if proto is not None:
            return len(proto.args)
    elif insn.src == PSEUDO_KFUNC_CALL:
        return env.kfunc_params(insn)
    return 5


def successors(insns: list[Insn], idx: int) -> list[int]:
    """Instructions that may follow in the same function (bpf_insn_successors)."""
    insn = insns[idx]
    code = insn.code
    if code == BPF_JMP | BPF_EXIT:
        return []
    if code == LD_IMM64:
        return [idx + 2]
    if code == JA:
        return [idx + 1 + insn.off]
    if code == JA32:
        return [idx + 1 + insn.imm]
    if code & 7 in (BPF_JMP, BPF_JMP32) and code & 0xF0 != BPF_CALL:
        return [idx + 1, idx + 1 + insn.off]
    return [idx + 1]


def compute_live_registers(env: Env, following: list[list[int]]) -> None:
    """Find for each instruction the registers that matter before it."""
    insns = env.insns
    effects = [use_def(env, insn) for insn in insns]
    live = [0] * len(insns)
    changed = True
    while changed:
        changed = False
        for idx in range(len(insns) - 1, -1, -1):
            out = 0
            for target in following[idx]:
                if target < len(live):
                    out |= live[target]
            use, define = effects[idx]
            new = out & ~define | use
            if new != live[idx]:
                live[idx] = new
                changed = True
    for idx, mask in enumerate(live):
        env.aux[idx].live_regs = mask


# --- stack slots -------------------------------------------------------------------------


class Marks:
    """What one instruction does to the slots of one frame, as bit masks."""

    __slots__ = ("live", "read", "writes_known", "written")

    def __init__(self) -> None:
        self.read = 0
        self.written = 0
        self.writes_known = False
        self.live = 0


class Instance:
    """A function reached by one chain of calls (struct func_instance)."""

    __slots__ = ("chain", "end", "frames", "start", "updated")

    def __init__(self, chain: tuple[int, ...], start: int, end: int) -> None:
        self.chain = chain
        self.start = start
        self.end = end
        self.frames: dict[int, dict[int, Marks]] = {}
        self.updated = False

    def marks(self, frame: int, idx: int) -> Marks:
        """The marks of an instruction for the slots of a frame."""
        table = self.frames.setdefault(frame, {})
        found = table.get(idx)
        if found is None:
            found = table[idx] = Marks()
        return found


class StackLive:
    """Liveness of stack slots along the walk."""

    def __init__(self, env: Env, following: list[list[int]]) -> None:
        self.env = env
        self.following = following
        self.instances: dict[tuple[int, ...], Instance] = {}
        self.writes: dict[int, int] = {}
        self.visited: set[tuple[tuple[int, ...], int]] = set()
        self.current: Instance | None = None
        self.last: tuple[Instance, int] | None = None

    def _instance(self, state: State, depth: int) -> Instance:
        chain = tuple(frame.callsite for frame in state.frames[1 : depth + 1])
        subprog = state.frames[depth].subprogno
        key = (subprog, *chain)
        found = self.instances.get(key)
        if found is None:
            info = self.env.subprogs[subprog]
            found = self.instances[key] = Instance(key, info.start, info.end)
        return found

    # --- told by the walk ---

    def begin(self) -> None:
        """A new instruction starts (bpf_reset_stack_write_marks)."""
        self.commit()
        env = self.env
        state = env.cur_state
        instance = self._instance(state, len(state.frames) - 1)
        self.last = (instance, env.insn_idx)

    def commit(self) -> None:
        """Slots are written by an instruction if they are on every visit."""
        if self.last is None:
            return
        instance, idx = self.last
        key = (instance.chain, idx)
        first = key not in self.visited
        self.visited.add(key)
        for frame, mask in self.writes.items():
            marks = instance.marks(frame, idx)
            if first:
                marks.written = mask
                marks.writes_known = True
                instance.updated = True
        if not first:
            for frame, table in instance.frames.items():
                marks_ = table.get(idx)
                if marks_ is None or not marks_.written:
                    continue
                both = marks_.written & self.writes.get(frame, 0)
                if both != marks_.written:
                    marks_.written = both
                    instance.updated = True
        self.writes = {}
        self.last = None

    def read(self, frame: int, spi: int) -> None:
        """A slot is read, wholly or in part."""
        if self.last is None:
            self.begin()
        assert self.last is not None
        instance, idx = self.last
        marks = instance.marks(frame, idx)
        if not marks.read >> spi & 1:
            marks.read |= 1 << spi
            instance.updated = True

    def write(self, frame: int, spi: int) -> None:
        """A whole slot is written."""
        self.writes[frame] = self.writes.get(frame, 0) | 1 << spi

    # --- passing it back ---

    def update(self) -> None:
        """A path has ended: pass back what it did (bpf_update_live_stack)."""
        self.commit()
        state = self.env.cur_state
        for depth in range(len(state.frames) - 1, -1, -1):
            instance = self._instance(state, depth)
            if instance.updated:
                self._pass_back(instance, state, depth)

    def _pass_back(self, instance: Instance, state: State, depth: int) -> None:
        instance.updated = False
        for frame, table in instance.frames.items():
            self._fixpoint(instance, table)
            if frame >= depth:
                continue
            entry = table.get(instance.start)
            if entry is None or not entry.live:
                continue
            outer = self._instance(state, depth - 1)
            marks = outer.marks(frame, state.frames[depth].callsite)
            if entry.live & ~marks.read:
                marks.read |= entry.live
                outer.updated = True

    def _fixpoint(self, instance: Instance, table: dict[int, Marks]) -> None:
        following = self.following
        live = {idx: marks.live for idx, marks in table.items()}
        changed = True
        while changed:
            changed = False
            for idx in range(instance.end - 1, instance.start - 1, -1):
                out = 0
                for target in following[idx]:
                    out |= live.get(target, 0)
                marks = table.get(idx)
                new = out if marks is None else out & ~marks.written | marks.read
                if new != live.get(idx, 0):
                    live[idx] = new
                    changed = True
        for idx, mask in live.items():
            marks = table.get(idx)
            if marks is None:
                if not mask:
                    continue
                marks = table[idx] = Marks()
            marks.live = mask

    def query(self, state: State) -> Callable[[int, int], bool]:
        """Return a function that tells whether slot ``spi`` of a frame is needed by ``state``."""
        last = len(state.frames) - 1
        found: dict[int, int] = {}
        for frame in range(last + 1):
            mask = self._live_before(state, last, state.insn_idx, frame)
            for depth in range(frame, last):
                site = state.frames[depth + 1].callsite
                at = site if self.env.aux[site].calls_callback else site + 1
                mask |= self._live_before(state, depth, at, frame)
            found[frame] = mask

        def alive(frame: int, spi: int) -> bool:
            return bool(found[frame] >> spi & 1)

        return alive

    def _live_before(self, state: State, depth: int, idx: int, frame: int) -> int:
        instance = self._instance(state, depth)
        marks = instance.frames.get(frame, {}).get(idx)
        return 0 if marks is None else marks.live
