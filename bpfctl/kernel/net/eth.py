"""Ethernet: what eth_type_trans() makes of a header. Protocols are little-endian words."""

from __future__ import annotations

HLEN = 14
P_IP = 0x0008
P_IPV6 = 0xDD86
P_8021Q = 0x0081
P_8021AD = 0xA888
P_802_3 = 0x0100
P_802_2 = 0x0400
VLAN_PROTOCOLS = (P_8021Q, P_8021AD)
_FIRST_TYPE = 0x0600

PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)


def protocol(header: bytes, behind: bytes) -> int:
    """Return skb->protocol of a frame whose payload begins with ``behind``."""
    if int.from_bytes(header[12:14], "big") >= _FIRST_TYPE:
        return int.from_bytes(header[12:14], "little")
    return P_802_3 if behind == b"\xff\xff" else P_802_2


def packet_type(header: bytes, local: bytes, broadcast: bytes) -> int:
    """Return PACKET_* of a frame that arrives at a device with these addresses."""
    target = header[:6]
    if target == local:
        return PACKET_HOST
    if target == broadcast:
        return PACKET_BROADCAST
    return PACKET_MULTICAST if target[0] & 1 else PACKET_OTHERHOST
