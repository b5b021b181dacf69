"""Reading the verifier's log: statistics, the decisive line, the path, and the C lines to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf
    from bpfctl.libbpf.object_progs import ProgramSpec
    from bpfctl.uapi import ProgLoadAttr

_PROCESSED = re.compile(r"^processed (\d+) insns", re.MULTILINE)
_STACK = re.compile(r"^stack depth ([\d+]+)", re.MULTILINE)
_INSN = re.compile(r"^(\d+): \(([0-9a-f]{2})\) (.*?)(?:\s+; (.*))?$")
_STATE = re.compile(r"^(?:from )?(\d+)(?: to (\d+)(?: \w+)?)?: (?!\()(.*)$")
_SOURCE = re.compile(r"^; (.*?)(?: @ (\S+?):(\d+))?$")
_STATISTICS = re.compile(r"^(processed |stack depth |verification time |Live regs)")
_LINE_SHIFT = 10


@dataclass(slots=True)
class Step:
    """One instruction of the path: its number, text, the registers behind it, and its C line."""

    insn: int
    text: str
    state: str = ""
    file: str = ""
    line: int = 0
    source: str = ""


@dataclass(slots=True)
class Trouble:
    """Why and where a program was refused. ``line`` 0: the object does not say."""

    reason: str
    insn: int | None = None
    file: str = ""
    line: int = 0
    source: str = ""
    path: list[Step] = field(default_factory=list)


def read_statistics(log: str) -> tuple[int | None, int | None]:
    """Return the instructions that the verifier looked at, and the deepest stack in bytes."""
    processed, stack = _PROCESSED.search(log), _STACK.search(log)
    depths = [int(word) for word in stack[1].split("+") if word] if stack else []
    return int(processed[1]) if processed else None, max(depths) if depths else None


def explain(attr: ProgLoadAttr, spec: ProgramSpec, btf: Btf | None) -> Trouble:
    """Return what the log of a refused program says."""
    lines = attr.log.splitlines()
    path = list(_path(lines))
    found = Trouble(attr.last_line or _decisive(lines), path=path)
    places = _places(spec, btf)
    for step in path:
        step.file, step.line, step.source = _place(places, step.insn)
    if path:
        last = path[-1]
        found.insn = last.insn
        found.file, found.line, found.source = last.file, last.line, last.source
    return found


def _decisive(lines: list[str]) -> str:
    """Return the last line that is neither statistics nor part of the walk."""
    for line in reversed(lines):
        walked = _INSN.match(line) or _STATE.match(line) or _SOURCE.match(line)
        if line and not walked and not _STATISTICS.match(line):
            return line
    return ""


def _path(lines: list[str]) -> Iterator[Step]:
    """Yield the instructions of the log, each with the state that the log gives for it."""
    step: Step | None = None
    for line in lines:
        insn = _INSN.match(line)
        if insn:
            if step is not None:
                yield step
            step = Step(int(insn[1]), insn[3], insn[4] or "")
            continue
        state = _STATE.match(line)
        if state and step is not None:
            step.state = state[3] if not step.state else step.state
    if step is not None:
        yield step


def _places(spec: ProgramSpec, btf: Btf | None) -> list[tuple[int, str, int, str]]:
    """Return (instruction, file, line, text) of the C lines, by instruction."""
    if btf is None:
        return []
    return [
        (insn, btf.string(file), line >> _LINE_SHIFT, btf.string(text).strip())
        for insn, file, text, line in spec.line_info
    ]


def _place(places: list[tuple[int, str, int, str]], insn: int) -> tuple[str, int, str]:
    """Return the C line of an instruction: that of the last record at or before it."""
    from bisect import bisect_right

    at = bisect_right(places, insn, key=lambda place: place[0]) - 1
    return places[at][1:] if at >= 0 else ("", 0, "")
