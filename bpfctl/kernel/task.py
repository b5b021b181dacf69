"""Tasks: credentials, limits, and the descriptors they hold."""

from __future__ import annotations

from bpfctl.kernel.records import Task
from bpfctl.uapi import CAPS, RLIM_INFINITY

CAP_NET_ADMIN = 1 << CAPS["CAP_NET_ADMIN"]
CAP_IPC_LOCK = 1 << CAPS["CAP_IPC_LOCK"]
CAP_SYS_ADMIN = 1 << CAPS["CAP_SYS_ADMIN"]
CAP_SYS_RESOURCE = 1 << CAPS["CAP_SYS_RESOURCE"]
CAP_PERFMON = 1 << CAPS["CAP_PERFMON"]
CAP_BPF = 1 << CAPS["CAP_BPF"]


def capable(task: Task, cap: int) -> bool:
    """Tell whether ``task`` has any bit of ``cap``."""
    return bool(task.caps & cap)


def bpf_capable(task: Task) -> bool:
    """CAP_BPF, or CAP_SYS_ADMIN that implies it."""
    return capable(task, CAP_BPF | CAP_SYS_ADMIN)


def perfmon_capable(task: Task) -> bool:
    """CAP_PERFMON, or CAP_SYS_ADMIN that implies it."""
    return capable(task, CAP_PERFMON | CAP_SYS_ADMIN)


def rlimit_value(nbytes: int | None) -> int | None:
    """Return a limit in bytes, None for RLIM_INFINITY."""
    return None if nbytes is None or nbytes >= RLIM_INFINITY else nbytes
