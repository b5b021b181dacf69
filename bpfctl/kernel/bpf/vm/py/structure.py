"""A function's blocks as nested Python: ``while True`` and ``break`` for labelled blocks and loops.

Follows the dominator tree: a block that several others lead to comes behind a labelled block that
they break out of, and what a loop leads to comes behind the loop. A jump across several constructs
breaks out of each; where that is not the only way out, a variable says where to.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.isa.insn import EXIT
from bpfctl.kernel.bpf.vm.cfg import Block, Flow
from bpfctl.kernel.bpf.vm.py.emit import Emitter

MAX_WHILES = 16
"""CPython allows 20 nested blocks."""
MAX_INDENT = 80
MAX_TAIL = 6
"""Insns up to which a block that ends the function is copied to where it is reached from."""


class TooDeep(Exception):
    """The flow nests deeper than Python does."""


class _Construct:
    """A labelled block in front of ``target``, or the loop that begins with it."""

    def __init__(self, target: Block, loop: bool) -> None:
        self.target = target
        self.loop = loop
        self.crossing: list[Block] = []

    @property
    def ambiguous(self) -> bool:
        """Tell whether a break out of it needs to say where to."""
        return len(self.crossing) > (1 if self.loop else 0)


Line = tuple[int, "str | Callable[[], list[str]]"]


class Structure:
    """Writes one function. :meth:`lines` gives its body."""

    def __init__(self, emit: Emitter) -> None:
        self._emit = emit
        self._flow: Flow = emit.flow
        self._open: list[_Construct] = []
        self._lines: list[Line] = []
        self._indent = 0
        self._flag = False
        self._plan()

    def lines(self, indent: int) -> list[str]:
        """Return the body, indented by ``indent`` and more.

        :raises TooDeep: it cannot be written this way.
        """
        self._indent = indent
        self._tree(self._flow.blocks[0])
        found: list[str] = []
        for depth, text in self._lines:
            parts = [text] if isinstance(text, str) else text()
            found += [" " * depth + part for part in parts]
        if self._flag:
            found.insert(0, " " * indent + "j = 0")
        return found

    # --- the plan: which block is written where -----------------------------------

    def _plan(self) -> None:
        flow = self._flow
        loops = flow.loops()
        self._loops = loops
        self._tails = {block.index for block in flow.blocks if self._is_tail(block, loops)}
        inner = self._innermost(loops)
        self._merges: dict[int, list[Block]] = {}
        self._exits: dict[int, list[Block]] = {}
        self._labelled: set[int] = set()
        for block in flow.blocks[1:]:
            if block.index in self._tails:
                continue
            parent = flow.idom[block.index]
            host = self._host(parent, block.index, inner, loops)
            if host is not None:
                self._exits.setdefault(host, []).append(block)
            elif self._is_merge(block):
                self._merges.setdefault(parent, []).append(block)
            else:
                continue
            self._labelled.add(block.index)

    def _is_tail(self, block: Block, loops: dict[int, set[int]]) -> bool:
        return (
            not block.succs
            and block.index not in loops
            and len(block.preds) > 1
            and block.end - block.start <= MAX_TAIL
            and self._flow.insns[self._flow.last(block)].code == EXIT
        )

    def _is_merge(self, block: Block) -> bool:
        forward = [pred for pred in block.preds if pred.index < block.index]
        edges = sum(pred.succs.count(block) for pred in forward)
        return edges > 1

    def _innermost(self, loops: dict[int, set[int]]) -> dict[int, list[int]]:
        """Return the headers of the loops around each block, innermost first."""
        found: dict[int, list[int]] = {}
        for header in sorted(loops, key=lambda at: len(loops[at])):
            for index in loops[header]:
                found.setdefault(index, []).append(header)
        return found

    @staticmethod
    def _host(
        parent: int, index: int, inner: dict[int, list[int]], loops: dict[int, set[int]]
    ) -> int | None:
        """Return the outermost loop that a block comes behind, though dominated from inside."""
        host = None
        for header in inner.get(parent, []):
            if index in loops[header]:
                break
            host = header
        return host

    # --- writing ----------------------------------------------------------------------

    def _put(self, text: str | Callable[[], list[str]]) -> None:
        if self._indent > MAX_INDENT:
            raise TooDeep()
        self._lines.append((self._indent, text))

    def _tree(self, block: Block | None) -> None:
        """Write a block and all that it dominates. What comes last is gone on with, not nested."""
        while block is not None:
            block = self._first(block)

    def _first(self, block: Block) -> Block | None:
        """Write a block; return what comes next in the same place."""
        merges = self._merges.get(block.index, [])
        if block.index not in self._loops:
            return self._before(merges, lambda: self._node(block))

        def around() -> Block | None:
            self._construct(
                _Construct(block, True), lambda: self._before(merges, lambda: self._node(block))
            )
            return None

        return self._before(self._exits.get(block.index, []), around)

    def _before(
        self, targets: list[Block], inside: Callable[[], Block | None]
    ) -> Block | None:
        """Write ``inside`` in labelled blocks in front of ``targets``, the last outermost."""
        if not targets:
            return inside()
        *first, last = targets
        self._construct(_Construct(last, False), lambda: self._before(first, inside))
        return last

    def _construct(self, made: _Construct, inside: Callable[[], Block | None]) -> None:
        if len(self._open) >= MAX_WHILES:
            raise TooDeep()
        self._put("while True:")
        self._open.append(made)
        self._indent += 1
        self._tree(inside())
        self._indent -= 1
        self._open.pop()
        self._dispatch(made)

    def _dispatch(self, made: _Construct) -> None:
        """Write, behind a construct, the ways on of those who only come through it."""
        if made.loop and len(made.crossing) == 1:
            self._jump(made.crossing[0])
            return
        for target in made.crossing:
            self._flag = True
            self._put(f"if j == {target.index}:")
            self._indent += 1
            self._put("j = 0")
            self._jump(target)
            self._indent -= 1

    def _jump(self, target: Block) -> None:
        """Write a jump to a block that has a construct around this place."""
        current = self._open[-1]
        if current.target is target:
            self._put("continue" if current.loop else "break")
            return
        if target not in current.crossing:
            current.crossing.append(target)

        def text() -> list[str]:
            if current.ambiguous:
                return [f"j = {target.index}", "break"]
            return ["break"]

        self._put(text)

    def _node(self, block: Block) -> Block | None:
        lines, condition = self._emit.block(block)
        for line in lines:
            self._put(line)
        if not block.succs:
            return None
        if not condition:
            return self._branch(block, block.succs[0])
        following, target = block.succs
        if following is target:
            return self._branch(block, target)
        self._put(f"if {condition}:")
        self._indent += 1
        self._tree(self._branch(block, target))
        self._indent -= 1
        return self._branch(block, following)

    def _branch(self, block: Block, target: Block) -> Block | None:
        if target.index <= block.index:
            for line in self._emit.back_edge():
                self._put(line)
            self._jump(target)
        elif target.index in self._labelled:
            self._jump(target)
        elif target.index in self._tails:
            return self._node(target)
        else:
            return target
        return None
