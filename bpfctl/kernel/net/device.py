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
    """struct net_device: index, name, MTU in bytes, MAC addresses; ``peer`` is the name of the
    other end of a veth pair, ``queues`` how many it receives on."""

    ifindex: int
    name: str
    mtu: int
    address: bytes
    broadcast: bytes
    peer: str = ""
    up: bool = True
    queues: int = 1

    @property
    def loopback(self) -> bool:
        """Whether it sends to itself."""
        return self.ifindex == LOOPBACK_IFINDEX


def net_device(kernel: Kernel, ifindex: int) -> NetDevice | None:
    """Return a device of the machine, or None."""
    found = kernel.objects.netdev(ifindex)
    if found is None:
        return None
    if ifindex == LOOPBACK_IFINDEX:
        return NetDevice(ifindex, found.name, LOOPBACK_MTU, ZERO_ADDRESS, ZERO_ADDRESS)
    facts = found.priv
    mac = facts.get("mac", "")
    # A locally administered address made of the index, as virtual devices have random ones.
    made = bytes((2, 0, 0, 0, ifindex >> 8 & 0xFF, ifindex & 0xFF))
    return NetDevice(
        ifindex,
        found.name,
        facts.get("mtu", ETH_DATA_LEN),
        bytes.fromhex(mac.replace(":", "")) if mac else made,
        BROADCAST,
        facts.get("peer", ""),
        facts.get("up", True),
        facts.get("queues", 1),
    )
