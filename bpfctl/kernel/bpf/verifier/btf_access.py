"""Loads through pointers to kernel structures."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.verifier.env import READ, Env
from bpfctl.kernel.bpf.verifier.regs import mark_unknown
from bpfctl.kernel.bpf.verifier.state import Reg


def check_btf_access(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    """Kernel structures may be read, where programs may see kernel memory.

    :raises Refused: EACCES.
    """
    if access != READ:
        env.fail(E.ACCES, "only read is supported")
    if value_regno >= 0:
        mark_unknown(env, value_regno)
