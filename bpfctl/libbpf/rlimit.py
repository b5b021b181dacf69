"""RLIMIT_MEMLOCK as programs meet it: raise it, find out whether it matters, explain EPERM."""

from __future__ import annotations

import struct

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import PROG_TYPE_NUMBER, ProgLoadAttr

KIB = 1 << 10
MIB = 1 << 20

KTIME_GET_COARSE_NS = 160
# call KTIME_GET_COARSE_NS; exit
_PROBE = struct.pack("<BBhiBBhi", 0x85, 0, 0, KTIME_GET_COARSE_NS, 0x95, 0, 0, 0)


def bump_memlock(bpf: Bpf) -> None:
    """Ask for RLIM_INFINITY, soft and hard, as the samples did.

    :raises KernelError: EPERM if the hard limit is finite and the task lacks CAP_SYS_RESOURCE.
    """
    bpf.kernel.setrlimit_memlock(bpf.pid, None, None)


def memcg_accounting(bpf: Bpf) -> bool:
    """Tell whether BPF memory is charged to memory cgroups, by trying, not by version.

    A program that calls bpf_ktime_get_coarse_ns() loads only where that helper exists, and it
    came with the same release (probe_memcg_account). A task that may not load programs gets no
    for an answer.
    """
    try:
        fd = bpf.prog_load(ProgLoadAttr(PROG_TYPE_NUMBER["socket_filter"], _PROBE))
    except KernelError:
        return False
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
    task = bpf.kernel.task(bpf.pid)
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
