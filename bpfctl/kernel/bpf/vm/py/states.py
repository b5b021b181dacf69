"""A function's blocks as a state machine: for flow that is irreducible or nests too deep."""

from __future__ import annotations

from bpfctl.kernel.bpf.vm.cfg import Block
from bpfctl.kernel.bpf.vm.py.emit import Emitter


class StateMachine:
    """Writes one function as a loop around a tree of comparisons."""

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit
        self._lines: list[str] = []

    def lines(self, indent: int) -> list[str]:
        """Return the body, indented by ``indent`` and more."""
        self._lines.append(" " * indent + "b = 0")
        self._lines.append(" " * indent + "while True:")
        self._choose(indent + 1, 0, len(self._emit.flow.blocks))
        return self._lines

    def _choose(self, indent: int, low: int, high: int) -> None:
        if high - low == 1:
            self._state(indent, self._emit.flow.blocks[low])
            return
        middle = (low + high) // 2
        pad = " " * indent
        self._lines.append(f"{pad}if b < {middle}:")
        self._choose(indent + 1, low, middle)
        self._lines.append(f"{pad}else:")
        self._choose(indent + 1, middle, high)

    def _state(self, indent: int, block: Block) -> None:
        lines, condition = self._emit.block(block)
        pad = " " * indent
        self._lines += [pad + line for line in lines]
        if not block.succs:
            return
        if not condition or block.succs[0] is block.succs[-1]:
            self._go(indent, block, block.succs[0])
            return
        following, target = block.succs
        self._lines.append(f"{pad}if {condition}:")
        self._go(indent + 1, block, target)
        self._lines.append(f"{pad}else:")
        self._go(indent + 1, block, following)

    def _go(self, indent: int, block: Block, target: Block) -> None:
        pad = " " * indent
        if target.index <= block.index:
            self._lines += [pad + line for line in self._emit.back_edge()]
        self._lines.append(f"{pad}b = {target.index}")
