"""Programs at the ingress and egress of devices: tcx (kernel/bpf/tcx.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.link import Links, LinkType
from bpfctl.kernel.attach.mprog import Entry, Mprog, relative_entry
from bpfctl.kernel.attach.syscall import prog_of_fd
from bpfctl.kernel.records import Attachment, LinkRecord, ProgRecord, Task
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    BPF_F_AFTER,
    BPF_F_ATTACH_LINK,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_REPLACE,
    LinkCreateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
    ProgQueryResult,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

INGRESS, EGRESS = ATTACH_TYPE_NUMBER["tcx_ingress"], ATTACH_TYPE_NUMBER["tcx_egress"]
LINK_FLAGS = BPF_F_REPLACE | BPF_F_BEFORE | BPF_F_AFTER | BPF_F_ID | BPF_F_ATTACH_LINK


def hook_of(attach_type: int) -> str:
    """Return the name of the attach points of one attach type; their targets are ifindexes."""
    return f"tcx/{attach_type}"


def _list(kernel: Kernel, ifindex: int, attach_type: int) -> Mprog:
    if kernel.objects.netdev(ifindex) is None:
        raise KernelError(E.NODEV, f"no device {ifindex}")
    return Mprog(kernel, hook_of(attach_type), ifindex)


def attach(kernel: Kernel, task: Task, attr: ProgAttachAttr, prog: ProgRecord) -> None:
    """BPF_PROG_ATTACH (tcx_prog_attach)."""
    progs = _list(kernel, attr.target, attr.attach_type)
    replaced = 0
    if attr.attach_flags & BPF_F_REPLACE:
        replaced = prog_of_fd(kernel, task, attr.replace_bpf_fd, "sched_cls").id

    def relative() -> Entry | None:
        return relative_entry(kernel, task, "sched_cls", attr.attach_flags, attr.relative)

    new = Attachment("", 0, 0, prog.id)
    old = progs.attach(new, attr.attach_flags, relative, replaced, attr.expected_revision)
    kernel.progs.inc(prog.id)
    if old is not None:
        kernel.progs.put(old.prog_id)


def detach(kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
    """BPF_PROG_DETACH (tcx_prog_detach): descriptor 0 names no program."""
    prog_id = 0
    if attr.attach_bpf_fd:
        prog_id = prog_of_fd(kernel, task, attr.attach_bpf_fd, "sched_cls").id
    progs = _list(kernel, attr.target, attr.attach_type)

    def relative() -> Entry | None:
        return relative_entry(kernel, task, "sched_cls", attr.attach_flags, attr.relative)

    gone = progs.detach(prog_id, 0, attr.attach_flags, relative, attr.expected_revision)
    kernel.progs.put(gone.prog_id)


def query(kernel: Kernel, task: Task, attr: ProgQueryAttr) -> ProgQueryResult:
    """BPF_PROG_QUERY (tcx_prog_query)."""
    return _list(kernel, attr.target, attr.attach_type).query(attr)


def link(kernel: Kernel, task: Task, attr: LinkCreateAttr, prog: ProgRecord) -> LinkRecord:
    """BPF_LINK_CREATE (tcx_link_attach)."""
    progs = _list(kernel, attr.target, attr.attach_type)
    if attr.flags & ~LINK_FLAGS:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    made = kernel.part(Links).new(
        TcxLink, prog.id, target=attr.target, attach_type=attr.attach_type
    )

    def relative() -> Entry | None:
        return relative_entry(kernel, task, "sched_cls", attr.flags, attr.relative)

    try:
        new = Attachment("", 0, 0, prog.id, made.id)
        progs.attach(new, attr.flags, relative, 0, attr.expected_revision)
    except BaseException:
        kernel.part(Links).free(made)
        raise
    return made


class TcxLink(LinkType):
    """Links at the ingress or egress of devices (struct tcx_link)."""

    name = "tcx"
    own_bytes = 16

    def _list(self, link: LinkRecord) -> Mprog:
        if not link.attached:
            raise KernelError(E.NOLINK, "the device is gone, or the link was detached")
        return Mprog(self.kernel, hook_of(link.attach_type), link.target)

    def detach(self, link: LinkRecord) -> None:
        self._list(link).remove_link(link.id)

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        progs = self._list(link)
        if old_prog and link.prog_id != old_prog:
            raise KernelError(E.PERM, "another program is there")
        if self.kernel.progs.get(new_prog).type != self.kernel.progs.get(link.prog_id).type:
            raise KernelError(E.INVAL, "a program of another type")
        if new_prog != link.prog_id:
            progs.replace_link_prog(link.id, new_prog)

    def details(self, link: LinkRecord) -> dict[str, Any]:
        ifindex = link.target if link.attached else 0
        return {"ifindex": ifindex, "attach_type": link.attach_type}

    def fdinfo(self, link: LinkRecord) -> dict[str, str]:
        names = {"ifindex": "ifindex", "attach_type": "attach_type"}
        details = self.details(link)
        return {name: str(details[key]) for key, name in names.items()}
