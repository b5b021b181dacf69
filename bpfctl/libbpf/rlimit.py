"""RLIMIT_MEMLOCK as programs meet it: raise it, find out whether it matters, explain EPERM."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.kernel.records import Task

KIB = 1 << 10
MIB = 1 << 20


def _task(bpf: Bpf) -> Task:
    return cast("Task", bpf.kernel.task(bpf.pid))


def bump_memlock(bpf: Bpf) -> None:
    """Ask for RLIM_INFINITY, soft and hard, as the samples did.

    :raises KernelError: EPERM if the hard limit is finite and the task lacks CAP_SYS_RESOURCE.
    """
    bpf.kernel.setrlimit_memlock(bpf.pid, None, None)


def memcg_accounting(bpf: Bpf) -> bool:
    """Tell whether BPF memory is free of RLIMIT_MEMLOCK, by trying.

    With a soft limit of 0, which a task may always set and take back, the smallest of maps is
    refused with EPERM where locked memory is still counted. A task that may not create maps at
    all is refused as well: for it, too, the answer is no.
    """
    task = _task(bpf)
    soft, hard = task.memlock_soft, task.memlock_hard
    bpf.kernel.setrlimit_memlock(bpf.pid, 0, hard)
    try:
        fd = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 4, 1))
    except KernelError as exc:
        if exc.code != E.PERM:
            raise
        return False
    finally:
        bpf.kernel.setrlimit_memlock(bpf.pid, soft, hard)
    bpf.close(fd)
    return True


def auto_bump_memlock(bpf: Bpf) -> bool:
    """Raise the limit only where it matters, as libbpf does since 1.0; return whether it did.

    A task that may not raise it goes on with what it has (bump_rlimit_memlock).
    """
    if memcg_accounting(bpf):
        return False
    try:
        bump_memlock(bpf)
    except KernelError:
        return False
    return True


def explain_eperm(bpf: Bpf, exc: KernelError) -> str:
    """Return what libbpf says about EPERM of a root task with a finite limit, else "".

    Mirrors pr_perm_msg(), without its ``libbpf: `` prefix.
    """
    task = _task(bpf)
    if exc.code != E.PERM or task.uid != 0 or task.memlock_soft is None:
        return ""
    return (
        "permission error while running as root; try raising 'ulimit -l'? "
        f"current value: {_limit_text(task.memlock_soft)}"
    )


def _limit_text(nbytes: int) -> str:
    if nbytes < KIB:
        return f"{nbytes} bytes"
    if nbytes < MIB:
        return f"{nbytes / KIB:.1f} KiB"
    return f"{nbytes / MIB:.1f} MiB"
