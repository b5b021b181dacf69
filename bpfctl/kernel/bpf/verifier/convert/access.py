"""One context access on its way to the instructions that the kernel puts in its place."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.isa.insn import Insn

LDX, ST, STX, ALU, JMP, ALU64 = 1, 2, 3, 4, 5, 7
MEM = 0x60
SIZE_CODE = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
AX, AX_BEHIND_PARAMS = 11, 12
"""The register that programs do not see (BPF_REG_AX); 7.3 has one for arguments before it."""

ADD, SUB, AND, LSH, RSH, MOV = 0x00, 0x10, 0x50, 0x60, 0x70, 0xB0
JEQ, JGE, JSET, JNE = 0x10, 0x30, 0x40, 0x50
X = 0x08


class Access:
    """A load or store of the context, and what it becomes.

    ``at`` gives offsets of members of kernel structs ("sk_buff.len") in bytes, ``out`` collects
    instructions, ``target`` is the size of the kernel's field where a narrow load is masked.
    """

    def __init__(self, insn: Insn, at: Callable[[str], int], traits: frozenset[str]) -> None:
        self.insn = insn
        self.at = at
        self.traits = traits
        self.ax = AX_BEHIND_PARAMS if "ax_12" in traits else AX
        self.out: list[Insn] = []
        self.target = 0
        self.write = insn.code & 7 != LDX
        self.is_st = insn.code & 7 == ST
        self.size = {code: size for size, code in SIZE_CODE.items()}[insn.code & 0x18]
        self.dst, self.src, self.off = insn.dst, insn.src, insn.off

    # --- instructions -----------------------------------------------------------

    def ldx(self, size: int, dst: int, src: int, off: int) -> None:
        """``dst = *(size *)(src + off)``."""
        self.out.append(Insn(LDX | MEM | SIZE_CODE[size], dst, src, off, 0))

    def stx(self, size: int, dst: int, src: int, off: int) -> None:
        """``*(size *)(dst + off) = src``."""
        self.out.append(Insn(STX | MEM | SIZE_CODE[size], dst, src, off, 0))

    def alu(self, op: int, dst: int, imm: int, wide: bool = True) -> None:
        """``dst op= imm``."""
        self.out.append(Insn((ALU64 if wide else ALU) | op, dst, 0, 0, imm))

    def alu_x(self, op: int, dst: int, src: int) -> None:
        """``dst op= src`` in 64 bits."""
        self.out.append(Insn(ALU64 | op | X, dst, src, 0, 0))

    def jmp(self, op: int, dst: int, imm: int, off: int) -> None:
        """Skip ``off`` instructions if ``dst op imm``."""
        self.out.append(Insn(JMP | op, dst, 0, off, imm))

    def ja(self, off: int) -> None:
        """Skip ``off`` instructions."""
        self.out.append(Insn(JMP, 0, 0, off, 0))

    # --- whole conversions -------------------------------------------------------

    def load(self, size: int, name: str, target: int | None = None, more: int = 0) -> None:
        """Load a member of the kernel's context struct."""
        self.ldx(size, self.dst, self.src, self.at(name) + more)
        self.target = size if target is None else target

    def store(self, size: int, name: str, more: int = 0) -> None:
        """Store what the program stores into a member of the kernel's context struct."""
        self.put(size, self.insn.dst, self.at(name) + more)
        self.target = size

    def put(self, size: int, dst: int, off: int) -> None:
        """Store what the program stores through ``dst`` (BPF_EMIT_STORE)."""
        code = (self.insn.code & ~0x18) | SIZE_CODE[size]
        self.out.append(Insn(code, dst, self.insn.src, off, self.insn.imm))

    def rw(self, size: int, name: str) -> None:
        """Load or store a member."""
        if self.write:
            self.store(size, name)
        else:
            self.load(size, name)

    def follow(self, *steps: tuple[int, str], more: int = 0) -> None:
        """Follow pointers: ``steps`` are sizes and members, the last one is the value."""
        src = self.src
        for size, name in steps[:-1]:
            self.ldx(size, self.dst, src, self.at(name))
            src = self.dst
        size, name = steps[-1]
        self.ldx(size, self.dst, src, self.at(name) + more)
        self.target = size
