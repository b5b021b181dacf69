"""RTM_SETLINK and RTM_GETLINK, as far as BPF goes: XDP programs of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


class LinkMessage(NamedTuple):
    """What RTM_GETLINK tells of a device; ``xdp`` has the program id of each mode in use."""

    ifindex: int
    name: str
    xdp: dict[str, int]


class Netlink:
    """The routing socket of tasks."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def set_link_xdp(
        self, pid: int, ifindex: int, fd: int, flags: int, expected_fd: int | None = None
    ) -> None:
        """See :func:`bpfctl.kernel.attach.xdp.set_link_xdp`.

        :raises KernelError: EPERM without CAP_NET_ADMIN.
        """
        from bpfctl.errors import E, KernelError
        from bpfctl.kernel.attach.xdp import set_link_xdp
        from bpfctl.kernel.task import CAP_NET_ADMIN, capable

        kernel = self._kernel
        task = kernel.task(pid)
        if not capable(task, CAP_NET_ADMIN):
            raise KernelError(E.PERM, "CAP_NET_ADMIN")
        with kernel.ctx.running(task):
            set_link_xdp(kernel, task, ifindex, fd, flags, expected_fd)

    def links(self) -> list[LinkMessage]:
        """Return the devices by index."""
        from bpfctl.kernel.attach.xdp import DRV, SKB, XdpDevice

        found = []
        for record in self._kernel.objects.records.find(kind="netdev"):
            device = XdpDevice(self._kernel, record)
            rows = {mode: device.current(mode) for mode in (DRV, SKB)}
            xdp = {mode: row.prog_id for mode, row in rows.items() if row is not None}
            found.append(LinkMessage(device.ifindex, record.name, xdp))
        return sorted(found)
