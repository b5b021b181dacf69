"""Kernel functions and variables, as far as the walk must know them beforehand.

The simulator has no BTF of a whole kernel: what a program asks for is not there.
"""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.state import Reg


def add_kfunc(env: Env, insn: Insn) -> None:
    """Look a kernel function up by its BTF id (add_kfunc_call).

    :raises Refused: EINVAL.
    """
    env.fail(E.INVAL, f"kernel btf_id {insn.imm} is not a function")


def is_iter_next(env: Env, insn: Insn) -> bool:
    """Whether a kernel function steps an iterator."""
    return False


def nr_params(env: Env, insn: Insn) -> int:
    """How many registers a kernel function reads."""
    return 5


def resolve_variable(env: Env, idx: int, insn: Insn) -> None:
    """Look a kernel variable up by its BTF id (check_pseudo_btf_id).

    :raises Refused: EINVAL.
    """
    env.fail(E.INVAL, f"ldimm64 insn specifies invalid btf_id {insn.imm}.")


def variable_reg(env: Env, idx: int) -> Reg:
    """The address of a kernel variable."""
    raise NotImplementedError
