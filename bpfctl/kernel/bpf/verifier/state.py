"""What the verifier knows at one point of one path: registers, stack slots, frames.

A :class:`Reg` and a :class:`Slot` never change once they are in a state: whoever wants another
value makes a copy, changes that, and stores it. So states are copied by copying lists. What the
kernel changes in place afterwards lives beside them: precision as bit masks of the frame, read
marks in :class:`Live` nodes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.regtype import NOT_INIT, PTR_TO_CTX, PTR_TO_STACK, SCALAR_VALUE

U64_MAX = (1 << 64) - 1
S64_MAX = (1 << 63) - 1
S64_MIN = -(1 << 63)
U32_MAX = (1 << 32) - 1
S32_MAX = (1 << 31) - 1
S32_MIN = -(1 << 31)

MAX_BPF_STACK = 512
REG_SIZE = 8
FP = 10
NR_REGS = 11

ADD_CONST = 1 << 31
"""Flag of a scalar's id: linked, and ``off`` apart (BPF_ADD_CONST)."""

# Kinds of a stack byte.
INVALID, SPILL, MISC, ZERO, DYNPTR, ITER, IRQ_FLAG, POISON = range(8)
EMPTY = bytes((INVALID,)) * 8

BEYOND_PKT_END = -2
AT_PKT_END = -1


class Reg:
    """struct bpf_reg_state; never changed once it is in a state.

    ``aux`` is what the type needs beside: the range of a packet pointer, the
    :class:`~bpfctl.kernel.bpf.verifier.env.VMap` of map types, the size of memory, a
    :class:`BtfRef`, a subprogram's number, a :class:`Dynptr` or an :class:`Iter`.
    """

    __slots__ = (
        "aux",
        "frameno",
        "id",
        "map_uid",
        "mask",
        "off",
        "ref_obj_id",
        "s32_max",
        "s32_min",
        "smax",
        "smin",
        "type",
        "u32_max",
        "u32_min",
        "umax",
        "umin",
        "value",
    )  # fmt: skip

    type: int
    off: int
    aux: Any
    value: int
    mask: int
    smin: int
    smax: int
    umin: int
    umax: int
    s32_min: int
    s32_max: int
    u32_min: int
    u32_max: int
    id: int
    ref_obj_id: int
    map_uid: int
    frameno: int

    def copy(self) -> Reg:
        """A copy that may be changed until it is stored."""
        new = Reg.__new__(Reg)
        new.type = self.type
        new.off = self.off
        new.aux = self.aux
        new.value = self.value
        new.mask = self.mask
        new.smin = self.smin
        new.smax = self.smax
        new.umin = self.umin
        new.umax = self.umax
        new.s32_min = self.s32_min
        new.s32_max = self.s32_max
        new.u32_min = self.u32_min
        new.u32_max = self.u32_max
        new.id = self.id
        new.ref_obj_id = self.ref_obj_id
        new.map_uid = self.map_uid
        new.frameno = self.frameno
        return new

    @property
    def var_off(self) -> tnum.Tnum:
        """The variable part as a tnum."""
        return self.value, self.mask

    @var_off.setter
    def var_off(self, new: tnum.Tnum) -> None:
        self.value, self.mask = new

    def is_const(self) -> bool:
        """Tell whether the value (or the offset) is known (tnum_is_const of var_off)."""
        return not self.mask

    def same_but_ids(self, other: Reg) -> bool:
        """memcmp() up to the field ``id``."""
        return (
            self.type == other.type
            and self.off == other.off
            and self.aux == other.aux
            and self.value == other.value
            and self.mask == other.mask
            and self.smin == other.smin
            and self.smax == other.smax
            and self.umin == other.umin
            and self.umax == other.umax
            and self.s32_min == other.s32_min
            and self.s32_max == other.s32_max
            and self.u32_min == other.u32_min
            and self.u32_max == other.u32_max
            and self.map_uid == other.map_uid
        )

    def mark_unbounded(self) -> None:
        """Forget all ranges (__mark_reg_unbounded)."""
        self.smin, self.smax = S64_MIN, S64_MAX
        self.umin, self.umax = 0, U64_MAX
        self.s32_min, self.s32_max = S32_MIN, S32_MAX
        self.u32_min, self.u32_max = 0, U32_MAX

    def set_known(self, value: int) -> None:
        """Set the (variable) value, all 64 bits (___mark_reg_known)."""
        value &= U64_MAX
        self.value, self.mask = value, 0
        self.umin = self.umax = value
        self.smin = self.smax = value - (1 << 64) if value >> 63 else value
        low = value & U32_MAX
        self.u32_min = self.u32_max = low
        self.s32_min = self.s32_max = low - (1 << 32) if low >> 31 else low


