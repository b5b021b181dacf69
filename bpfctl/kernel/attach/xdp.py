"""XDP programs of devices: by netlink and by link (dev_xdp_attach of net/core/dev.c).

A device runs one XDP program, in one of three modes: generic (on any device, in the stack), native
(in the driver, where it knows XDP) or offloaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.attach.link import Links, LinkType
from bpfctl.kernel.attach.state import AttachState
from bpfctl.kernel.objects import LOOPBACK_IFINDEX
from bpfctl.kernel.records import Attachment, LinkRecord, ProgRecord, SimObject, Task
from bpfctl.uapi import PROG_TYPES
from bpfctl.uapi_attach import (
    ATTACH_TYPE_NUMBER,
    XDP_FLAGS_DRV_MODE,
    XDP_FLAGS_HW_MODE,
    XDP_FLAGS_MASK,
    XDP_FLAGS_MODES,
    XDP_FLAGS_REPLACE,
    XDP_FLAGS_SKB_MODE,
    XDP_FLAGS_UPDATE_IF_NOEXIST,
    LinkCreateAttr,
)

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

SKB, DRV, HW = "skb", "drv", "hw"
_OTHER = {SKB: DRV, DRV: SKB}
_MAP_PROGRAMS = (ATTACH_TYPE_NUMBER["xdp_devmap"], ATTACH_TYPE_NUMBER["xdp_cpumap"])


def hook_of(mode: str) -> str:
    """Return the name of the attach points of one mode; their targets are ifindexes."""
    return f"xdp/{mode}"


def _count_modes(flags: int) -> int:
    return (flags & XDP_FLAGS_MODES).bit_count()


class XdpDevice:
    """What XDP there is on one device."""

    def __init__(self, kernel: Kernel, device: SimObject) -> None:
        self._kernel = kernel
        self.ifindex = int(device.priv["ifindex"])
        self._native = bool(device.priv.get("xdp", self.ifindex != LOOPBACK_IFINDEX))

    def mode(self, flags: int) -> str:
        """Return the mode that flags ask for (dev_xdp_mode)."""
        if flags & XDP_FLAGS_HW_MODE:
            return HW
        if flags & XDP_FLAGS_DRV_MODE:
            return DRV
        if flags & XDP_FLAGS_SKB_MODE:
            return SKB
        return DRV if self._native else SKB

    def current(self, mode: str) -> Attachment | None:
        """Return what is attached in a mode."""
        rows = self._kernel.part(AttachState).points.at(hook_of(mode), self.ifindex)
        return rows[0] if rows else None

    def running(self) -> tuple[str, Attachment] | None:
        """Return the mode and attachment of the program that sees packets."""
        for mode in (DRV, SKB):
            found = self.current(mode)
            if found is not None:
                return mode, found
        return None

    def check(self, flags: int, new: ProgRecord | None, old_id: int, by_link: bool) -> str:
        """Test an attachment in the kernel's order; return its mode (dev_xdp_attach).

        ``old_id``: the program that must be there with XDP_FLAGS_REPLACE, 0 for none.

        :raises KernelError: EINVAL, EBUSY, EEXIST, EOPNOTSUPP.
        """
        if by_link and flags & ~XDP_FLAGS_MODES:
            raise KernelError(E.INVAL, f"link flags {flags:#x}")
        if _count_modes(flags) > 1:
            raise KernelError(E.INVAL, "one mode at a time")
        if old_id and not flags & XDP_FLAGS_REPLACE:
            raise KernelError(E.INVAL, "an expected program without XDP_FLAGS_REPLACE")
        mode = self.mode(flags)
        current = self.current(mode)
        if current is not None and (current.link_id or by_link):
            raise KernelError(E.BUSY, "a link and a program do not replace each other")
        if flags & XDP_FLAGS_REPLACE and (current.prog_id if current else 0) != old_id:
            raise KernelError(E.EXIST, "another program than expected is active")
        if new is not None:
            self._check_new(flags, mode, new, current)
        replaced = current.prog_id if current is not None else 0
        changes = (new.id if new is not None else 0) != replaced
        if changes and mode == DRV and not self._native:
            raise KernelError(E.OPNOTSUPP, "the driver knows no XDP")
        return mode

    def _check_new(
        self, flags: int, mode: str, new: ProgRecord, current: Attachment | None
    ) -> None:
        if flags & XDP_FLAGS_UPDATE_IF_NOEXIST and current is not None:
            raise KernelError(E.BUSY, "a program is attached")
        if mode == HW:
            raise KernelError(E.INVAL, "the program is not one for this device")
        if self.current(_OTHER[mode]) is not None:
            raise KernelError(E.EXIST, "native and generic XDP exclude each other")
        if new.priv.get("attach_type", 0) in _MAP_PROGRAMS:
            raise KernelError(E.INVAL, "a program of a devmap or cpumap")

    def put(self, mode: str, row: Attachment | None) -> None:
        """Store what is attached in a mode."""
        rows = [row] if row is not None else []
        self._kernel.part(AttachState).points.put(hook_of(mode), self.ifindex, rows)


def xdp_device(kernel: Kernel, ifindex: int, missing: int) -> XdpDevice:
    """Return the XDP side of a device.

    :raises KernelError: ``missing``: there is none.
    """
    found = kernel.objects.netdev(ifindex)
    if found is None:
        raise KernelError(missing, f"no device {ifindex}")
    return XdpDevice(kernel, found)


def _xdp_prog(kernel: Kernel, task: Task, fd: int) -> ProgRecord:
    from bpfctl.kernel.attach.syscall import prog_of_fd

    return prog_of_fd(kernel, task, fd, "xdp")


def set_link_xdp(
    kernel: Kernel, task: Task, ifindex: int, fd: int, flags: int, expected_fd: int | None
) -> None:
    """IFLA_XDP of RTM_SETLINK: attach (``fd`` -1: remove) a program (dev_change_xdp_fd).

    ``expected_fd`` None is no IFLA_XDP_EXPECTED_FD; -1 expects that nothing is attached.

    :raises KernelError: ENODEV, EBADF, EINVAL, EBUSY, EEXIST, EOPNOTSUPP.
    """
    device = xdp_device(kernel, ifindex, E.NODEV)
    if flags & ~XDP_FLAGS_MASK or _count_modes(flags) > 1:
        raise KernelError(E.INVAL, f"XDP flags {flags:#x}")
    if flags & XDP_FLAGS_REPLACE and expected_fd is None:
        raise KernelError(E.INVAL, "XDP_FLAGS_REPLACE without an expected program")
    new = _xdp_prog(kernel, task, fd) if fd >= 0 else None
    named = expected_fd is not None and expected_fd >= 0
    old = _xdp_prog(kernel, task, expected_fd or 0) if named else None
    mode = device.check(flags, new, old.id if old is not None else 0, by_link=False)
    current = device.current(mode)
    if new is not None:
        kernel.progs.inc(new.id)
    device.put(mode, Attachment("", 0, 0, new.id) if new is not None else None)
    if current is not None:
        kernel.progs.put(current.prog_id)


def link(kernel: Kernel, task: Task, attr: LinkCreateAttr, prog: ProgRecord) -> LinkRecord:
    """BPF_LINK_CREATE (bpf_xdp_link_attach).

    :raises KernelError: EINVAL: no such device, or flags; EBUSY, EEXIST, EOPNOTSUPP; ENOMEM.
    """
    device = xdp_device(kernel, attr.target, E.INVAL)
    made = kernel.part(Links).new(
        XdpLink, prog.id, target=attr.target, attach_type=attr.attach_type, flags=attr.flags
    )
    try:
        mode = device.check(attr.flags, prog, 0, by_link=True)
    except BaseException:
        kernel.part(Links).free(made)
        raise
    made.priv = {"mode": mode}
    device.put(mode, Attachment("", 0, 0, prog.id, made.id))
    return made


class XdpLink(LinkType):
    """Links on devices (struct bpf_xdp_link)."""

    name = "xdp"
    own_bytes = 16

    def _device(self, link: LinkRecord) -> XdpDevice:
        if not link.attached:
            raise KernelError(E.NOLINK, "the device is gone, or the link was detached")
        return xdp_device(self.kernel, link.target, E.NOLINK)

    def detach(self, link: LinkRecord) -> None:
        self._device(link).put(link.priv["mode"], None)

    def update(self, link: LinkRecord, new_prog: int, old_prog: int) -> None:
        progs = self.kernel.progs
        device = self._device(link)
        if old_prog and link.prog_id != old_prog:
            raise KernelError(E.PERM, "another program is there")
        new, present = progs.get(new_prog), progs.get(link.prog_id)
        if PROG_TYPES[new.type] != "xdp" or (
            new.priv.get("attach_type", 0) != present.priv.get("attach_type", 0)
        ):
            raise KernelError(E.INVAL, "a program of another type")
        device.put(link.priv["mode"], Attachment("", 0, 0, new_prog, link.id))

    def details(self, link: LinkRecord) -> dict[str, Any]:
        return {"ifindex": link.target if link.attached else 0}

    def fdinfo(self, link: LinkRecord) -> dict[str, str]:
        return {key: str(value) for key, value in self.details(link).items()}
