"""The runtime of one run: what engines and the bodies of helpers have in their hands.

A helper's body is called as ``body(rt, ...)`` with unsigned 64-bit numbers for scalars and
pointers (offsets into ``rt.mem``) and a :class:`~bpfctl.kernel.bpf.vm.maps.MapHandle` for a map.
It returns a number, which is taken modulo 2**64.

The stable part: ``kernel``, ``vm``, ``mem``, ``cpu``, ``task``, ``prog``, ``ctx``, ``map()``,
``map_at()``, ``call()``, ``legacy_load()``. The rest is between engines and this file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.vm.program import CODE_BASE

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena
    from bpfctl.kernel.bpf.vm.engine import Unit
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.vm import Vm
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Task

STACK_BYTES = 512
MAX_TAIL_CALLS = 33
MAX_TURNS = 1 << 26
"""Backward jumps and calls that one run may make before it is stopped."""
SKF_NET_OFF, SKF_LL_OFF = -0x100000, -0x200000


class RunEnded(KernelError):
    """The run cannot go on: no helper turns this into a result."""


class BudgetSpent(RunEnded):
    """A run took too many turns and was stopped."""

    def __init__(self) -> None:
        super().__init__(
            E.INTR,
            f"stopped after {MAX_TURNS} backward jumps and calls",
            hint=f"the program was stopped after {MAX_TURNS} backward jumps and calls",
        )


class Context(Protocol):
    """What a program runs on. ``addr`` is the value of r1 at entry."""

    addr: int


class PlainContext:
    """A context that is memory and nothing else."""

    def __init__(self, addr: int) -> None:
        self.addr = addr


class Runtime:
    """One run of a program, with the programs that it tail-calls."""

    __slots__ = (
        "caller",
        "cpu",
        "ctx",
        "fp",
        "kernel",
        "mem",
        "prog",
        "stack",
        "stack_end",
        "state",
        "tail_calls",
        "tail_unit",
        "task",
        "turns",
        "unit",
        "vm",
    )

    def __init__(self, vm: Vm, ctx: Any, cpu: int, stack: int, stack_end: int) -> None:
        self.vm = vm
        self.kernel: Kernel = vm.kernel
        self.mem: Arena = vm.arena
        self.ctx = ctx
        self.cpu = cpu
        self.task: Task | None = vm.kernel.ctx.task
        self.prog: int = 0
        self.stack = stack
        self.stack_end = stack_end
        self.fp = stack + STACK_BYTES
        self.tail_calls = 0
        self.tail_unit: Unit | None = None
        self.turns = MAX_TURNS
        self.unit: Unit | None = None
        self.caller: Unit | None = None
        self.state: dict[str, Any] = {}
        """For helper families: what they keep from one call to the next within a run."""

    # --- for helpers -----------------------------------------------------------

    def map(self, map_id: int) -> MapHandle:
        """Return a map by id.

        :raises KernelError: ENOENT.
        """
        return self.vm.handle(map_id)

    def map_at(self, addr: int) -> MapHandle:
        """Return the map that a register stands for.

        :raises KernelError: EFAULT, no map is there.
        """
        return self.vm.handle_at(addr)

    def call(self, func: int, *args: int) -> int:
        """Call a function of the running program, as a callback; return its r0.

        :param func: what a register holds of the function's address, or the index of its first
            insn.
        """
        unit = self.unit
        assert unit is not None
        fp = self.fp + STACK_BYTES
        if fp > self.stack_end:
            raise KernelError(E.FAULT, "stack frames")
        padded = (*args, 0, 0, 0, 0, 0)[:5]
        before = self.fp
        try:
            return unit.enter(self, func - CODE_BASE if func >= CODE_BASE else func, fp, *padded)
        finally:
            self.fp = before
            self.unit = unit

    def legacy_load(self, offset: int, size: int) -> int | None:
        """Load from the packet as classic BPF did: big endian, None when out of bounds.

        The context says where: ``packet_at(offset, size)`` of skb contexts returns the bytes at an
        offset from ``skb->data``, negative ones included, None where nothing is.
        """
        offset = (offset & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
        found: bytes | None = self.ctx.packet_at(offset, size)
        return None if found is None else int.from_bytes(found, "big")

    # --- for engines -------------------------------------------------------------

    def turn(self) -> None:
        """Count a backward jump or a call.

        :raises BudgetSpent: there were too many.
        """
        self.turns -= 1
        if self.turns < 0:
            raise BudgetSpent()

    def tail_call(self, map_addr: int, index: int) -> Unit | None:
        """Return what a successful tail call goes on with; None: it goes on behind the call."""
        index &= 0xFFFFFFFF
        if self.tail_calls >= MAX_TAIL_CALLS:
            return None
        prog_id = self.vm.handle_at(map_addr).prog_id(index)
        if not prog_id:
            return None
        self.tail_calls += 1
        self.unit = unit = self.vm.unit(prog_id)
        return unit
