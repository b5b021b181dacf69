"""BPF_PROG_LOAD: what the attributes may be, and who may pass them (bpf_prog_load of syscall.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import BPF_COMPLEXITY_LIMIT_INSNS, BPF_MAXINSNS, INSN_BYTES
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.progtypes.decl import CAP_PERFMON, NO_CAP
from bpfctl.kernel.bpf.progtypes.release import owner_of_attach_type
from bpfctl.kernel.records import Task
from bpfctl.kernel.task import CAP_NET_ADMIN, CAP_SYS_ADMIN, bpf_capable, capable, perfmon_capable
from bpfctl.uapi import BPF_F_TOKEN_FD, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

BTF_MAX_TYPE = 0xFFFFF
STDIO = (0, 1, 2)
"""Descriptors that every process has, and that are nothing of bpf(2)."""


def check_attr(kernel: Kernel, task: Task, attr: ProgLoadAttr) -> int:
    """Test the attributes in the kernel's order; return expected_attach_type as it is kept.

    :raises KernelError: EINVAL, EPERM, E2BIG, EBADF.
    """
    checks, progs = kernel.profile.checks, kernel.profile.progs
    if checks.unprivileged == "create":
        kernel.check_unprivileged(task)
    if attr.prog_flags & ~progs.load_flags:
        raise KernelError(E.INVAL, f"prog_flags {attr.prog_flags:#x}")
    if attr.prog_flags & BPF_F_TOKEN_FD:
        _check_token(kernel, task, attr.prog_token_fd)
    if checks.unprivileged == "late":
        kernel.check_unprivileged(task)
    _check_size(task, attr)
    _check_capabilities(task, attr.prog_type, kernel.profile.prog_types, progs.net_admin_types)
    owner = owner_of_attach_type(kernel.profile.name, attr.expected_attach_type)
    prog_type = by_number(attr.prog_type)
    if owner and prog_type is not None and prog_type.name != owner:
        raise KernelError(E.INVAL, f"expected_attach_type {attr.expected_attach_type}")
    return _attach_type(attr, progs.nr_attach_types)


def _check_token(kernel: Kernel, task: Task, fd: int) -> None:
    if fd not in STDIO:
        kernel.files.get(task.pid, fd)
    raise KernelError(E.INVAL, f"fd {fd} is no token")


def _check_size(task: Task, attr: ProgLoadAttr) -> None:
    limit = BPF_COMPLEXITY_LIMIT_INSNS if bpf_capable(task) else BPF_MAXINSNS
    count, rest = divmod(len(attr.insns), INSN_BYTES)
    if rest:
        raise KernelError(E.INVAL, "insns are not whole")
    if not 0 < count <= limit:
        raise KernelError(E.BIG, f"{count} insns of {limit}")


def _check_capabilities(
    task: Task, number: int, prog_types: int, net_admin: frozenset[str]
) -> None:
    prog_type = by_number(number)
    unprivileged = prog_type is not None and prog_type.capability == NO_CAP
    if not unprivileged and not bpf_capable(task):
        raise KernelError(E.PERM, "CAP_BPF")
    if prog_type is None or number >= prog_types:
        return  # refused behind this, where the type is looked up
    if prog_type.name in net_admin and not capable(task, CAP_NET_ADMIN | CAP_SYS_ADMIN):
        raise KernelError(E.PERM, "CAP_NET_ADMIN")
    needs_perfmon = prog_type.capability == CAP_PERFMON or prog_type.name == "ext"
    if needs_perfmon and not perfmon_capable(task):
        raise KernelError(E.PERM, "CAP_PERFMON")


def _attach_type(attr: ProgLoadAttr, nr_attach_types: int) -> int:
    prog_type = by_number(attr.prog_type)
    with_btf = prog_type is not None and prog_type.attach_btf
    if attr.attach_btf_id and (attr.attach_btf_id > BTF_MAX_TYPE or not with_btf):
        raise KernelError(E.INVAL, "attach_btf_id")
    rule = prog_type.attach if prog_type is not None else None
    if rule is None or rule.since >= nr_attach_types:
        return attr.expected_attach_type
    expected = attr.expected_attach_type or rule.zero_means
    if expected not in rule.allowed or expected >= nr_attach_types:
        raise KernelError(E.INVAL, f"expected_attach_type {attr.expected_attach_type}")
    return expected


def can_sleep(number: int, attach_type: int, traits: frozenset[str]) -> bool:
    """Tell whether BPF_F_SLEEPABLE suits a program (can_be_sleepable)."""
    prog_type = by_number(number)
    if prog_type is None or not prog_type.sleepable:
        return False
    if prog_type.sleepable_trait and prog_type.sleepable_trait not in traits:
        return False
    if prog_type.sleepable_attach is None or "sleepable_any_tracing" in traits:
        return True
    return attach_type in prog_type.sleepable_attach
