"""Stepping through a program: what each insn changed, told as it happens.

Only the interpreter can be stepped. Registers that hold addresses are told by what they point to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.errors import KernelError
from bpfctl.isa.disasm import text
from bpfctl.isa.insn import BPF_ST, BPF_STX, Insn
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.interp import RT, SIZES, InterpUnit
from bpfctl.kernel.bpf.vm.runtime import STACK_BYTES
from bpfctl.light import dataclass, field

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.vm import Vm

_NOTHING = Insn(0, 0, 0, 0, 0)
SMALL = 10


@dataclass(slots=True)
class Write:
    """Memory that an insn wrote: place as ``shown``, new bytes."""

    shown: str
    addr: int
    content: bytes


@dataclass(slots=True)
class Step:
    """One insn that ran. ``regs`` are those it changed: name, value, and the value as shown."""

    prog_id: int
    pc: int
    depth: int
    insn: str
    regs: list[tuple[str, int, str]] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


class Tracer:
    """Gathers steps; ``tell`` is called with each when the next one begins, or the run ends."""

    def __init__(self, vm: Vm, tell: Callable[[Step], None]) -> None:
        self._vm = vm
        self._tell = tell
        self._step: Step | None = None
        self._regs: list[Any] = []
        self._before: list[int] = []
        self._watched: list[tuple[int, bytes]] = []

    def before(self, unit: InterpUnit, pc: int, regs: list[Any]) -> None:
        """Told by the interpreter before an insn runs."""
        self.finish()
        insns = unit.program.insns
        insn = insns[pc]
        follower = insns[pc + 1] if pc + 1 < len(insns) else _NOTHING
        depth = (regs[10] - regs[RT].stack) // STACK_BYTES - 1
        self._step = Step(unit.program.id, pc, depth, text(insn, follower))
        self._regs, self._before = regs, list(regs[:11])
        self._watched = self._places(insn, regs)

    def _places(self, insn: Insn, regs: list[Any]) -> list[tuple[int, bytes]]:
        """Return the memory that an insn may write, as it is now."""
        cls = insn.code & 7
        buf = self._vm.arena.buf
        if cls in (BPF_ST, BPF_STX) and insn.imm != sem.LOAD_ACQ:
            addr = regs[insn.dst] + insn.off & sem.U64
            size = SIZES[insn.code & 0x18]
            return [(addr, bytes(buf[addr : addr + size]))]
        if insn.code & 0xF7 == 0x85:
            # A helper may fill in what it is pointed to: watch the frame.
            start = regs[10] - STACK_BYTES
            return [(start, bytes(buf[start : regs[10]]))]
        return []

    def finish(self) -> None:
        """Tell of the insn that was running."""
        step, self._step = self._step, None
        if step is None:
            return
        regs = self._regs
        for at in range(11):
            if regs[at] != self._before[at]:
                step.regs.append((f"r{at}", regs[at], self.shown(regs[at], regs[10])))
        exact = len(self._watched) == 1 and len(self._watched[0][1]) <= 8
        for addr, was in self._watched:
            now = bytes(self._vm.arena.buf[addr : addr + len(was)])
            if exact:
                step.writes.append(Write(self.shown(addr, regs[10]), addr, now))
            elif now != was:
                step.writes += self._changes(addr, was, now, regs[10])
        self._tell(step)

    def _changes(self, addr: int, was: bytes, now: bytes, fp: int) -> list[Write]:
        found = []
        for at in range(0, len(was), 8):
            if was[at : at + 8] != now[at : at + 8]:
                place = addr + at
                found.append(Write(self.shown(place, fp), place, now[at : at + 8]))
        return found

    def shown(self, value: int, fp: int) -> str:
        """Return a number, or what an address points to."""
        region = self._vm.arena.find(value)
        if region is None:
            if value == fp:
                return "fp"
            return str(value) if value < SMALL else f"{value:#x}"
        if region.kind == "stack":
            return f"fp{value - fp:+d}" if value != fp else "fp"
        offset = value - region.start
        if region.kind == "map":
            return f"value of {self._map_name(region.owner)}+{offset}"
        if region.kind == "mirror":
            return self._map_name(region.owner)
        return f"{region.kind}+{offset}"

    def _map_name(self, map_id: int) -> str:
        try:
            name = self._vm.handle(map_id).rec.name.decode(errors="replace")
        except KernelError:
            name = ""
        return f"map {map_id} ({name})" if name else f"map {map_id}"


def source_lines(kernel: Any, prog_id: int) -> dict[int, tuple[str, str, int]]:
    """Return the C lines of a program by insn: text, file, number; empty without line info."""
    rec = kernel.progs.get(prog_id)
    raw = bytes.fromhex(rec.priv.get("line_info", ""))
    if not raw or not rec.btf_id:
        return {}
    import struct

    from bpfctl.btf.parse import parse_btf

    btf = parse_btf(kernel.btfs.get(rec.btf_id).blob)
    return {
        at: (btf.string(line).strip(), btf.string(file), place >> 10)
        for at, file, line, place in struct.iter_unpack("<4I", raw)
    }
