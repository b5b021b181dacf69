"""Control flow of one function: basic blocks, dominators, loops."""

from __future__ import annotations

from bpfctl.isa.insn import CALL, EXIT, JA, JA32, LD_IMM64, Insn, jump_offset
from bpfctl.kernel.bpf.vm.program import VmProgram


class Block:
    """Insns ``start`` up to ``end``; ``succs`` are blocks: fall-through first, then the target."""

    __slots__ = ("end", "index", "preds", "start", "succs")

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.index = -1
        self.succs: list[Block] = []
        self.preds: list[Block] = []

    def __repr__(self) -> str:
        return f"<block {self.start}-{self.end}>"


def _width(insn: Insn) -> int:
    return 2 if insn.code == LD_IMM64 else 1


def _targets(insns: list[Insn], pc: int) -> list[int]:
    """Return where the insn that ends a block may go, fall-through first."""
    insn = insns[pc]
    if insn.code == EXIT:
        return []
    offset = jump_offset(insn)
    if offset is None:
        return [pc + _width(insn)]
    target = pc + 1 + offset
    if insn.code in (JA, JA32):
        return [target]
    return [pc + 1, target]


class Flow:
    """The reachable blocks of a function, in reverse post-order."""

    def __init__(self, program: VmProgram, start: int, end: int) -> None:
        self.program = program
        self.insns = program.insns
        self.start = start
        self.end = end
        self.blocks: list[Block] = self._order(self._split())
        self.idom: list[int] = self._dominators()
        self._tin, self._tout = self._number_tree()

    def _split(self) -> dict[int, Block]:
        insns, leaders = self.insns, {self.start}
        pc = self.start
        while pc < self.end:
            insn = insns[pc]
            if jump_offset(insn) is not None or insn.code == EXIT:
                leaders.update(_targets(insns, pc))
                leaders.add(pc + 1)
            pc += _width(insn)
        bounds = sorted(at for at in leaders if self.start <= at < self.end)
        return {
            at: Block(at, following)
            for at, following in zip(bounds, [*bounds[1:], self.end], strict=True)
        }

    def last(self, block: Block) -> int:
        """Return the index of the block's last insn."""
        last = block.end - 1
        if last > block.start and self.insns[last].code == 0:
            before = self.insns[last - 1]
            if before.code == LD_IMM64:
                return last - 1
        return last

    def _order(self, found: dict[int, Block]) -> list[Block]:
        post: list[Block] = []
        seen: set[int] = {self.start}
        stack: list[tuple[Block, list[int]]] = []

        def visit(block: Block) -> None:
            targets = _targets(self.insns, self.last(block))
            for at in targets:
                if at not in found:
                    raise ValueError(f"control leaves the function at insn {at}")
            block.succs = [found[at] for at in targets]
            stack.append((block, list(dict.fromkeys(targets))))

        visit(found[self.start])
        while stack:
            block, todo = stack[-1]
            if todo:
                at = todo.pop()
                if at not in seen:
                    seen.add(at)
                    visit(found[at])
                continue
            stack.pop()
            post.append(block)
        blocks = post[::-1]
        for index, block in enumerate(blocks):
            block.index = index
        for block in blocks:
            for succ in dict.fromkeys(block.succs):
                succ.preds.append(block)
        return blocks

    def _dominators(self) -> list[int]:
        """Return the immediate dominator of each block (Cooper, Harvey and Kennedy)."""
        idom = [-1] * len(self.blocks)
        idom[0] = 0
        changed = True
        while changed:
            changed = False
            for block in self.blocks[1:]:
                new = -1
                for pred in block.preds:
                    if idom[pred.index] < 0:
                        continue
                    new = pred.index if new < 0 else self._meet(idom, pred.index, new)
                if idom[block.index] != new:
                    idom[block.index] = new
                    changed = True
        return idom

    @staticmethod
    def _meet(idom: list[int], one: int, other: int) -> int:
        while one != other:
            while one > other:
                one = idom[one]
            while other > one:
                other = idom[other]
        return one

    def _number_tree(self) -> tuple[list[int], list[int]]:
        """Number the dominator tree, so that dominance is two comparisons."""
        children: list[list[int]] = [[] for _ in self.blocks]
        for index in range(1, len(self.blocks)):
            children[self.idom[index]].append(index)
        tin, tout, clock = [0] * len(self.blocks), [0] * len(self.blocks), 0
        stack: list[tuple[int, int]] = [(0, 0)]
        while stack:
            node, at = stack.pop()
            if at == 0:
                tin[node] = clock = clock + 1
            if at < len(children[node]):
                stack.append((node, at + 1))
                stack.append((children[node][at], 0))
            else:
                tout[node] = clock
        return tin, tout

    def dominates(self, one: int, other: int) -> bool:
        """Tell whether every path to ``other`` goes through ``one``."""
        return self._tin[one] <= self._tin[other] and self._tout[other] <= self._tout[one]

    def reducible(self) -> bool:
        """Tell whether every loop has one entry."""
        return all(
            self.dominates(succ.index, block.index)
            for block in self.blocks
            for succ in block.succs
            if succ.index <= block.index
        )

    def loops(self) -> dict[int, set[int]]:
        """Return the blocks of each natural loop, by its header."""
        found: dict[int, set[int]] = {}
        for block in self.blocks:
            for succ in block.succs:
                if succ.index <= block.index:
                    self._collect(found.setdefault(succ.index, {succ.index}), block)
        return found

    @staticmethod
    def _collect(body: set[int], tail: Block) -> None:
        todo = [tail]
        while todo:
            block = todo.pop()
            if block.index not in body:
                body.add(block.index)
                todo += block.preds


def is_function_call(insn: Insn) -> bool:
    """Tell whether an insn calls a function of its program."""
    return insn.code == CALL and insn.src == 1
