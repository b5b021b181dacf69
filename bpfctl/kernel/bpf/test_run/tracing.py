"""bpf_prog_test_run_tracing(): the kernel calls functions made for programs to sit on.

The program that is run is not called by name: the kernel calls its test functions, and whatever
is attached to these runs. Attaching to functions is not modelled, so they return what they return
by themselves.
"""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import Test, bad
from bpfctl.uapi import ProgRunResult
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

ENTRY_AND_EXIT = frozenset((ATTACH_TYPE_NUMBER["trace_fentry"], ATTACH_TYPE_NUMBER["trace_fexit"]))
MODIFY_RETURN = ATTACH_TYPE_NUMBER["modify_return"]


def run(test: Test) -> ProgRunResult:
    """Call the kernel's test functions.

    :raises KernelError: EINVAL; EFAULT: a program that does not sit on a function.
    """
    attr = test.attr
    if attr.flags or attr.cpu or attr.batch_size:
        raise bad("flags, cpu or batch_size")
    attach_type = test.prog.priv.get("attach_type", 0)
    if attach_type in ENTRY_AND_EXIT:
        return ProgRunResult(retval=0)
    if attach_type == MODIFY_RETURN:
        return ProgRunResult(retval=test.facts.modify_return)
    raise KernelError(E.FAULT, f"attach type {attach_type}")
