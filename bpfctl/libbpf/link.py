"""Attaching programs: the libbpf calls for BPF_PROG_ATTACH, links, and XDP by netlink.

Each raises :class:`~bpfctl.errors.KernelError` with the errno of the call.
"""

from __future__ import annotations

from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import Cmd, FdAttr, IdAttr
from bpfctl.uapi_attach import (
    LinkCreateAttr,
    LinkUpdateAttr,
    ProgAttachAttr,
    ProgQueryAttr,
    ProgQueryResult,
)


def bpf_prog_attach(bpf: Bpf, attr: ProgAttachAttr) -> None:
    """Attach a program to a cgroup, map, device or the caller's network namespace."""
    bpf.kernel.bpf(bpf.pid, Cmd.PROG_ATTACH, attr)


def bpf_prog_detach(bpf: Bpf, attr: ProgAttachAttr) -> None:
    """Undo :func:`bpf_prog_attach`."""
    bpf.kernel.bpf(bpf.pid, Cmd.PROG_DETACH, attr)


def bpf_prog_query(bpf: Bpf, attr: ProgQueryAttr) -> ProgQueryResult:
    """Return what is attached somewhere."""
    result: ProgQueryResult = bpf.kernel.bpf(bpf.pid, Cmd.PROG_QUERY, attr)
    return result


def bpf_link_create(bpf: Bpf, attr: LinkCreateAttr) -> int:
    """Return the descriptor of a new link."""
    return int(bpf.kernel.bpf(bpf.pid, Cmd.LINK_CREATE, attr))


def bpf_link_update(bpf: Bpf, attr: LinkUpdateAttr) -> None:
    """Give a link another program."""
    bpf.kernel.bpf(bpf.pid, Cmd.LINK_UPDATE, attr)


def bpf_link_detach(bpf: Bpf, fd: int) -> None:
    """Detach a link for good; it stays until its last descriptor and pin are gone."""
    bpf.kernel.bpf(bpf.pid, Cmd.LINK_DETACH, FdAttr(fd))


def bpf_link_get_fd_by_id(bpf: Bpf, link_id: int) -> int:
    """Open a link by id."""
    return int(bpf.kernel.bpf(bpf.pid, Cmd.LINK_GET_FD_BY_ID, IdAttr(link_id)))


def bpf_link_get_next_id(bpf: Bpf, start: int) -> int:
    """Return the first link id above ``start``; ENOENT when there is none."""
    return int(bpf.kernel.bpf(bpf.pid, Cmd.LINK_GET_NEXT_ID, IdAttr(start)))


def bpf_xdp_attach(
    bpf: Bpf, ifindex: int, prog_fd: int, flags: int, old_prog_fd: int | None = None
) -> None:
    """Attach an XDP program to a device by netlink; ``prog_fd`` -1 removes the one there."""
    bpf.kernel.netlink.set_link_xdp(bpf.pid, ifindex, prog_fd, flags, old_prog_fd)
