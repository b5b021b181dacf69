"""Tasks: credentials, limits, and the descriptors they hold."""

from __future__ import annotations

from bpfctl.errors import CommandError
from bpfctl.kernel.records import Task
from bpfctl.uapi import RLIM_INFINITY

CAPS: dict[str, int] = {
    "CAP_CHOWN": 0,
    "CAP_KILL": 5,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
ALL_CAPS = (1 << 41) - 1
CAP_NET_ADMIN = 1 << CAPS["CAP_NET_ADMIN"]
CAP_IPC_LOCK = 1 << CAPS["CAP_IPC_LOCK"]
CAP_SYS_ADMIN = 1 << CAPS["CAP_SYS_ADMIN"]
CAP_SYS_RESOURCE = 1 << CAPS["CAP_SYS_RESOURCE"]
CAP_PERFMON = 1 << CAPS["CAP_PERFMON"]
CAP_BPF = 1 << CAPS["CAP_BPF"]


def parse_caps(text: str) -> int:
    """Return the mask of ``all``, ``none`` or names with commas (``CAP_BPF,cap_perfmon``).

    :raises CommandError: unknown name.
    """
    if text in ("all", "none"):
        return ALL_CAPS if text == "all" else 0
    mask = 0
    for word in text.split(","):
        name = word.strip().upper()
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in CAPS:
            raise CommandError(
                f"unknown capability '{word}'", hint=f"known: all, none, {', '.join(CAPS)}"
            )
        mask |= 1 << CAPS[name]
    return mask


def format_caps(mask: int) -> str:
    """Return the inverse of :func:`parse_caps`."""
    if mask == ALL_CAPS:
        return "all"
    names = [name for name, bit in CAPS.items() if mask & 1 << bit]
    return ",".join(names) or "none"


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
