"""The door between BPF_PROG_LOAD and the verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import KernelError
from bpfctl.isa.insn import CALL, INSN_BYTES, LD_IMM64, PSEUDO_BTF_ID, PSEUDO_KFUNC_CALL
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.verifier.entry import finish, new_env, run
from bpfctl.kernel.bpf.verifier.result import VerifiedProgram

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Task
    from bpfctl.uapi import ProgLoadAttr


def unmodelled(attr: ProgLoadAttr) -> str:
    """Say why a program cannot be walked here, empty if it can.

    The simulator has no BTF of a whole kernel, so it cannot follow what is typed by it.
    """
    prog_type = by_number(attr.prog_type)
    if prog_type is None:
        return f"program type {attr.prog_type}"
    if prog_type.attach_btf and not attr.attach_btf_id:
        return ""  # refused for that, before anything is walked
    if prog_type.ctx is None:
        return f"arguments of {prog_type.name} programs, which kernel BTF describes"
    raw = attr.insns
    for at in range(0, len(raw), INSN_BYTES):
        source = raw[at + 1] >> 4
        if raw[at] == CALL and source == PSEUDO_KFUNC_CALL:
            return "calls of kernel functions"
        if raw[at] == LD_IMM64 and source == PSEUDO_BTF_ID:
            return "kernel variables"
    return ""


def check(kernel: Kernel, task: Task, attr: ProgLoadAttr, attach_type: int) -> VerifiedProgram:
    """Verify a program as the kernel of the profile does (bpf_check).

    The log, as far as ``attr.log_level`` asks for it, is in ``attr.log`` afterwards, the
    statistics are in ``attr.verified``.

    :raises KernelError: why it is refused.
    """
    prog_type = by_number(attr.prog_type)
    assert prog_type is not None
    env = new_env(kernel, task, attr, attach_type, prog_type)
    env.log_level = attr.log_level
    try:
        run(env)
        return finish(env)
    except KernelError:
        env.stats.processed = env.insn_processed
        raise
    finally:
        attr.log = "".join(env.log)
        attr.verified = env.stats
        attr.last_line = env.last_line
