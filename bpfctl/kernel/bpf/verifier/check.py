"""The door between BPF_PROG_LOAD and the verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import KernelError
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.verifier.entry import finish, new_env, run
from bpfctl.kernel.bpf.verifier.result import VerifiedProgram

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Task
    from bpfctl.uapi import ProgLoadAttr


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
