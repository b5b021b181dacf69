"""BPF_PROG_TEST_RUN: which runner a program type has, and one run of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.uapi import PROG_TYPES, ProgRunAttr, ProgRunResult

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.test_run.common import Test
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import ProgRecord, Task

RUNNERS: dict[str, str] = {
    "socket_filter": "skb",
    "sched_cls": "skb",
    "sched_act": "skb",
    "cgroup_skb": "skb",
    "lwt_in": "skb",
    "lwt_out": "skb",
    "lwt_xmit": "skb",
    "lwt_seg6local": "skb",
    "xdp": "xdp",
    "flow_dissector": "flow_dissector",
    "raw_tracepoint": "raw_tp",
    "tracing": "tracing",
    "struct_ops": "struct_ops",
    "sk_lookup": "sk_lookup",
    "syscall": "syscall",
    "netfilter": "netfilter",
}
"""The module of this package that runs programs of each type; which exist, profiles say."""


def prog_test_run(kernel: Kernel, task: Task, attr: ProgRunAttr) -> ProgRunResult:
    """BPF_PROG_TEST_RUN.

    :raises KernelError: EINVAL (a size without pointer or the reverse, unknown fields); EBADF;
        524 for a type that has no runner; and what the runner says.
    """
    if attr.batch_size and not kernel.profile.runtime.batch_size:
        raise KernelError(E.INVAL, "batch_size is behind the attributes that this kernel knows")
    if bool(attr.ctx_size_in) != (attr.ctx_in is not None):
        raise KernelError(E.INVAL, "ctx_in and ctx_size_in")
    if bool(attr.ctx_size_out) != attr.ctx_out:
        raise KernelError(E.INVAL, "ctx_out and ctx_size_out")
    file = kernel.files.get(task.pid, attr.prog_fd)
    if file.obj_kind != "prog":
        raise KernelError(E.INVAL, file.obj_kind)
    prog = kernel.progs.get(file.obj_id)
    kind = PROG_TYPES[prog.type]
    if kind not in kernel.profile.runtime.runners:
        raise KernelError(E.NOTSUPP, f"no runner for {kind}")
    runner = import_module(f"{__name__}.{RUNNERS[kind]}")
    result: ProgRunResult = runner.run(_test(kernel, task, prog, attr))
    return result


def _test(kernel: Kernel, task: Task, prog: ProgRecord, attr: ProgRunAttr) -> Test:
    from bpfctl.kernel.bpf.test_run.common import Test

    return Test(kernel, task, prog, attr)
