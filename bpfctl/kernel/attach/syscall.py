"""BPF_PROG_ATTACH, DETACH, QUERY and BPF_LINK_* (kernel/bpf/syscall.c).

The checks that are common to all families are here, in the kernel's order; a family is a module
named in :data:`FAMILIES`, imported when it is attached to.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.link import Links, open_link
from bpfctl.kernel.attach.types import BY_NUMBER, EXACT, AttachType
from bpfctl.kernel.records import LinkRecord, ProgRecord, Task
from bpfctl.kernel.task import CAP_NET_ADMIN, CAP_SYS_ADMIN, capable
from bpfctl.uapi import PROG_TYPES, FdAttr
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    BPF_F_AFTER,
    BPF_F_ALLOW_MULTI,
    BPF_F_ALLOW_OVERRIDE,
    BPF_F_ATTACH_LINK,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_PREORDER,
    BPF_F_REPLACE,
    LinkCreateAttr,
    LinkUpdateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
    ProgQueryResult,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

BASE_FLAGS = BPF_F_ALLOW_OVERRIDE | BPF_F_ALLOW_MULTI | BPF_F_REPLACE | BPF_F_PREORDER
ORDER_FLAGS = BPF_F_BEFORE | BPF_F_AFTER | BPF_F_ID | BPF_F_ATTACH_LINK
MPROG_FLAGS = BPF_F_REPLACE | ORDER_FLAGS


class Family(Protocol):
    """What a module of :data:`FAMILIES` offers; what it lacks is EINVAL."""

    def attach(self, kernel: Kernel, task: Task, attr: ProgAttachAttr, prog: ProgRecord) -> None:
        """BPF_PROG_ATTACH."""
        ...

    def detach(self, kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
        """BPF_PROG_DETACH."""
        ...

    def query(self, kernel: Kernel, task: Task, attr: ProgQueryAttr) -> ProgQueryResult:
        """BPF_PROG_QUERY."""
        ...

    def link(
        self, kernel: Kernel, task: Task, attr: LinkCreateAttr, prog: ProgRecord
    ) -> LinkRecord:
        """BPF_LINK_CREATE: return an attached link that is not published."""
        ...


FAMILIES: dict[str, str] = {
    "cgroup": "bpfctl.kernel.attach.cgroup_link",
    "netns": "bpfctl.kernel.attach.netns",
    "tcx": "bpfctl.kernel.attach.tcx",
    "xdp": "bpfctl.kernel.attach.xdp",
}
"""The families that are modelled."""


def prog_of_fd(kernel: Kernel, task: Task, fd: int, prog_type: str = "") -> ProgRecord:
    """Return the program behind a descriptor (bpf_prog_get_type).

    :raises KernelError: EBADF; EINVAL: something else, or a program of another type.
    """
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "prog":
        raise KernelError(E.INVAL, f"fd {fd} is not a program")
    prog = kernel.progs.get(file.obj_id)
    if prog_type and PROG_TYPES[prog.type] != prog_type:
        raise KernelError(E.INVAL, f"fd {fd} is a {PROG_TYPES[prog.type]} program")
    return prog


def _known(kernel: Kernel, attach_type: int) -> AttachType:
    found = BY_NUMBER.get(attach_type)
    if found is None or attach_type >= kernel.profile.progs.nr_attach_types:
        raise KernelError(E.INVAL, f"attach type {attach_type}")
    return found


def _handler(family: str, name: str) -> Family:
    """Return the module of a family, which must offer ``name``.

    :raises KernelError: EINVAL.
    """
    where = FAMILIES.get(family)
    module = import_module(where) if where else None
    if module is None or not hasattr(module, name):
        raise KernelError(E.INVAL, f"{family} does not {name}")
    return module


def check_attach_type(kernel: Kernel, task: Task, prog: ProgRecord, attach_type: int) -> None:
    """Test that a program may be attached so (bpf_prog_attach_check_attach_type).

    :raises KernelError: EINVAL, EPERM.
    """
    name = PROG_TYPES[prog.type]
    expected = prog.priv.get("attach_type", 0)
    if name in EXACT:
        good = attach_type == expected
    elif name == "ext":
        good = True
    elif name in ("perf_event", "tracepoint"):
        good = attach_type == ATTACH_TYPE_NUMBER["perf_event"]
    elif name == "kprobe":
        good = _fits_kprobe(attach_type, expected)
    else:
        known = BY_NUMBER.get(attach_type)
        good = known is not None and known.prog_type == name
    if name == "cgroup_skb" and not capable(task, CAP_NET_ADMIN | CAP_SYS_ADMIN):
        raise KernelError(E.PERM, "CAP_NET_ADMIN")
    if not good:
        raise KernelError(E.INVAL, f"a {name} program is not attached so")


def _fits_kprobe(attach_type: int, expected: int) -> bool:
    multi = {
        ATTACH_TYPE_NUMBER[name]
        for name in (
            "trace_kprobe_multi", "trace_kprobe_session", "trace_uprobe_multi",
            "trace_uprobe_session",
        )
    }  # fmt: skip
    if expected in multi and attach_type != expected:
        return False
    return attach_type in multi or attach_type == ATTACH_TYPE_NUMBER["perf_event"]


def allowed_flags(kernel: Kernel, family: str) -> int:
    """Return the attach_flags that BPF_PROG_ATTACH takes for a family."""
    base = BASE_FLAGS if kernel.profile.attach.preorder else BASE_FLAGS & ~BPF_F_PREORDER
    if family in ("tcx", "netkit"):
        return MPROG_FLAGS
    if family == "cgroup" and kernel.profile.attach.cgroup_order:
        return base | MPROG_FLAGS
    return base


def prog_attach(kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
    """BPF_PROG_ATTACH.

    :raises KernelError: EINVAL, EBADF, EPERM and what the family says.
    """
    known = _known(kernel, attr.attach_type)
    if not known.prog_type or known.family in ("tracing", "xdp", "netfilter"):
        raise KernelError(E.INVAL, "attached by other means")
    if attr.attach_flags & ~allowed_flags(kernel, known.family):
        raise KernelError(E.INVAL, f"attach_flags {attr.attach_flags:#x}")
    ordered = allowed_flags(kernel, known.family) & ORDER_FLAGS
    if not ordered and (attr.relative or attr.expected_revision):
        raise KernelError(E.INVAL, "no order here")
    prog = prog_of_fd(kernel, task, attr.attach_bpf_fd, known.prog_type)
    check_attach_type(kernel, task, prog, attr.attach_type)
    _handler(known.family, "attach").attach(kernel, task, attr, prog)


def prog_detach(kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
    """BPF_PROG_DETACH.

    :raises KernelError: EINVAL, EBADF, ENOENT, EPERM and what the family says.
    """
    known = _known(kernel, attr.attach_type)
    if known.family in ("tracing", "xdp", "netfilter"):
        raise KernelError(E.INVAL, "detached by other means")
    if known.family in ("tcx", "netkit"):
        if attr.attach_flags & ~MPROG_FLAGS:
            raise KernelError(E.INVAL, f"attach_flags {attr.attach_flags:#x}")
    elif attr.attach_flags or attr.relative:
        raise KernelError(E.INVAL, "no flags here")
    elif attr.expected_revision and not allowed_flags(kernel, known.family) & ORDER_FLAGS:
        raise KernelError(E.INVAL, "no revision here")
    _handler(known.family, "detach").detach(kernel, task, attr)


def prog_query(kernel: Kernel, task: Task, attr: ProgQueryAttr) -> ProgQueryResult:
    """BPF_PROG_QUERY.

    :raises KernelError: EPERM without CAP_NET_ADMIN; EINVAL and what the family says.
    """
    if not capable(task, CAP_NET_ADMIN | CAP_SYS_ADMIN):
        raise KernelError(E.PERM, "CAP_NET_ADMIN")
    known = _known(kernel, attr.attach_type)
    return _handler(known.family, "query").query(kernel, task, attr)


def link_create(kernel: Kernel, task: Task, attr: LinkCreateAttr) -> int:
    """BPF_LINK_CREATE: return the descriptor of a new link.

    :raises KernelError: EBADF, EINVAL, EPERM, ENOMEM and what the family says.
    """
    prog = prog_of_fd(kernel, task, attr.prog_fd)
    if attr.attach_type >= kernel.profile.progs.nr_attach_types:
        raise KernelError(E.INVAL, f"attach type {attr.attach_type}")
    check_attach_type(kernel, task, prog, attr.attach_type)
    handler = _handler(_link_family(prog, attr.attach_type), "link")
    return open_link(kernel, task, handler.link(kernel, task, attr, prog))


def _link_family(prog: ProgRecord, attach_type: int) -> str:
    name = PROG_TYPES[prog.type]
    if name in ("perf_event", "tracepoint", "kprobe"):
        return "perf_event"
    known = BY_NUMBER.get(attach_type)
    if known is None:
        raise KernelError(E.INVAL, f"no links of {name} programs")
    return known.family


def _link_of_fd(kernel: Kernel, task: Task, fd: int) -> LinkRecord:
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "link":
        raise KernelError(E.INVAL, f"fd {fd} is not a link")
    return kernel.part(Links).get(file.obj_id)


def link_update(kernel: Kernel, task: Task, attr: LinkUpdateAttr) -> None:
    """BPF_LINK_UPDATE.

    :raises KernelError: EINVAL, EBADF, EPERM, ENOLINK.
    """
    if attr.flags & ~BPF_F_REPLACE:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    link = _link_of_fd(kernel, task, attr.link_fd)
    new = prog_of_fd(kernel, task, attr.new_prog_fd)
    old = 0
    if attr.flags & BPF_F_REPLACE:
        old = prog_of_fd(kernel, task, attr.old_prog_fd).id
    elif attr.old_prog_fd:
        raise KernelError(E.INVAL, "an old program without BPF_F_REPLACE")
    if not kernel.part(Links).type_of(link).updates:
        raise KernelError(E.INVAL, "links of this type are not updated")
    kernel.part(Links).update(link, new.id, old)


def link_detach(kernel: Kernel, task: Task, attr: FdAttr) -> None:
    """BPF_LINK_DETACH.

    :raises KernelError: EBADF, EINVAL, EOPNOTSUPP.
    """
    kernel.part(Links).detach(_link_of_fd(kernel, task, attr.fd))
