"""The current task (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, btf, declare

declare(14, "get_current_pid_tgid")
declare(15, "get_current_uid_gid")
declare(16, "get_current_comm", Ret.INTEGER, (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE))
declare(35, "get_current_task", gpl_only=True)
declare(109, "send_signal", Ret.INTEGER, (Arg.ANYTHING,))
declare(117, "send_signal_thread", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    120, "get_ns_current_pid_tgid", Ret.INTEGER,
    (Arg.ANYTHING, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    158, "get_current_task_btf", Ret.BTF_ID_TRUSTED, ret_btf="task_struct", gpl_only=True,
    changes={"untrusted_btf": {"ret": Ret.BTF_ID}},
)  # fmt: skip
declare(175, "task_pt_regs", Ret.BTF_ID, (btf("task_struct"),), ret_btf="pt_regs", gpl_only=True)


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


TASK_COMM_LEN = 16
NSIG = 64
PIDNS_INFO = 8


@body(14)
def get_current_pid_tgid(rt: Runtime) -> int:
    """Return tgid << 32 | pid: simulated tasks have one thread."""
    if rt.task is None:
        return -E.INVAL
    return rt.task.pid << 32 | rt.task.pid


@body(15)
def get_current_uid_gid(rt: Runtime) -> int:
    """Return gid << 32 | uid: a task's group has the number of its user."""
    if rt.task is None:
        return -E.INVAL
    return rt.task.uid << 32 | rt.task.uid


@body(16)
def get_current_comm(rt: Runtime, buf: int, size: int) -> int:
    """Copy the task's name, always with a NUL."""
    if rt.task is None:
        rt.mem.write(buf, bytes(size))
        return -E.INVAL
    name = rt.task.comm.encode()[: min(size, TASK_COMM_LEN) - 1] + b"\0"
    if rt.kernel.profile.runtime.comm_padded:
        name = name.ljust(size, b"\0")
    rt.mem.write(buf, name)
    return 0


@body(35)
def get_current_task(rt: Runtime) -> int:
    """Return a number that stands for the task: nothing can be read there."""
    return 0 if rt.task is None else rt.vm.mirrors.address("task", rt.task.pid)


@body(158)
def get_current_task_btf(rt: Runtime) -> int:
    """Return a pointer that stands for the task."""
    return 0 if rt.task is None else rt.vm.mirrors.address("task", rt.task.pid)


@body(120)
def get_ns_current_pid_tgid(rt: Runtime, dev: int, ino: int, info: int, size: int) -> int:
    """Copy the pid as a pid namespace sees it: EINVAL for a namespace that is not the task's."""
    namespace = rt.kernel.pid_namespace
    if size & U32 != PIDNS_INFO or rt.task is None or (dev, ino) != namespace:
        rt.mem.write(info, bytes(size))
        return -E.INVAL
    rt.mem.write(info, rt.task.pid.to_bytes(4, "little") * 2)
    return 0


@body(109)
def send_signal(rt: Runtime, signal: int) -> int:
    """Send a signal to the task: EINVAL, EPERM. It arrives when the system call ends."""
    signal &= U32
    if signal > NSIG:
        return -E.INVAL
    if rt.task is None or rt.task.pid == 1:
        return -E.PERM
    if signal:
        rt.kernel.signals.append((rt.task.pid, signal))
    return 0


@body(117)
def send_signal_thread(rt: Runtime, signal: int) -> int:
    """Send a signal to the thread, which is the task."""
    return send_signal(rt, signal)
