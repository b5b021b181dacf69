"""Net devices, as far as packets need to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.light import dataclass

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

LOOPBACK_IFINDEX = 1
LOOPBACK_MTU = 65536
ETH_DATA_LEN = 1500
ZERO_ADDRESS = bytes(6)
BROADCAST = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class NetDevice:
    """struct net_device: index, name, MTU in bytes, MAC addresses."""

    ifindex: int
    name: str
    mtu: int
    address: bytes
    broadcast: bytes


def net_device(kernel: Kernel, ifindex: int) -> NetDevice | None:
    """Return a device of the machine, or None."""
    found = kernel.objects.netdev(ifindex)
    if found is None:
        return None
    if ifindex == LOOPBACK_IFINDEX:
        return NetDevice(ifindex, found.name, LOOPBACK_MTU, ZERO_ADDRESS, ZERO_ADDRESS)
    # A locally administered address made of the index, as virtual devices have random ones.
    address = bytes((2, 0, 0, 0, ifindex >> 8 & 0xFF, ifindex & 0xFF))
    return NetDevice(ifindex, found.name, ETH_DATA_LEN, address, BROADCAST)
