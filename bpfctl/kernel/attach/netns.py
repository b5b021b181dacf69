"""Programs of network namespaces: flow dissector and sk_lookup (kernel/bpf/net_namespace.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.link import Links, LinkType
from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.attach.syscall import prog_of_fd
from bpfctl.kernel.records import Attachment, LinkRecord, ProgRecord, Task
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    LinkCreateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
    ProgQueryResult,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

FLOW_DISSECTOR = ATTACH_TYPE_NUMBER["flow_dissector"]
MAX_PROGS = {FLOW_DISSECTOR: 1, ATTACH_TYPE_NUMBER["sk_lookup"]: 64}


def hook_of(attach_type: int) -> str:
    """Return the name of the attach points of one attach type."""
    return f"netns/{attach_type}"


def _current(kernel: Kernel, task: Task) -> int:
    return kernel.part(AttachState).netns_of(task)


def attach(kernel: Kernel, task: Task, attr: ProgAttachAttr, prog: ProgRecord) -> None:
    """BPF_PROG_ATTACH to the caller's namespace: flow dissectors only (netns_bpf_prog_attach).

    :raises KernelError: EINVAL; EEXIST: a link is there; EINVAL again for the same program.
    """
    if attr.target or attr.attach_flags or attr.replace_bpf_fd:
        raise KernelError(E.INVAL, "the caller's own namespace, without flags")
    if attr.attach_type != FLOW_DISSECTOR:
        raise KernelError(E.INVAL, "by link only")
    netns = _current(kernel, task)
    hook = hook_of(attr.attach_type)
    rows = kernel.part(AttachState).points.at(hook, netns)
    if rows and rows[0].link_id:
        raise KernelError(E.EXIST, "a link is attached")
    if rows and rows[0].prog_id == prog.id:
        raise KernelError(E.INVAL, "attached already")
    kernel.part(AttachState).points.put(hook, netns, [Attachment(hook, netns, 0, prog.id)])
    kernel.progs.inc(prog.id)
    for row in rows:
        kernel.progs.put(row.prog_id)


def detach(kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
    """BPF_PROG_DETACH (netns_bpf_prog_detach).

    :raises KernelError: EINVAL: a link is there; ENOENT: nothing, or another program.
    """
    if attr.target:
        raise KernelError(E.INVAL, "the caller's own namespace")
    if attr.attach_type != FLOW_DISSECTOR:
        raise KernelError(E.INVAL, "by link only")
    prog = prog_of_fd(kernel, task, attr.attach_bpf_fd)
    netns = _current(kernel, task)
    hook = hook_of(attr.attach_type)
    rows = kernel.part(AttachState).points.at(hook, netns)
    if rows and rows[0].link_id:
        raise KernelError(E.INVAL, "a link is attached")
    if not rows or rows[0].prog_id != prog.id:
        raise KernelError(E.NOENT, "not attached")
    kernel.part(AttachState).points.put(hook, netns, ())
    kernel.progs.put(prog.id)


def _netns_of_fd(kernel: Kernel, task: Task, fd: int) -> int:
    file = kernel.files.get(task.pid, fd)
    if file.obj_kind != "netns":
        raise KernelError(E.INVAL, f"fd {fd} is not a network namespace")
    return file.obj_id


def query(kernel: Kernel, task: Task, attr: ProgQueryAttr) -> ProgQueryResult:
    """BPF_PROG_QUERY (netns_bpf_prog_query)."""
    if attr.query_flags:
        raise KernelError(E.INVAL, f"query_flags {attr.query_flags:#x}")
    netns = _netns_of_fd(kernel, task, attr.target)
    rows = kernel.part(AttachState).points.at(hook_of(attr.attach_type), netns)
    result = ProgQueryResult(prog_cnt=len(rows))
    if attr.prog_cnt and attr.want_prog_ids and rows:
        result.prog_ids = tuple(row.prog_id for row in rows[: attr.prog_cnt])
        if attr.prog_cnt < len(rows):
            result.errno = E.NOSPC
    return result


def link(kernel: Kernel, task: Task, attr: LinkCreateAttr, prog: ProgRecord) -> LinkRecord:
    """BPF_LINK_CREATE (netns_bpf_link_create).

    :raises KernelError: EINVAL; EBADF; EEXIST: a program is attached without link; E2BIG: as many
        links as the hook takes.
    """
    if attr.flags:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    netns = _netns_of_fd(kernel, task, attr.target)
    hook = hook_of(attr.attach_type)
    rows = kernel.part(AttachState).points.at(hook, netns)
    if rows and not rows[0].link_id:
        raise KernelError(E.EXIST, "a program is attached")
    if len(rows) >= MAX_PROGS[attr.attach_type]:
        raise KernelError(E.BIG, f"{len(rows)} links")
    made = kernel.part(Links).new(NetnsLink, prog.id, target=netns, attach_type=attr.attach_type)
    rows.append(Attachment(hook, netns, 0, prog.id, made.id))
    kernel.part(AttachState).points.put(hook, netns, rows)
    return made


class NetnsLink(LinkType):
    """Links on network namespaces (struct bpf_netns_link)."""

    name = "netns"
    own_bytes = 32

    def _rows(self, link: LinkRecord) -> list[Attachment]:
        return self.kernel.part(AttachState).points.at(hook_of(link.attach_type), link.target)

    def detach(self, link: LinkRecord) -> None:
        rows = [row for row in self._rows(link) if row.link_id != link.id]
        self.kernel.part(AttachState).points.put(hook_of(link.attach_type), link.target, rows)

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        if old_prog and link.prog_id != old_prog:
            raise KernelError(E.PERM, "another program is there")
        progs = self.kernel.progs
        if progs.get(new_prog).type != progs.get(link.prog_id).type:
            raise KernelError(E.INVAL, "a program of another type")
        if not link.attached:
            raise KernelError(E.NOLINK, "the namespace is gone, or the link was detached")
        for row in self._rows(link):
            if row.link_id == link.id:
                row.prog_id = new_prog

    def details(self, link: LinkRecord) -> dict[str, Any]:
        ino = self.kernel.part(AttachState).netns_ino(link.target) if link.attached else 0
        return {"netns_ino": ino, "attach_type": link.attach_type}

    def fdinfo(self, link: LinkRecord) -> dict[str, str]:
        return {key: str(value) for key, value in self.details(link).items()}