def new_reg(reg_type: int, off: int = 0, aux: Any = None) -> Reg:
    """A register of a type with a known zero variable part."""
    reg = Reg.__new__(Reg)
    reg.type, reg.off, reg.aux = reg_type, off, aux
    reg.value = reg.mask = 0
    reg.smin = reg.smax = reg.umin = reg.umax = 0
    reg.s32_min = reg.s32_max = reg.u32_min = reg.u32_max = 0
    reg.id = reg.ref_obj_id = reg.map_uid = reg.frameno = 0
    return reg


def unknown_reg() -> Reg:
    """Any number (mark_reg_unknown). The caller marks it precise where that is due."""
    return UNKNOWN_SCALAR


def const_reg(value: int) -> Reg:
    """A known number."""
    reg = new_reg(SCALAR_VALUE)
    reg.set_known(value)
    return reg


def pointer(reg_type: int, off: int = 0, aux: Any = None) -> Reg:
    """A pointer with fixed offset ``off`` and no variable one."""
    return new_reg(reg_type, off, aux)


def _unknown(reg_type: int) -> Reg:
    reg = new_reg(reg_type)
    reg.mask = U64_MAX
    reg.mark_unbounded()
    return reg


UNKNOWN_SCALAR = _unknown(SCALAR_VALUE)
NOT_INIT_REG = _unknown(NOT_INIT)
ZERO_REG = const_reg(0)
CTX_REG = pointer(PTR_TO_CTX)


class BtfRef(NamedTuple):
    """A type of a BTF object: what a BTF pointer points at. ``btf`` is the parsed object."""

    btf: Any
    type_id: int
    name: str = ""


class Dynptr(NamedTuple):
    """A stack slot of a dynptr, or the register that points at one."""

    type: str
    first_slot: bool = True


class Iter(NamedTuple):
    """A stack slot of an open-coded iterator. ``state``: active or drained."""

    name: str
    state: str
    depth: int


class Slot:
    """Eight bytes of stack. ``types[i]`` is the kind of byte ``fp - 8 * (spi + 1) + (7 - i)``
    counted as the kernel does: ``types[7]`` lies lowest."""

    __slots__ = ("reg", "types")

    def __init__(self, types: bytes, reg: Reg) -> None:
        self.types = types
        self.reg = reg

    @property
    def spilled(self) -> bool:
        """Whether a register was spilled here, in part at least (is_spilled_reg)."""
        return self.types[7] == SPILL


EMPTY_SLOT = Slot(EMPTY, NOT_INIT_REG)


class Live:
    """Read and write marks of one register or slot of one state (dynamic liveness)."""

    __slots__ = ("marks", "parent")

    def __init__(self, parent: Live | None = None, marks: int = 0) -> None:
        self.parent = parent
        self.marks = marks


class Frame:
    """struct bpf_func_state: the registers and the stack of one function on the call chain.

    ``precise`` and ``stack_precise`` are bit masks by register and slot; ``live`` and
    ``stack_live`` are empty where liveness is static.
    """

    __slots__ = (
        "async_entry_cnt",
        "callback",
        "callback_depth",
        "callback_ret_range",
        "callsite",
        "frameno",
        "in_async_callback_fn",
        "in_callback_fn",
        "in_exception_callback_fn",
        "live",
        "precise",
        "regs",
        "stack",
        "stack_live",
        "stack_precise",
        "subprogno",
    )  # fmt: skip

    def __init__(self, callsite: int, frameno: int, subprogno: int) -> None:
        self.regs: list[Reg] = [NOT_INIT_REG] * FP + [_fp(frameno)]
        self.stack: list[Slot] = []
        self.precise = 0
        self.stack_precise = 0
        self.live: list[Live] = []
        self.stack_live: list[Live] = []
        self.callsite = callsite
        self.frameno = frameno
        self.subprogno = subprogno
        self.async_entry_cnt = 0
        self.in_callback_fn = False
        self.in_async_callback_fn = False
        self.in_exception_callback_fn = False
        self.callback_ret_range: tuple[int, int] | None = None
        self.callback_depth = 0
        self.callback: Any = None

    def copy(self) -> Frame:
        """A copy that shares registers and slots."""
        new = Frame.__new__(Frame)
        new.regs = self.regs[:]
        new.stack = self.stack[:]
        new.precise = self.precise
        new.stack_precise = self.stack_precise
        new.live = [Live(node.parent, node.marks) for node in self.live]
        new.stack_live = [Live(node.parent, node.marks) for node in self.stack_live]
        new.callsite = self.callsite
        new.frameno = self.frameno
        new.subprogno = self.subprogno
        new.async_entry_cnt = self.async_entry_cnt
        new.in_callback_fn = self.in_callback_fn
        new.in_async_callback_fn = self.in_async_callback_fn
        new.in_exception_callback_fn = self.in_exception_callback_fn
        new.callback_ret_range = self.callback_ret_range
        new.callback_depth = self.callback_depth
        new.callback = self.callback
        return new

    @property
    def allocated_stack(self) -> int:
        """Bytes of stack that have slots."""
        return len(self.stack) * REG_SIZE

    def grow_stack(self, size: int, dynamic: bool) -> None:
        """Make slots for ``size`` bytes (grow_stack_state)."""
        missing = (size + REG_SIZE - 1) // REG_SIZE - len(self.stack)
        if missing > 0:
            self.stack += [EMPTY_SLOT] * missing
            if dynamic:
                self.stack_live += [Live() for _ in range(missing)]

    def spilled(self, spi: int) -> bool:
        """Whether slot ``spi`` holds a spilled register (is_spilled_reg)."""
        return self.stack[spi].types[7] == SPILL


