"""The cgroup family of bpf(2): programs and links on cgroups (kernel/bpf/cgroup.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.cgroup import Anchor, Beside, CgroupProgs
from bpfctl.kernel.attach.link import Links, LinkType
from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.attach.syscall import prog_of_fd
from bpfctl.kernel.attach.types import BY_NUMBER
from bpfctl.kernel.records import Attachment, LinkRecord, Memcg, ProgRecord, Task
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    BPF_F_AFTER,
    BPF_F_ALLOW_MULTI,
    BPF_F_ATTACH_LINK,
    BPF_F_BEFORE,
    BPF_F_ID,
    BPF_F_PREORDER,
    BPF_F_QUERY_EFFECTIVE,
    BPF_F_REPLACE,
    LinkCreateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
    ProgQueryResult,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

LSM_CGROUP = ATTACH_TYPE_NUMBER["lsm_cgroup"]
LINK_FLAGS = BPF_F_ID | BPF_F_BEFORE | BPF_F_AFTER | BPF_F_PREORDER | BPF_F_ATTACH_LINK


def cgroup_of_fd(kernel: Kernel, task: Task, fd: int) -> Memcg:
    """Return the cgroup whose directory a descriptor is open on (cgroup_get_from_fd).

    :raises KernelError: EBADF: no descriptor, or not of a cgroup.
    """
    file = kernel.files.get(task.pid, fd)
    found = kernel.objects.records.get(file.obj_id) if file.obj_kind == "cgroup" else None
    memcg = kernel.memcg.find(int(found.priv["memcg"])) if found is not None else None
    if memcg is None:
        raise KernelError(E.BADF, f"fd {fd} is not a cgroup")
    return memcg


def _anchor(kernel: Kernel, task: Task, flags: int, relative: int) -> Anchor:
    """Return what ``relative`` names: a program or link, by descriptor or id.

    :raises KernelError: EBADF, EINVAL, ENOENT.
    """
    by_id, link = flags & BPF_F_ID, flags & BPF_F_ATTACH_LINK
    if link and by_id:
        return Anchor(link_id=kernel.part(Links).get(relative).id)
    if by_id:
        return Anchor(prog_id=kernel.progs.get(relative).id)
    file = kernel.files.get(task.pid, relative)
    if file.obj_kind != ("link" if link else "prog"):
        raise KernelError(E.INVAL, f"fd {relative} is not what the flags say")
    return Anchor(link_id=file.obj_id) if link else Anchor(prog_id=file.obj_id)


def attach(kernel: Kernel, task: Task, attr: ProgAttachAttr, prog: ProgRecord) -> None:
    """BPF_PROG_ATTACH (cgroup_bpf_prog_attach)."""
    cgroup = cgroup_of_fd(kernel, task, attr.target)
    flags = attr.attach_flags
    replaced = 0
    if flags & BPF_F_ALLOW_MULTI and flags & BPF_F_REPLACE:
        prog_type = BY_NUMBER[attr.attach_type].prog_type
        replaced = prog_of_fd(kernel, task, attr.replace_bpf_fd, prog_type).id
    progs = CgroupProgs(kernel, attr.attach_type)
    new = Attachment("", 0, 0, prog.id, 0, flags)
    kernel.part(AttachState).alloc_storages(prog, cgroup, attr.attach_type)
    beside = Beside(attr.relative, lambda: _anchor(kernel, task, flags, attr.relative))
    old = progs.attach(cgroup, new, replaced, beside, attr.expected_revision)
    kernel.progs.inc(prog.id)
    if old is not None and not old.link_id:
        kernel.progs.put(old.prog_id)


def detach(kernel: Kernel, task: Task, attr: ProgAttachAttr) -> None:
    """BPF_PROG_DETACH (cgroup_bpf_prog_detach). A bad program descriptor names none."""
    cgroup = cgroup_of_fd(kernel, task, attr.target)
    try:
        prog_id = prog_of_fd(
            kernel, task, attr.attach_bpf_fd, BY_NUMBER[attr.attach_type].prog_type
        ).id
    except KernelError:
        prog_id = 0
    gone = CgroupProgs(kernel, attr.attach_type).detach(
        cgroup, prog_id, revision=attr.expected_revision
    )
    if gone.link_id:
        kernel.part(Links).get(gone.link_id).attached = 0
    else:
        kernel.progs.put(gone.prog_id)


def query(kernel: Kernel, task: Task, attr: ProgQueryAttr) -> ProgQueryResult:
    """BPF_PROG_QUERY (__cgroup_bpf_query)."""
    rules = kernel.profile.attach
    if attr.query_flags & ~BPF_F_QUERY_EFFECTIVE:
        raise KernelError(E.INVAL, f"query_flags {attr.query_flags:#x}")
    effective = bool(attr.query_flags & BPF_F_QUERY_EFFECTIVE)
    if attr.want_prog_attach_flags and (effective or not rules.query_prog_flags):
        raise KernelError(E.INVAL, "no flags of each program")
    if attr.want_link_ids and not rules.cgroup_order:
        raise KernelError(E.INVAL, "no ids of links")
    cgroup = cgroup_of_fd(kernel, task, attr.target)
    wants_ids = bool(attr.prog_cnt and attr.want_prog_ids)
    if attr.attach_type == LSM_CGROUP and wants_ids and not attr.want_prog_attach_flags:
        # Programs on several hooks: a list without their flags would tell too little.
        raise KernelError(E.INVAL, "flags of each program are needed")
    progs = CgroupProgs(kernel, attr.attach_type)
    rows = progs.effective(cgroup) if effective else progs.own(cgroup)
    mode = kernel.part(AttachState).points.flags(progs.hook, cgroup.id)
    result = ProgQueryResult(
        prog_cnt=len(rows),
        attach_flags=0 if effective and rules.effective_hides_flags else mode,
    )
    if rules.cgroup_order and not effective:
        result.revision = kernel.part(AttachState).points.revision(progs.hook, cgroup.id)
    if not wants_ids or not rows:
        return result
    if attr.prog_cnt < len(rows):
        result.errno = E.NOSPC
    shown = rows[: attr.prog_cnt]
    result.prog_ids = tuple(row.prog_id for row in shown)
    if attr.want_prog_attach_flags:
        result.prog_attach_flags = tuple(mode for _ in shown)
    return result


def link(kernel: Kernel, task: Task, attr: LinkCreateAttr, prog: ProgRecord) -> LinkRecord:
    """BPF_LINK_CREATE (cgroup_bpf_link_attach)."""
    known = LINK_FLAGS if kernel.profile.attach.cgroup_order else 0
    if attr.flags & ~known:
        raise KernelError(E.INVAL, f"flags {attr.flags:#x}")
    if not known and (attr.relative or attr.expected_revision):
        raise KernelError(E.INVAL, "no order here")
    cgroup = cgroup_of_fd(kernel, task, attr.target)
    flags = attr.flags | BPF_F_ALLOW_MULTI
    made = kernel.part(Links).new(
        CgroupLink, prog.id, target=cgroup.id, attach_type=attr.attach_type, flags=attr.flags
    )
    try:
        kernel.part(AttachState).alloc_storages(prog, cgroup, attr.attach_type)
        CgroupProgs(kernel, attr.attach_type).attach(
            cgroup, Attachment("", 0, 0, prog.id, made.id, flags), 0,
            Beside(attr.relative, lambda: _anchor(kernel, task, flags, attr.relative)),
            attr.expected_revision,
        )  # fmt: skip
    except BaseException:
        kernel.part(Links).free(made)
        raise
    return made


class CgroupLink(LinkType):
    """Links on cgroups (struct bpf_cgroup_link)."""

    name = "cgroup"
    own_bytes = 16

    def _cgroup(self, link: LinkRecord) -> Memcg:
        found = self.kernel.memcg.find(link.target) if link.attached else None
        if found is None:
            raise KernelError(E.NOLINK, "the cgroup is gone, or the link was detached")
        return found

    def detach(self, link: LinkRecord) -> None:
        CgroupProgs(self.kernel, link.attach_type).detach(self._cgroup(link), link_id=link.id)

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        kernel = self.kernel
        cgroup = self._cgroup(link)
        if old_prog and link.prog_id != old_prog:
            raise KernelError(E.PERM, "another program is there")
        if kernel.progs.get(new_prog).type != kernel.progs.get(link.prog_id).type:
            raise KernelError(E.INVAL, "a program of another type")
        CgroupProgs(kernel, link.attach_type).replace_link_prog(cgroup, link.id, new_prog)

    def details(self, link: LinkRecord) -> dict[str, Any]:
        return {
            "cgroup_id": link.target if link.attached else 0,
            "attach_type": link.attach_type,
        }

    def fdinfo(self, link: LinkRecord) -> dict[str, str]:
        return {key: str(value) for key, value in self.details(link).items()}
