"""Devices and the packets that a person sends through them."""

from __future__ import annotations

from bpfctl.kernel.net import pktgen
from bpfctl.kernel.net.device import NetDevice
from bpfctl.system import System


def net_device(system: System, ifindex: int) -> NetDevice | None:
    """Return a device by its index."""
    found: NetDevice | None = system.net.device(ifindex)
    return found


__all__ = ["NetDevice", "net_device", "pktgen"]
