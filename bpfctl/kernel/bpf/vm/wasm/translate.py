"""Functions of a program as WebAssembly: registers are locals, the arena is the linear memory."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.isa import insn as isa
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.vm import facts as known
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.cfg import Block, Flow
from bpfctl.kernel.bpf.vm.facts import SIZES, Facts, State
from bpfctl.kernel.bpf.vm.interp import MAY_GOTO_ROUNDS
from bpfctl.kernel.bpf.vm.py.mapcalls import TABLE, MapShape
from bpfctl.kernel.bpf.vm.wasm.encode import I64, LOADS, SIGNED_LOADS, STORES, Code

STACK_BYTES = 512
TAIL_CALL = 12
NR_ARGS = 6
"""r1 to r5 and r10 come as arguments, in this order."""
LOCAL = {1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 10: 5, 0: 6, 6: 7, 7: 8, 8: 9, 9: 10}
A, B, ROUNDS, STATE = 11, 12, 13, 14
NR_LOCALS = 9
"""Locals behind the arguments."""


class Places:
    """Where the module finds what it shares with Python, as addresses in the arena."""

    def __init__(self, turns: int, tailed: int, cpu: int, stack_end: int) -> None:
        self.turns = turns
        self.tailed = tailed
        self.cpu = cpu
        self.stack_end = stack_end


class Translator:
    """Writes one function. ``imports`` numbers what has to be called outside."""

    def __init__(
        self,
        flow: Flow,
        facts: Facts,
        trusted: bool,
        places: Places,
        constants: Callable[[int], int],
        tables: dict[int, tuple[MapShape, int]],
        function: Callable[[int], int],
        imported: Callable[[str, int, int], int],
    ) -> None:
        self.flow = flow
        self.program = flow.program
        self.facts = facts
        self.trusted = trusted
        self.places = places
        self.constants = constants
        self.tables = tables
        self.function = function
        self.imported = imported
        self.code = Code()
        self._labels: list[tuple[Block | None, bool]] = []
        children: dict[int, list[Block]] = {}
        self._merges = children
        self.structured = flow.reducible()
        self._headers = set(flow.loops()) if self.structured else set()
        for block in flow.blocks[1:]:
            forward = [pred for pred in block.preds if pred.index < block.index]
            if sum(pred.succs.count(block) for pred in forward) > 1:
                children.setdefault(flow.idom[block.index], []).append(block)
        self._labelled = {block.index for merged in children.values() for block in merged}

    # --- the whole function ------------------------------------------------------

    def body(self, main: bool) -> bytes:
        """Return the code of the function, without its locals."""
        code = self.code
        if not main:
            self._prologue()
        code.const(MAY_GOTO_ROUNDS).with_index("local.set", ROUNDS)
        if self.structured:
            self._tree(self.flow.blocks[0])
        else:
            self._states()
        code.op("unreachable", "end")
        return bytes(code.out)

    def _prologue(self) -> None:
        code = self.code
        code.with_index("local.get", LOCAL[10])
        code.const32(self.places.stack_end).memory(LOADS[8])
        code.op("i64.gt_u").begin("if")
        code.with_index("local.get", LOCAL[10])
        code.with_index("call", self.imported("deep", 0, 1)).op("drop", "end")
        self._turn()

    def _turn(self) -> None:
        """Count a backward jump or call."""
        code, at = self.code, self.places.turns
        code.const32(at).const32(at).memory(LOADS[8]).const(1).op("i64.sub")
        code.with_index("local.tee", A).memory(STORES[8])
        code.with_index("local.get", A).const(0xFFFFF).op("i64.and", "i64.eqz").begin("if")
        code.with_index("local.get", A).with_index("call", self.imported("tick", 0, 1))
        code.op("drop", "end")

    # --- flow -----------------------------------------------------------------------

    def _tree(self, block: Block | None) -> None:
        """Write a block and all that it dominates. What comes last is gone on with, not nested."""
        while block is not None:
            merges = self._merges.get(block.index, [])
            if block.index in self._headers:
                self.code.begin("loop")
                self._labels.append((block, True))
                self._tree(self._inside(block, merges))
                self._labels.pop()
                self.code.op("end")
                return
            block = self._inside(block, merges)

    def _inside(self, block: Block, merges: list[Block]) -> Block | None:
        """Write a block in front of ``merges``; return what comes next in the same place."""
        if not merges:
            return self._node(block)
        *first, last = merges
        self.code.begin("block")
        self._labels.append((last, False))
        self._tree(self._inside(block, first))
        self._labels.pop()
        self.code.op("end")
        return last

    def _node(self, block: Block) -> Block | None:
        conditional = self._block(block)
        if not block.succs:
            return None
        if not conditional:
            return self._branch(block, block.succs[0])
        following, target = block.succs
        if following is target:
            self.code.op("drop")
            return self._branch(block, target)
        self.code.begin("if")
        self._labels.append((None, False))
        self._tree(self._branch(block, target))
        self._labels.pop()
        self.code.op("end")
        return self._branch(block, following)

    def _branch(self, block: Block, target: Block) -> Block | None:
        if target.index <= block.index:
            self._turn()
            self._jump(target, True)
        elif target.index in self._labelled:
            self._jump(target, False)
        else:
            return target
        return None

    def _jump(self, target: Block, loop: bool) -> None:
        wanted = (target, loop)
        for depth, label in enumerate(reversed(self._labels)):
            if label == wanted:
                self.code.with_index("br", depth)
                return
        raise ValueError(f"no label for insn {target.start}")

    def _states(self) -> None:
        """Write irreducible flow as a loop around a table of blocks."""
        code, blocks = self.code, self.flow.blocks
        code.begin("loop")
        for _ in blocks:
            code.begin("block")
        code.with_index("local.get", STATE).op("i32.wrap_i64")
        code.out.append(0x0E)
        from bpfctl.kernel.bpf.vm.wasm.encode import unsigned

        code.out += unsigned(len(blocks) - 1)
        for depth in range(len(blocks)):
            code.out += unsigned(depth)
        for at, block in enumerate(blocks):
            code.op("end")
            self._state(block, len(blocks) - 1 - at)
        code.op("end")

    def _state(self, block: Block, outer: int) -> None:
        code = self.code
        conditional = self._block(block)
        if not block.succs:
            return
        if conditional:
            following, target = block.succs
            code.begin("if", I64).const(target.index).op("else").const(following.index)
            code.op("end")
        else:
            target = block.succs[0]
            code.const(target.index)
        code.with_index("local.set", STATE)
        if any(succ.index <= block.index for succ in block.succs):
            self._turn()
        code.with_index("br", outer)

    # --- blocks -----------------------------------------------------------------------

    def _block(self, block: Block) -> bool:
        """Write a block; True: the condition of its branch is on the stack."""
        state = self.facts.at[block.index]
        last, insns = self.flow.last(block), self.program.insns
        pc = block.start
        while True:
            insn = insns[pc]
            if pc == last and (isa.jump_offset(insn) is not None or insn.code == isa.EXIT):
                return self._end(insn)
            self._insn(pc, insn, state)
            if pc == last:
                return False
            state = known.after(self.program, pc, state)
            pc += 2 if insn.code == isa.LD_IMM64 else 1

    def _end(self, insn: Insn) -> bool:
        code = self.code
        if insn.code == isa.EXIT:
            self._get(0)
            code.op("return")
            return False
        if insn.code in (isa.JA, isa.JA32):
            return False
        if insn.code & 0xF0 == sem.JCOND:
            code.with_index("local.get", ROUNDS).const(1).op("i64.sub")
            code.with_index("local.tee", ROUNDS).const(0).op("i64.lt_s")
            return True
        wide = insn.code & 7 == isa.BPF_JMP
        row = sem.JUMPS[insn.code & 0xF0]
        kind = "i64" if wide else "i32"
        self._operands(insn, wide)
        if row.wasm:
            code.op(f"{kind}.{row.wasm}")
        else:
            code.op(f"{kind}.and", f"{kind}.eqz", "i32.eqz")
        return True

    def _operands(self, insn: Insn, wide: bool) -> None:
        self._get(insn.dst, wide)
        self._second(insn, wide)

    def _second(self, insn: Insn, wide: bool) -> None:
        if insn.code & isa.BPF_X:
            self._get(insn.src, wide)
        elif wide:
            self.code.const(insn.imm & sem.U64)
        else:
            self.code.const32(insn.imm & sem.U32)

    def _get(self, reg: int, wide: bool = True) -> None:
        self.code.with_index("local.get", LOCAL[reg])
        if not wide:
            self.code.op("i32.wrap_i64")

    def _set(self, reg: int, wide: bool = True) -> None:
        if not wide:
            self.code.op("i64.extend_i32_u")
        self.code.with_index("local.set", LOCAL[reg])

    def _insn(self, pc: int, insn: Insn, state: State) -> None:
        cls = insn.code & 7
        if cls in (isa.BPF_ALU, isa.BPF_ALU64):
            self._alu(insn)
        elif cls == isa.BPF_LDX:
            self._load(insn, state)
        elif cls in (isa.BPF_ST, isa.BPF_STX):
            self._store(insn, state)
        elif insn.code == isa.LD_IMM64:
            self.code.const(self.constants(pc))
            self._set(insn.dst)
        elif insn.code == isa.CALL:
            self._call(pc, insn, state)
        else:
            self._legacy(insn)

    # --- arithmetic ---------------------------------------------------------------------

    def _alu(self, insn: Insn) -> None:
        wide = insn.code & 7 == isa.BPF_ALU64
        op, code = insn.code & 0xF0, self.code
        kind = "i64" if wide else "i32"
        if op == 0xD0:
            self._swap(insn, wide)
            return
        if op == 0xB0:
            self._mov(insn, wide)
            return
        row = sem.alu_row(op, insn.off == 1)
        if row.name == "neg":
            code.const(0) if wide else code.const32(0)
            self._get(insn.dst, wide)
            code.op(f"{kind}.sub")
        elif row.trap:
            self._divide(insn, row, wide)
        else:
            # Shift counts are taken modulo the width by both.
            self._operands(insn, wide)
            code.op(f"{kind}.{row.wasm}")
        self._set(insn.dst, wide)

    def _divide(self, insn: Insn, row: sem.AluOp, wide: bool) -> None:
        """Write a division, which WebAssembly would trap on for 0, and for MIN / -1."""
        code, kind = self.code, "i64" if wide else "i32"
        const = code.const if wide else code.const32
        result = I64 if wide else 0x7F
        self._second(insn, wide)
        code.op(f"{kind}.eqz").begin("if", result)
        if row.name in ("div", "sdiv"):
            const(0)
        else:
            self._get(insn.dst, wide)
        code.op("else")
        if row.name == "sdiv":
            self._second(insn, wide)
            const(sem.U64 if wide else sem.U32)
            code.op(f"{kind}.eq").begin("if", result)
            const(0)
            self._get(insn.dst, wide)
            code.op(f"{kind}.sub", "else")
        self._operands(insn, wide)
        code.op(f"{kind}.{row.wasm}")
        if row.name == "sdiv":
            code.op("end")
        code.op("end")

    def _mov(self, insn: Insn, wide: bool) -> None:
        code = self.code
        self._second(insn, wide)
        if insn.code & isa.BPF_X and insn.off > 1:
            code.op(f"{'i64' if wide else 'i32'}.extend{insn.off}_s")
        self._set(insn.dst, wide)

    def _swap(self, insn: Insn, wide: bool) -> None:
        code, bits = self.code, insn.imm
        self._get(insn.dst)
        if not (wide or insn.code & isa.BPF_X):
            code.const(sem.MASK[bits]).op("i64.and")
            self._set(insn.dst)
            return
        self._set_temp_swapped(0x00FF00FF00FF00FF, 8)
        if bits > 16:
            self._set_temp_swapped(0x0000FFFF0000FFFF, 16)
        if bits == 64:
            code.const(32).op("i64.rotl")
        code.const(sem.MASK[bits]).op("i64.and")
        self._set(insn.dst)

    def _set_temp_swapped(self, mask: int, count: int) -> None:
        """Swap neighbouring parts of ``count`` bits of the number on the stack."""
        code = self.code
        code.with_index("local.tee", A).const(mask).op("i64.and").const(count).op("i64.shl")
        code.with_index("local.get", A).const(count).op("i64.shr_u").const(mask).op("i64.and")
        code.op("i64.or")

    # --- memory ---------------------------------------------------------------------------

    def _address(self, reg: int, off: int, size: int, perm: int, state: State) -> None:
        """Put the address of an access on the stack, tested unless it is known to be good."""
        code = self.code
        value = known._add(state[reg], known.number(off & sem.U64, off & sem.U64))
        inside = value[0] == known.STACK and value[2] >= -STACK_BYTES and value[3] + size <= 0
        if not (self.trusted or inside):
            self._get(reg)
            code.const(off & sem.U64).op("i64.add").const(size << 2 | perm)
            code.with_index("call", self.imported("check", 0, 2)).op("drop")
        self._get(reg, False)
        if off:
            code.const32(off & sem.U32).op("i32.add")

    def _load(self, insn: Insn, state: State) -> None:
        size = SIZES[insn.code & 0x18]
        self._address(insn.src, insn.off, size, 1, state)
        loads = SIGNED_LOADS if insn.code & 0xE0 == 0x80 else LOADS
        self.code.memory(loads[size])
        self._set(insn.dst)

    def _store(self, insn: Insn, state: State) -> None:
        size = SIZES[insn.code & 0x18]
        if insn.code & 7 == isa.BPF_STX and insn.code & 0xE0 == 0xC0:
            self._atomic(insn, size, state)
            return
        self._address(insn.dst, insn.off, size, 2, state)
        if insn.code & 7 == isa.BPF_ST:
            self.code.const(insn.imm & sem.U64)
        else:
            self._get(insn.src)
        self.code.memory(STORES[size])

    def _atomic(self, insn: Insn, size: int, state: State) -> None:
        code = self.code
        if insn.imm == sem.LOAD_ACQ:
            self._address(insn.src, insn.off, size, 1, state)
            code.memory(LOADS[size])
            self._set(insn.dst)
            return
        self._address(insn.dst, insn.off, size, 2 if insn.imm == sem.STORE_REL else 3, state)
        if insn.imm == sem.STORE_REL:
            self._get(insn.src)
            code.memory(STORES[size])
            return
        code.op("i64.extend_i32_u").with_index("local.tee", B).op("i32.wrap_i64")
        code.memory(LOADS[size]).with_index("local.set", A)
        self._modify(insn, size)

    def _modify(self, insn: Insn, size: int) -> None:
        """Write the new value; the address is in B, the old value in A."""
        code = self.code
        if insn.imm == sem.CMPXCHG:
            code.with_index("local.get", A)
            self._get(0)
            if size == 4:
                code.const(sem.U32).op("i64.and")
            code.op("i64.eq").begin("if")
            code.with_index("local.get", B).op("i32.wrap_i64")
            self._get(insn.src)
            code.memory(STORES[size]).op("end")
            code.with_index("local.get", A)
            self._set(0)
            return
        row = sem.ATOMIC[insn.imm & ~sem.FETCH]
        code.with_index("local.get", B).op("i32.wrap_i64")
        if row.wasm:
            code.with_index("local.get", A)
        self._get(insn.src)
        if row.wasm:
            code.op(f"i64.{row.wasm}")
        code.memory(STORES[size])
        if insn.imm & sem.FETCH:
            code.with_index("local.get", A)
            self._set(insn.src)

    # --- calls ---------------------------------------------------------------------------

    def _call(self, pc: int, insn: Insn, state: State) -> None:
        code = self.code
        if insn.src == isa.PSEUDO_CALL:
            for reg in range(1, 6):
                self._get(reg)
            self._get(10)
            code.const(STACK_BYTES).op("i64.add")
            code.with_index("call", self.function(pc + 1 + insn.imm))
            self._set(0)
            return
        if insn.src == 0 and insn.imm == TAIL_CALL:
            self._tail_call()
            return
        if insn.src == 0 and insn.imm == 1 and state[1][0] == known.MAP:
            found = self.tables.get(state[1][1])
            if found is not None and found[0].kind == TABLE:
                self._lookup(found[0], found[1], state)
                return
        from bpfctl.kernel.bpf.vm.calls import helper_body

        nr_args = 0 if insn.src else helper_body(insn.imm)[1]
        self._get(10)
        for reg in range(1, nr_args + 1):
            self._get(reg)
        kind, number = ("kfunc", pc) if insn.src else ("helper", insn.imm)
        code.with_index("call", self.imported(kind, number, nr_args + 1))
        self._set(0)

    def _lookup(self, shape: MapShape, base: int, state: State) -> None:
        """Write bpf_map_lookup_elem() on an array."""
        code = self.code
        self._address(2, 0, 4, 1, state)
        code.memory(LOADS[4]).with_index("local.tee", A).const(shape.entries).op("i64.lt_u")
        code.begin("if", I64)
        code.with_index("local.get", A).const(shape.stride).op("i64.mul")
        code.const(base).op("i64.add")
        if shape.percpu:
            code.const32(self.places.cpu).memory(LOADS[8]).const(shape.slot).op("i64.mul")
            code.op("i64.add")
        code.op("else").const(0).op("end")
        self._set(0)

    def _tail_call(self) -> None:
        code = self.code
        for reg in (10, 2, 3):
            self._get(reg)
        code.with_index("call", self.imported("tail", 0, 3)).with_index("local.set", A)
        code.const32(self.places.tailed).memory(LOADS[8]).op("i64.eqz", "i32.eqz").begin("if")
        code.with_index("local.get", A).op("return", "end")

    def _legacy(self, insn: Insn) -> None:
        code, size = self.code, SIZES[insn.code & 0x18]
        code.const(insn.imm & sem.U64)
        if insn.code & 0xE0 == 0x40:
            self._get(insn.src)
            code.op("i64.add")
        code.const(size).with_index("call", self.imported("legacy", 0, 2))
        code.with_index("local.tee", A).const(0).op("i64.lt_s").begin("if")
        code.const(0).op("return", "end")
        code.with_index("local.get", A)
        self._set(0)
