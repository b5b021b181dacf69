"""One block of insns as lines of Python.

Registers are local variables, unsigned numbers below 2**64. What is known of them (facts) decides
where masks, checks and the slow forms of accesses are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bpfctl.isa import insn as isa
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.vm import facts as known
from bpfctl.kernel.bpf.vm import semantics as sem
from bpfctl.kernel.bpf.vm.cfg import Block, Flow
from bpfctl.kernel.bpf.vm.facts import SIZES, U32, U64, Facts, State, Value
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.py.mapcalls import MapShape, lookup

STACK_BYTES = 512
TAIL_CALL = 12
LOG2 = {1: 0, 2: 1, 4: 2, 8: 3}
MASKS = {1: "0xff", 2: "0xffff", 4: "0xffffffff", 8: "0xffffffffffffffff"}


@dataclass
class Needs:
    """What a function's text uses, for its head: ``binds`` are names given from outside."""

    binds: dict[str, tuple[str, int]] = field(default_factory=dict)
    bases: set[str] = field(default_factory=set)
    regs: set[int] = field(default_factory=set)
    cpu: set[int] = field(default_factory=set)

    def bind(self, name: str, kind: str, number: int = 0) -> str:
        """Have ``name`` bound to a thing of ``kind`` (helper, constant, table...)."""
        self.binds[name] = (kind, number)
        return name