def _fp(frameno: int) -> Reg:
    reg = pointer(PTR_TO_STACK)
    reg.frameno = frameno
    return reg


class Ref(NamedTuple):
    """An acquired reference (struct bpf_reference_state). ``kind``: ptr, lock, res_lock, irq..."""

    id: int
    insn_idx: int
    kind: str = "ptr"
    frameno: int = 0
    ptr: Any = None


class State:
    """struct bpf_verifier_state: the frames of one path, and what holds for all of them.

    ``refs`` are the references that are held; ``locks`` an opaque tuple that must be equal in
    equal states. ``history`` are the jumps since ``first_insn_idx``.
    """

    __slots__ = (
        "active_irq_id",
        "active_lock",
        "active_locks",
        "active_preempt_locks",
        "active_rcu_lock",
        "branches",
        "callback_unroll_depth",
        "cleaned",
        "dfs_depth",
        "equal_state",
        "evicted",
        "extra",
        "first_insn_idx",
        "frames",
        "history",
        "hit_cnt",
        "in_sleepable",
        "insn_idx",
        "last_insn_idx",
        "loop_entry",
        "may_goto_depth",
        "miss_cnt",
        "parent",
        "refs",
        "speculative",
        "used_as_loop_entry",
    )  # fmt: skip

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.refs: tuple[Ref, ...] = ()
        self.active_lock: Any = None
        self.active_locks = 0
        self.active_rcu_lock = 0
        self.active_preempt_locks = 0
        self.active_irq_id = 0
        self.in_sleepable = False
        self.cleaned = False
        self.speculative = False
        self.parent: State | None = None
        self.branches = 1
        self.insn_idx = 0
        self.first_insn_idx = 0
        self.last_insn_idx = -1
        self.history: list[Any] = []
        self.dfs_depth = 0
        self.callback_unroll_depth = 0
        self.may_goto_depth = 0
        self.loop_entry: State | None = None
        self.used_as_loop_entry = False
        self.equal_state: State | None = None
        self.miss_cnt = 0
        self.hit_cnt = 0
        self.evicted = False
        self.extra: Any = None

    def copy(self) -> State:
        """copy_verifier_state(): all but the counters of the explored list."""
        new = State.__new__(State)
        new.frames = [frame.copy() for frame in self.frames]
        new.refs = self.refs
        new.active_lock = self.active_lock
        new.active_locks = self.active_locks
        new.active_rcu_lock = self.active_rcu_lock
        new.active_preempt_locks = self.active_preempt_locks
        new.active_irq_id = self.active_irq_id
        new.in_sleepable = self.in_sleepable
        new.cleaned = self.cleaned
        new.speculative = self.speculative
        new.parent = self.parent
        new.branches = self.branches
        new.insn_idx = self.insn_idx
        new.first_insn_idx = self.first_insn_idx
        new.last_insn_idx = self.last_insn_idx
        new.history = self.history[:]
        new.dfs_depth = self.dfs_depth
        new.callback_unroll_depth = self.callback_unroll_depth
        new.may_goto_depth = self.may_goto_depth
        new.loop_entry = self.loop_entry
        new.used_as_loop_entry = False
        new.equal_state = None
        new.miss_cnt = 0
        new.hit_cnt = 0
        new.evicted = False
        new.extra = self.extra
        return new

    @property
    def curframe(self) -> int:
        """Number of the innermost frame."""
        return len(self.frames) - 1

    @property
    def frame(self) -> Frame:
        """The innermost frame."""
        return self.frames[-1]
