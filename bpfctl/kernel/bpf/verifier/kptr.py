"""Kernel pointers in map values (check_map_kptr_access)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import READ, Env
from bpfctl.kernel.bpf.verifier.regs import is_pointer
from bpfctl.kernel.bpf.verifier.state import BtfRef, Reg, pointer

LDX, ST, STX = 1, 2, 3


def check_kptr_access(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, access: int, value_regno: int
) -> None:
    """Check a load or store of a kernel pointer in a map's value.

    :raises Refused: EACCES.
    """
    cls = insn.code & 7
    if insn.code & 0xE0 != 0x60:
        env.fail(E.ACCES, "kptr in map can only be accessed using BPF_MEM instruction mode")
    if cls == LDX and access == READ:
        kind = rt.PTR_TO_BTF_ID | rt.PTR_MAYBE_NULL | rt.PTR_UNTRUSTED
        loaded = pointer(kind, 0, BtfRef(None, 0, "kptr"))
        loaded.id = env.new_id()
        env.set_reg(value_regno, loaded)
    elif cls == STX:
        value = env.regs[value_regno]
        if value.mask or value.value or is_pointer(value):
            env.fail(E.ACCES, f"invalid kptr access, R{value_regno} type=scalar expected=ptr_")
    elif cls == ST:
        if insn.imm:
            env.fail(E.ACCES, f"BPF_ST imm must be 0 when storing to kptr at off={off}")
    else:
        env.fail(E.ACCES, "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST")