class Emitter:
    """Writes the blocks of one function. ``trusted``: a verifier accepted the program."""

    def __init__(
        self, flow: Flow, facts: Facts, trusted: bool, shapes: dict[int, MapShape], main: bool
    ) -> None:
        self.flow = flow
        self.program: VmProgram = flow.program
        self.facts = facts
        self.trusted = trusted
        self.shapes = shapes
        self.main = main
        self.needs = Needs()
        self.counts = not main or any(
            succ.index <= block.index for block in flow.blocks for succ in block.succs
        )
        self.callbacks = any(
            insn.code == isa.LD_IMM64 and insn.src == isa.PSEUDO_FUNC
            for insn in self.program.insns
        )
        self.rounds = any(insn.code == 0xE5 for insn in flow.insns[flow.start : flow.end])
        self.lines: list[str] = []

    # --- blocks -----------------------------------------------------------------

    def block(self, block: Block) -> tuple[list[str], str]:
        """Return a block's lines, and the condition of its branch ("" without one)."""
        self.lines = []
        state = self.facts.at[block.index]
        last = self.flow.last(block)
        pc = block.start
        insns = self.program.insns
        while True:
            insn = insns[pc]
            if pc == last and (isa.jump_offset(insn) is not None or insn.code == isa.EXIT):
                break
            self.insn(pc, insn, state)
            if pc == last:
                return self.lines, ""
            state = known.after(self.program, pc, state)
            pc += 2 if insn.code == isa.LD_IMM64 else 1
        return self.lines, self._end(insns[last], state)

    def _end(self, insn: Insn, state: State) -> str:
        if insn.code == isa.EXIT:
            self.leave(self.reg(0))
            return ""
        if insn.code in (isa.JA, isa.JA32):
            return ""
        if insn.code & 0xF0 == sem.JCOND:
            self.lines.append("g -= 1")
            return "g < 0"
        return self._condition(insn, state)

    def leave(self, result: str) -> None:
        """End the function."""
        if self.counts:
            self.lines.append("rt.turns = n")
        self.lines.append(f"return {result}")

    def back_edge(self) -> list[str]:
        """Return what a backward jump does first."""
        self.needs.bind("spent", "spent")
        return ["n -= 1", "if n < 0: spent(rt)"]

    def reg(self, number: int) -> str:
        """Return the name of a register."""
        self.needs.regs.add(number)
        return f"r{number}"

    # --- branches ----------------------------------------------------------------

    def _condition(self, insn: Insn, state: State) -> str:
        wide = insn.code & 7 == isa.BPF_JMP
        width, row = (64 if wide else 32), sem.JUMPS[insn.code & 0xF0]
        a, b = state[insn.dst], known.operand(insn, state)
        left, right = self._side(insn.dst, a, wide), self._operand(insn, b, wide)
        half = 1 << (width - 1)
        a, b = (a, b) if wide else (known.low(a), known.low(b))
        if row.signed:
            positive = all(v[0] == known.NUM and v[3] < half for v in (a, b))
            if positive:
                return sem.expression(sem.JUMPS[known._SIGNED[row.code]].py, left, right, width)
            if not insn.code & isa.BPF_X:
                flipped = hex((insn.imm & sem.MASK[width]) ^ half)
                sign = row.py.split(")")[1].split("(")[0].strip()
                return f"({left} ^ {half:#x}) {sign} {flipped}"
        return sem.expression(row.py, left, right, width)

    def _side(self, reg: int, value: Value, wide: bool) -> str:
        name = self.reg(reg)
        if wide or (value[0] == known.NUM and value[3] <= U32):
            return name
        return f"({name} & 0xffffffff)"

    def _operand(self, insn: Insn, value: Value, wide: bool) -> str:
        if insn.code & isa.BPF_X:
            return self._side(insn.src, value, wide)
        return _literal(insn.imm & (U64 if wide else U32))

    # --- arithmetic ---------------------------------------------------------------

    def insn(self, pc: int, insn: Insn, state: State) -> None:
        """Write one insn that does not end a block."""
        cls = insn.code & 7
        if cls in (isa.BPF_ALU, isa.BPF_ALU64):
            self._alu(insn, state)
        elif cls == isa.BPF_LDX:
            self._load(insn, state)
        elif cls == isa.BPF_ST:
            self._store_imm(insn, state)
        elif cls == isa.BPF_STX:
            self._store(insn, state)
        elif insn.code == isa.LD_IMM64:
            self._constant(pc, insn, state)
        elif insn.code == isa.CALL:
            self._call(pc, insn, state)
        elif cls == isa.BPF_LD and insn.code & 0xE0 in (0x20, 0x40):
            self._legacy(insn)
        else:
            self._invalid(pc)

    def _invalid(self, pc: int) -> None:
        self.needs.bind("invalid", "invalid")
        self.lines.append(f"invalid({pc})")

    def _alu(self, insn: Insn, state: State) -> None:
        wide = insn.code & 7 == isa.BPF_ALU64
        op, width = insn.code & 0xF0, 64 if wide else 32
        if op == 0xD0:
            self._swap(insn, wide, state)
            return
        if op == 0xB0:
            self._mov(insn, state, wide)
            return
        if op not in sem.ALU:
            self._invalid(insn.code)
            return
        a, b = state[insn.dst], known.operand(insn, state)
        dst, left = self.reg(insn.dst), self._side(insn.dst, a, wide)
        right = self._operand(insn, b, wide)
        row = sem.alu_row(op, insn.off == 1)
        for name in ("sdiv", "smod"):
            if name in row.py:
                self.needs.bind(name, name)
        if not wide:
            a, b = known.low(a), known.low(b)
        text = self._short(row, a, b, left, right, width)
        if text is None:
            text = sem.expression(row.py, left, right, width)
            if row.mask:
                text = f"{text} & {MASKS[width >> 3]}"
                if row.name in ("add", "sub", "mul", "neg", "lsh"):
                    text = f"({text.replace(' & ' + MASKS[width >> 3], '')}) & {MASKS[width >> 3]}"
                elif not row.signed:
                    text = f"({text[: text.rindex(' & ')]}) & {MASKS[width >> 3]}"
        self.lines.append(f"{dst} = {text}")

    def _short(
        self, row: sem.AluOp, a: Value, b: Value, left: str, right: str, width: int
    ) -> str | None:
        """Return an expression that needs no mask or test, None when nothing is known of that."""
        top = sem.MASK[width]
        const = b[0] == known.NUM and b[2] == b[3]
        name = row.name
        if name == "add":
            return self._sum(a, b, left, right, top)
        if name == "sub" and width == 64 and a[0] not in (known.NUM, known.MAP):
            return f"{left} - {right}" if known._sub(a, b)[0] != known.NUM else None
        if a[0] != known.NUM or b[0] != known.NUM:
            return None
        if name == "sub" and a[2] >= b[3]:
            return f"{left} - {right}"
        if name == "mul" and a[3] * b[3] <= top:
            return f"{left} * {right}"
        if name in ("div", "mod") and b[2] > 0:
            return f"{left} {'//' if name == 'div' else '%'} {right}"
        if name in ("lsh", "rsh", "arsh") and const:
            return self._shift(row, a, b[2] & (width - 1), left, width)
        return None

    def _sum(self, a: Value, b: Value, left: str, right: str, top: int) -> str | None:
        if a[0] == known.NUM and b[0] == known.NUM:
            if a[3] + b[3] <= top:
                return f"{left} + {right}"
            if b[2] == b[3] and a[2] + b[2] > top:
                return f"{left} - {top + 1 - b[2]}"
            return None
        if top != U64 or known._add(a, b)[0] == known.NUM:
            return None
        if b[0] == known.NUM and b[2] == b[3] and b[2] > U64 >> 1:
            return f"{left} - {U64 + 1 - b[2]}"
        signed = b if b[0] == known.NUM else a
        return f"{left} + {right}" if signed[3] < known.MAX_OFFSET else None

    @staticmethod
    def _shift(row: sem.AluOp, a: Value, count: int, left: str, width: int) -> str | None:
        if row.name == "rsh" or (row.name == "arsh" and a[3] <= sem.MASK[width] >> 1):
            return f"{left} >> {count}"
        if row.name == "lsh" and a[3] << count <= sem.MASK[width]:
            return f"{left} << {count}"
        if row.name == "lsh":
            kept = sem.MASK[width] >> count
            return f"({left} & {kept:#x}) << {count}"
        return None

    def _mov(self, insn: Insn, state: State, wide: bool) -> None:
        dst = self.reg(insn.dst)
        if not insn.code & isa.BPF_X:
            self.lines.append(f"{dst} = {_literal(insn.imm & (U64 if wide else U32))}")
            return
        value = state[insn.src]
        if insn.off > 1:
            half = 1 << (insn.off - 1)
            if value[0] == known.NUM and value[3] < half:
                text = self.reg(insn.src)
            else:
                low = f"({self.reg(insn.src)} & {sem.MASK[insn.off]:#x})"
                mask = MASKS[8 if wide else 4]
                text = f"(({low} ^ {half:#x}) - {half:#x}) & {mask}"
        else:
            text = self._side(insn.src, value, wide)
        if text != dst:
            self.lines.append(f"{dst} = {text}")

    def _swap(self, insn: Insn, wide: bool, state: State) -> None:
        dst, bits = self.reg(insn.dst), insn.imm
        value = state[insn.dst]
        if bits not in (16, 32, 64):
            self._invalid(insn.code)
            return
        mask = sem.MASK[bits]
        small = value[0] == known.NUM and value[3] <= mask
        low = dst if small else f"({dst} & {mask:#x})"
        if not (wide or insn.code & isa.BPF_X):
            if not small:
                self.lines.append(f"{dst} = {low}")
        elif bits == 16:
            self.lines.append(f"{dst} = ({dst} & 0xff) << 8 | ({dst} >> 8 & 0xff)")
        else:
            self.needs.bind("from_bytes", "from_bytes")
            self.lines.append(f"{dst} = from_bytes({low}.to_bytes({bits >> 3}, 'little'), 'big')")

    def _constant(self, pc: int, insn: Insn, state: State) -> None:
        dst = self.reg(insn.dst)
        if insn.src in (isa.PSEUDO_MAP_FD, isa.PSEUDO_MAP_VALUE):
            self.lines.append(f"{dst} = {self.needs.bind(f'k{pc}', 'constant', pc)}")
            return
        value = known.constant(self.program, pc)
        if value[2] == value[3]:
            self.lines.append(f"{dst} = {_literal(value[2])}")
        else:
            self.lines.append(f"{dst} = {self.needs.bind(f'k{pc}', 'constant', pc)}")

    # --- memory -------------------------------------------------------------------

    def place(self, reg: int, off: int, size: int, state: State, perm: int) -> tuple[str, str]:
        """Return how ``size`` bytes at ``reg + off`` are addressed: a typed view's index, or a
        byte address that may be unaligned; one of the two is "".
        """
        base = state[reg]
        value = known._add(base, known.number(off & U64, off & U64))
        kind, lo, hi, m, r = value[0], value[2], value[3], value[4], value[5]
        fixed = kind in (known.STACK, known.CTX, known.VALUE) and lo == hi
        inside = kind == known.STACK and lo >= -STACK_BYTES and hi + size <= 0
        aligned = size == 1 or (m >= size and r % size == 0)
        address = self._address(reg, off)
        if not (self.trusted or inside):
            self.needs.bind("check", "check")
            self.lines.append(f"check({address}, {size}, {perm})")
        shift = LOG2[size]
        if not aligned:
            return "", address
        if fixed:
            return self._fixed(value, shift), ""
        if shift == 0:
            return address, ""
        return f"{address} >> {shift}" if " " not in address else f"({address}) >> {shift}", ""

    def _address(self, reg: int, off: int) -> str:
        name = self.reg(reg)
        if off == 0:
            return name
        return f"{name} + {off}" if off > 0 else f"{name} - {-off}"

    def _fixed(self, value: Value, shift: int) -> str:
        """Return the index of a place at a known distance from something that does not move."""
        kind, at = value[0], value[2] >> shift
        if kind == known.STACK:
            base = f"s{shift}" if shift else self.reg(10)
        elif kind == known.CTX:
            base = f"c{shift}"
        else:
            base = f"v{value[1]}_{shift}"
            self.needs.bind(base, "value", value[1] << 2 | shift)
            return _offset(base, at)
        if base != "r10":
            self.needs.bases.add(base)
        return _offset(base, at)

    def _view(self, size: int) -> str:
        name = f"m{size}"
        return self.needs.bind(name, name)

    def _read(self, insn_reg: int, off: int, size: int, state: State) -> str:
        index, address = self.place(insn_reg, off, size, state, 1)
        if index:
            return f"{self._view(size)}[{index}]"
        self.needs.bind(f"u{size}", f"u{size}")
        if " " not in address:
            aligned = f"{address} >> {LOG2[size]}"
            test = f"{address} & {size - 1}"
        else:
            self.lines.append(f"a = {address}")
            address, aligned, test = "a", f"a >> {LOG2[size]}", f"a & {size - 1}"
        if state[insn_reg][4] >= size:
            return f"u{size}({self._view(1)}, {address})[0]"
        slow = f"u{size}({self._view(1)}, {address})[0]"
        return f"({slow} if {test} else {self._view(size)}[{aligned}])"

    def _load(self, insn: Insn, state: State) -> None:
        size, mode = SIZES[insn.code & 0x18], insn.code & 0xE0
        if mode not in (0x60, 0x80):
            self._invalid(insn.code)
            return
        text = self._read(insn.src, insn.off, size, state)
        if mode == 0x80:
            half = 1 << (8 * size - 1)
            text = f"(({text} ^ {half:#x}) - {half:#x}) & {MASKS[8]}"
        self.lines.append(f"{self.reg(insn.dst)} = {text}")

    def _write(self, reg: int, off: int, size: int, value: str, state: State) -> None:
        index, address = self.place(reg, off, size, state, 2)
        if index:
            self.lines.append(f"{self._view(size)}[{index}] = {value}")
        else:
            self.needs.bind(f"p{size}", f"p{size}")
            self.lines.append(f"p{size}({self._view(1)}, {address}, {value})")

    def _store_imm(self, insn: Insn, state: State) -> None:
        size = SIZES[insn.code & 0x18]
        if insn.code & 0xE0 != 0x60:
            self._invalid(insn.code)
            return
        value = _literal(insn.imm & sem.MASK[8 * size])
        self._write(insn.dst, insn.off, size, value, state)

    def _store(self, insn: Insn, state: State) -> None:
        size, mode = SIZES[insn.code & 0x18], insn.code & 0xE0
        if mode == 0xC0:
            self._atomic(insn, state, size)
        elif mode == 0x60:
            self._write(
                insn.dst, insn.off, size, self._cut(insn.src, state[insn.src], size), state
            )
        else:
            self._invalid(insn.code)

    def _cut(self, reg: int, value: Value, size: int) -> str:
        """Return a register's low ``size`` bytes."""
        name = self.reg(reg)
        if size == 8 or (value[0] == known.NUM and value[3] <= sem.MASK[8 * size]):
            return name
        return f"{name} & {MASKS[size]}"

    # --- atomics --------------------------------------------------------------------

    def _atomic(self, insn: Insn, state: State, size: int) -> None:
        if insn.imm == sem.LOAD_ACQ:
            text = self._read(insn.src, insn.off, size, state)
            self.lines.append(f"{self.reg(insn.dst)} = {text}")
            return
        value = self._cut(insn.src, state[insn.src], size)
        if insn.imm == sem.STORE_REL:
            self._write(insn.dst, insn.off, size, value, state)
            return
        index, address = self.place(insn.dst, insn.off, size, state, 3)
        if index:
            read, view = f"{self._view(size)}[i]", self._view(size)
            self.lines.append(f"i = {index}")
            write = f"{view}[i] = {{}}"
        else:
            for name in (f"u{size}", f"p{size}"):
                self.needs.bind(name, name)
            self.lines.append(f"i = {address}")
            read = f"u{size}({self._view(1)}, i)[0]"
            write = f"p{size}({self._view(1)}, i, {{}})"
        self.lines.append(f"o = {read}")
        self._modify(insn, size, value, write)

    def _modify(self, insn: Insn, size: int, value: str, write: str) -> None:
        value = f"({value})" if " " in value else value
        if insn.imm == sem.CMPXCHG:
            r0 = self.reg(0) if size == 8 else f"({self.reg(0)} & {MASKS[size]})"
            self.lines.append(f"if o == {r0}: {write.format(value)}")
            self.lines.append(f"{self.reg(0)} = o")
            return
        row = sem.ATOMIC.get(insn.imm & ~sem.FETCH)
        if row is None:
            self._invalid(insn.code)
            return
        text = sem.expression(row.py, "o", value, 8 * size)
        if row.mask:
            text = f"({text}) & {MASKS[size]}"
        self.lines.append(write.format(text))
        if insn.imm & sem.FETCH:
            self.lines.append(f"{self.reg(insn.src)} = o")

    # --- calls -----------------------------------------------------------------------

    def _call(self, pc: int, insn: Insn, state: State) -> None:
        if insn.src == isa.PSEUDO_CALL:
            args = ", ".join(self.reg(at) for at in range(1, 6))
            target = pc + 1 + insn.imm
            self._around(f"{self.reg(0)} = f{target}(rt, {args}, r10 + {STACK_BYTES})", True)
            return
        if insn.src == 0 and insn.imm == TAIL_CALL:
            self._tail_call()
            return
        if insn.src == 0 and insn.imm == 1 and state[1][0] == known.MAP:
            shape = self.shapes.get(state[1][1])
            if shape is not None and lookup(self, shape, state):
                return
        kind = "kfunc" if insn.src else "helper"
        number = pc if insn.src else insn.imm
        name = self.needs.bind(f"{kind[0]}{number}", kind, number)
        nr_args = 0 if insn.src else self.helper_args(insn.imm)
        args = "".join(f", {self.reg(at)}" for at in range(1, nr_args + 1))
        self._around(f"{self.reg(0)} = {name}(rt{args})", self.callbacks)

    @staticmethod
    def helper_args(number: int) -> int:
        """Return how many arguments a helper takes."""
        from bpfctl.kernel.bpf.vm.calls import helper_body

        return helper_body(number)[1]

    def _around(self, text: str, may_call: bool) -> None:
        """Write a call; the count of turns is shared with functions that it may run."""
        if may_call:
            if self.counts:
                self.lines.append("rt.turns = n")
            self.lines.append("rt.fp = r10")
        self.lines.append(text)
        if may_call and self.counts:
            self.lines.append("n = rt.turns")

    def _tail_call(self) -> None:
        self.lines.append(f"u = rt.tail_call({self.reg(2)}, {self.reg(3)})")
        self.lines.append("if u is not None:")
        if self.counts:
            self.lines.append(" rt.turns = n")
        self.needs.bind("tail", "tail")
        self.lines.append(" return tail(rt, u, r10)")

    def _legacy(self, insn: Insn) -> None:
        size = SIZES[insn.code & 0x18]
        offset = str(insn.imm)
        if insn.code & 0xE0 == 0x40:
            offset = f"{insn.imm} + {self.reg(insn.src)}"
        self.lines.append(f"{self.reg(0)} = rt.legacy_load({offset}, {size})")
        self.lines.append("if r0 is None:")
        if self.counts:
            self.lines.append(" rt.turns = n")
        self.lines.append(" return 0")


def _offset(base: str, at: int) -> str:
    if at == 0:
        return base
    return f"{base} + {at}" if at > 0 else f"{base} - {-at}"


def _literal(number: int) -> str:
    return str(number) if number < 10000 else hex(number)
