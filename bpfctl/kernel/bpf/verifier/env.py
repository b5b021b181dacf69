"""struct bpf_verifier_env: one program on its way through the verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from bpfctl.errors import KernelError
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.helpers import by_id
from bpfctl.kernel.bpf.progtypes.decl import ProgType
from bpfctl.kernel.bpf.verifier.regtype import SCALAR_VALUE
from bpfctl.kernel.bpf.verifier.result import Stats
from bpfctl.kernel.bpf.verifier.rules import Rules
from bpfctl.kernel.bpf.verifier.state import NOT_INIT_REG, Frame, Reg, State
from bpfctl.uapi import BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapType
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Task
    from bpfctl.uapi import ProgLoadAttr

LOG_LEVEL1, LOG_LEVEL2, LOG_STATS = 1, 2, 4
COMPLEXITY_LIMIT_INSNS = 1_000_000
COMPLEXITY_LIMIT_JMP_SEQ = 8192
COMPLEXITY_LIMIT_STATES = 64

READ, WRITE = 1, 2


class Refused(KernelError):
    """The verifier says no; what it says is in the log."""


class VMap:
    """A map as the verifier sees it: immutable facts in plain slots."""

    __slots__ = (
        "btf", "btf_id", "fields", "flags", "frozen", "id", "inner", "key_size", "map",
        "max_entries", "name", "type", "value_size", "value_type",
    )  # fmt: skip

    def __init__(self, map_: MapType, inner: VMap | None = None) -> None:
        rec = map_.rec
        self.map = map_
        self.id = rec.id
        self.type = map_.name
        self.name = rec.name.decode("ascii", "replace")
        self.key_size = rec.key_size
        self.value_size = rec.value_size
        self.max_entries = rec.max_entries
        self.flags = rec.map_flags
        self.frozen = bool(rec.frozen)
        self.btf_id = rec.btf_id
        self.value_type = rec.btf_value_type_id
        self.fields: dict[str, list[list[int]]] = rec.fields
        self.inner = inner

    def can_read(self) -> bool:
        """Whether programs may read values (bpf_map_flags_to_cap)."""
        return not self.flags & BPF_F_WRONLY_PROG

    def can_write(self) -> bool:
        """Whether programs may write values."""
        return not self.flags & BPF_F_RDONLY_PROG


class InsnAux:
    """struct bpf_insn_aux_data of one instruction."""

    __slots__ = (
        "alu_limit", "alu_state", "call", "calls_callback", "extra", "fixup", "force_checkpoint",
        "iter_next", "jmp_point", "live_regs", "map", "map_off", "may_goto", "nospec",
        "nospec_result", "prune_point", "ptr_type", "scc", "seen",
    )  # fmt: skip

    def __init__(self) -> None:
        self.seen = 0
        self.prune_point = False
        self.jmp_point = False
        self.force_checkpoint = False
        self.calls_callback = False
        self.iter_next = False
        self.may_goto = False
        self.live_regs = 0
        self.scc = 0
        self.map: VMap | None = None
        self.map_off = 0
        self.ptr_type = 0
        self.alu_state = 0
        self.alu_limit = 0
        self.nospec = False
        self.nospec_result = False
        self.call: Any = None
        self.fixup: Any = None
        self.extra: Any = None


class Subprog:
    """struct bpf_subprog_info: one function of the program."""

    __slots__ = (
        "args",
        "args_cached",
        "called",
        "changes_pkt_data",
        "end",
        "func_info",
        "has_ld_abs",
        "has_tail_call",
        "is_async_cb",
        "is_cb",
        "is_exception_cb",
        "is_global",
        "keep_fastcall",
        "linkage",
        "might_sleep",
        "name",
        "postorder",
        "stack_depth",
        "start",
        "tail_call_reachable",
        "type_id",
        "void",
    )  # fmt: skip

    def __init__(self, start: int) -> None:
        self.start = start
        self.end = start
        self.stack_depth = 0
        self.has_tail_call = False
        self.has_ld_abs = False
        self.tail_call_reachable = False
        self.is_cb = False
        self.is_async_cb = False
        self.is_exception_cb = False
        self.changes_pkt_data = False
        self.might_sleep = False
        self.keep_fastcall = False
        self.is_global = False
        self.called = False
        self.void = False
        self.name = ""
        self.linkage = "static"
        self.type_id = 0
        self.func_info: Any = None
        self.args: Any = None
        self.args_cached = False
        self.postorder: list[int] = []


class Env:
    """The verifier of one BPF_PROG_LOAD.

    Messages: :meth:`verbose` appends text to the log, :meth:`fail` does so and refuses the
    program. Registers: :attr:`regs` are those of the current frame; store a new
    :class:`~bpfctl.kernel.bpf.verifier.state.Reg`, never change one.
    """

    def __init__(
        self,
        kernel: Kernel,
        task: Task,
        attr: ProgLoadAttr,
        attach_type: int,
        rules: Rules,
        insns: list[Insn],
        prog_type: ProgType,
        traits: frozenset[str],
    ) -> None:
        self.kernel = kernel
        self.task = task
        self.attr = attr
        self.type: ProgType = prog_type
        self.attach_type = attach_type
        self.rules = rules
        self.isa = kernel.profile.progs.isa
        self.gotol = self.isa >= 4 or kernel.profile.progs.gotol
        self.traits = traits
        self.insns = insns
        self.aux = [InsnAux() for _ in insns]
        self.maps: list[VMap] = []
        self.map_of_insn: dict[int, VMap] = {}
        self.subprogs: list[Subprog] = []
        self.btf: Any = None
        self.btf_id = 0

        self.log_level = 0
        self.log: list[str] = []
        self.last_line = ""

        self.bpf_capable = True
        self.allow_ptr_leaks = True
        self.allow_uninit_stack = True
        self.bypass_spec_v1 = True
        self.bypass_spec_v4 = True
        self.strict_alignment = False
        self.sleepable = False
        self.gpl = True

        self.cur_state: State = State()
        self.insn_idx = 0
        self.prev_insn_idx = -1
        self.stack: list[Any] = []
        self.insn_processed = 0
        self.prev_insn_processed = 0
        self.jmps_processed = 0
        self.prev_jmps_processed = 0
        self.id_gen = 0
        self.explore_alu_limits = False
        self.seen_direct_write = False
        self.seen_exception = False
        self.stats = Stats()
        self.explored: dict[int, list[State]] = {}
        self.explored_size = 0
        self.free_list_size = 0
        self.peak = 0
        self.scc_visits: dict[tuple[int, ...], Any] = {}
        self.stack_live: Any = None
        self.cur_jump: Any = None
        self.print_state = False
        self.touches: list[int] = []
        self.ops: dict[tuple[int, bool], Any] = {}
        self.sync: Any = None
        self.next_idx = 0
        self.precise_default = False
        self.subprog_by_start: dict[int, int] = {}
        self.has_func_info = False
        self.extra: dict[str, Any] = {}

    # --- the log --------------------------------------------------------------

    def verbose(self, text: str) -> None:
        """Append ``text`` (newlines included) to the log."""
        self.log.append(text)

    def fail(self, errno: int, text: str = "") -> NoReturn:
        """Say ``text`` (no newline at its end needed) and refuse the program."""
        if text:
            self.verbose(text if text.endswith("\n") else text + "\n")
        raise Refused(errno, text)

    # --- registers ------------------------------------------------------------

    @property
    def frame(self) -> Frame:
        """The current function's frame."""
        return self.cur_state.frames[-1]

    @property
    def regs(self) -> list[Reg]:
        """The current function's registers."""
        return self.cur_state.frames[-1].regs

    def func(self, reg: Reg) -> Frame:
        """The frame that a stack pointer points into."""
        return self.cur_state.frames[reg.frameno]

    def new_id(self) -> int:
        """A fresh id for registers or references."""
        self.id_gen += 1
        return self.id_gen

    def set_reg(self, regno: int, reg: Reg, precise: bool = False) -> None:
        """Store ``reg``; only numbers are ever precise."""
        frame = self.cur_state.frames[-1]
        frame.regs[regno] = reg
        if precise:
            frame.precise |= 1 << regno
        else:
            frame.precise &= ~(1 << regno)

    def forget_reg(self, regno: int) -> None:
        """Make a register unreadable (mark_reg_not_init)."""
        self.set_reg(regno, NOT_INIT_REG)

    def subprog_at(self, insn_idx: int) -> Subprog:
        """The function that starts at an instruction."""
        return self.subprogs[self.subprog_by_start[insn_idx]]

    def helper_proto(self, number: int) -> Any:
        """The prototype of a helper as this program is offered it, None if it is not."""
        from bpfctl.kernel.bpf.verifier.calls import offered_to

        variant = offered_to(self).get(number)
        helper = by_id(number)
        if helper is None or variant is None:
            return None
        return helper.proto(variant).at(self.traits)

    def is_iter_next(self, insn: Insn) -> bool:
        """Whether a call is one of a kernel function that steps an iterator."""
        from bpfctl.kernel.bpf.verifier import kfunc

        return kfunc.is_iter_next(self, insn)

    def kfunc_params(self, insn: Insn) -> int:
        """How many registers a kernel function reads."""
        from bpfctl.kernel.bpf.verifier import kfunc

        return kfunc.nr_params(self, insn)

    def is_pointer_value(self, regno: int) -> bool:
        """Whether showing a register would leak an address (is_pointer_value)."""
        return not self.allow_ptr_leaks and self.regs[regno].type != SCALAR_VALUE
