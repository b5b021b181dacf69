"""The Python source of a program: a function for each of its functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from bpfctl.kernel.bpf.vm.cfg import Flow
from bpfctl.kernel.bpf.vm.facts import Facts
from bpfctl.kernel.bpf.vm.interp import MAY_GOTO_ROUNDS
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.py.emit import Emitter
from bpfctl.kernel.bpf.vm.py.mapcalls import MapShape
from bpfctl.kernel.bpf.vm.py.states import StateMachine
from bpfctl.kernel.bpf.vm.py.structure import Structure, TooDeep

FORMAT = 1
"""Raised when the same program may come out as other text."""


@dataclass
class Source:
    """A program's text, and what the names in it are to be bound to."""

    text: str
    binds: dict[str, tuple[str, int]] = field(default_factory=dict)


def write(program: VmProgram, trusted: bool, shapes: dict[int, MapShape]) -> Source:
    """Return the source of a program.

    :raises ValueError: control leaves a function, so that it cannot be written.
    """
    parts: list[str] = []
    binds: dict[str, tuple[str, int]] = {}
    for start, end in program.functions:
        text, used = _function(program, start, end, trusted, shapes)
        parts.append(text)
        binds |= used
    return Source("\n".join(parts), binds)


def _function(
    program: VmProgram, start: int, end: int, trusted: bool, shapes: dict[int, MapShape]
) -> tuple[str, dict[str, tuple[str, int]]]:
    flow = Flow(program, start, end)
    main = start == 0
    facts = Facts(flow, main)
    emit = Emitter(flow, facts, trusted, shapes, main)
    body: list[str] | None = None
    if flow.reducible():
        try:
            body = Structure(emit).lines(1)
        except (TooDeep, RecursionError):
            emit = Emitter(flow, facts, trusted, shapes, main)
    if body is None:
        body = StateMachine(emit).lines(1)
    lines = [*_head(emit, start), *body]
    return "\n".join(lines) + "\n", emit.needs.binds


def _head(emit: Emitter, start: int) -> list[str]:
    """Return the ``def`` and what comes before the first insn."""
    needs = emit.needs
    if not emit.main:
        needs.bind("spent", "spent")
        needs.bind("deep", "deep")
    names = "".join(f", {name}={name}" for name in needs.binds)
    lines = [f"def f{start}(rt, r1, r2, r3, r4, r5, r10{names}):"]
    if not emit.main:
        lines += [" if r10 > rt.stack_end: deep(r10)", " rt.turns -= 1"]
        lines += [" if rt.turns < 0: spent(rt)"]
    if emit.counts:
        lines.append(" n = rt.turns")
    if emit.rounds:
        lines.append(f" g = {MAY_GOTO_ROUNDS}")
    zeros = [f"r{reg}" for reg in sorted(needs.regs) if reg in (0, 6, 7, 8, 9)]
    if zeros:
        lines.append(f" {' = '.join(zeros)} = 0")
    for base in sorted(needs.bases):
        where = "r10" if base[0] == "s" else "r1"
        shift = int(base[1:])
        lines.append(f" {base} = {where} >> {shift}" if shift else f" {base} = {where}")
    lines += [f" q{slot} = rt.cpu * {slot}" for slot in sorted(needs.cpu)]
    return lines
