"""``prog dump xlated ... visual``: the control flow as a graph in the DOT language."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from bpfctl.cli.prog.listing import Listing, SourceLine
from bpfctl.isa.insn import (
    BPF_CALL,
    BPF_EXIT,
    BPF_JA,
    BPF_JMP,
    BPF_JMP32,
    CALL,
    PSEUDO_CALL,
    Insn,
)

# Numbers of the blocks that every function has before its own.
ENTRY, EXIT, FIRST = 0, 1, 2
_SPECIAL_IN_LABELS = frozenset('\\"{}<>| ')
_SPECIAL_IN_INSNS = frozenset("<>|&")
_EDGE = '[style="solid,bold", color=black, weight=10, constraint=true];\n'


@dataclass(slots=True)
class _Function:
    """A function from ``start`` up to ``end``; ``heads`` are the first insns of its blocks."""

    number: int
    start: int
    end: int
    heads: list[int]


def graph(listing: Listing, opcodes: bool, linum: bool) -> str:
    """Return the graph of all functions of a program."""
    drawer = _Drawer(listing, opcodes, linum)
    functions = "".join(drawer.function(found) for found in _functions(listing))
    return f'digraph "DOT graph for eBPF program" {{\n{functions}}}\n'


def _functions(listing: Listing) -> list[_Function]:
    """Split a program at the functions that it calls."""
    starts = {0}
    for index, insn in enumerate(listing.insns):
        if insn.code == CALL and insn.src == PSEUDO_CALL:
            starts.add(index + insn.off + 1)
    ordered = sorted(start for start in starts if 0 <= start < len(listing.insns))
    ends = [*ordered[1:], len(listing.insns)]
    return [
        _Function(number, start, end, _heads(listing, start, end))
        for number, (start, end) in enumerate(zip(ordered, ends, strict=True))
    ]


def _is_jump(insn: Insn) -> bool:
    """Tell whether an insn ends a block: calls and exits do not, by themselves."""
    return insn.code & 7 in (BPF_JMP, BPF_JMP32) and insn.code & 0xF0 not in (BPF_CALL, BPF_EXIT)


def _heads(listing: Listing, start: int, end: int) -> list[int]:
    heads = {start}
    for index in range(start, end):
        insn = listing.insns[index]
        if _is_jump(insn):
            heads.add(index + insn.off + 1)
            if insn.code & 0xF0 != BPF_JA:
                heads.add(index + 1)
    return sorted(head for head in heads if start <= head < end)


class _Drawer:
    def __init__(self, listing: Listing, opcodes: bool, linum: bool) -> None:
        self.listing = listing
        self.opcodes = opcodes
        self.linum = linum

    def function(self, found: _Function) -> str:
        name = f"fn_{found.number}_bb_"
        text = [
            f'subgraph "cluster_{found.number}" {{\n\tstyle="dashed";\n\tcolor="black";\n'
            f'\tlabel="func_{found.number} ()";\n',
            _node(f"{name}{ENTRY}", "Mdiamond", "ENTRY"),
        ]
        ends = [*found.heads[1:], found.end]
        for number, (head, end) in enumerate(zip(found.heads, ends, strict=True), FIRST):
            label = f"{{\\\n{self.block(found, head, end)}}}"
            text.append(_node(f"{name}{number}", "record", label))
        text.append(_node(f"{name}{EXIT}", "Mdiamond", "EXIT"))
        for source, target in self.edges(found, ends):
            text.append(f"\t{name}{source}:s -> {name}{target}:n {_EDGE}")
        text.append(
            f'\t{name}{ENTRY}:s -> {name}{EXIT}:n [style="invis", constraint=true];\n}}\n'
        )
        return "".join(text)

    def edges(self, found: _Function, ends: list[int]) -> list[tuple[int, int]]:
        """Return pairs of block numbers."""
        edges = [(ENTRY, FIRST)]
        last = len(found.heads) - 1
        for block, end in enumerate(ends):
            number = FIRST + block
            following = EXIT if block == last else number + 1
            insn = self.listing.insns[end - 1]
            if not _is_jump(insn):
                edges.append((number, following))
                continue
            if insn.code & 0xF0 != BPF_JA:
                edges.append((number, following))
            edges.append((number, FIRST + bisect_left(found.heads, end + insn.off)))
        return edges

    def block(self, found: _Function, head: int, end: int) -> str:
        """Return the label of one block, a row an insn.

        Insns are numbered from the start of their function, and prototype and source lines are
        looked up by that number, whichever function it is.
        """
        rows = []
        for index in self.listing.indexes(head, end):
            number = index - found.start
            prototype = self.listing.prototypes.get(0) if number == 0 else None
            row = f"; {prototype}:\\l\\\n" if prototype else ""
            line = self.listing.lines.get(number)
            if line is not None:
                row += self.source(line)
            row += f"{number}: {_escape(self.listing.text(index), _SPECIAL_IN_INSNS)}\\l\\\n"
            if self.opcodes:
                row += f"\\ \\ \\ \\ {self.listing.raw(index).hex(' ')}\\l\\\n"
            rows.append(row)
        return "| ".join(rows)

    def source(self, line: SourceLine) -> str:
        place = ""
        if self.linum:
            place = f"; [{line.file} line:{line.line} col:{line.column}]\\l\\\n"
        return f"{place}; {_escape(line.source, _SPECIAL_IN_LABELS)}\\l\\\n"


def _node(name: str, shape: str, label: str) -> str:
    return f'\t{name} [shape={shape},style=filled,label="{label}"];\n\n'


def _escape(text: str, special: frozenset[str]) -> str:
    return "".join(f"\\{char}" if char in special else char for char in text)
