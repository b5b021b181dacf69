"""Packets out of nothing: flows of UDP, TCP or ICMP over IPv4 or IPv6, the same for a seed.

Packet ``n`` belongs to flow ``n % flows``. A flow has an address and a source port of its own; what
else differs follows the seed. Ethernet, IP and transport checksums are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count as counting
from itertools import islice
from typing import Final

from bpfctl.kernel.net.checksum import csum_fold, csum_partial
from bpfctl.light import dataclass

ETH_HLEN, VLAN_HLEN = 14, 4
P_IP, P_IPV6, P_8021Q = 0x0800, 0x86DD, 0x8100
PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17}
ICMPV6 = 58
_HEADERS = {"icmp": 8, "tcp": 20, "udp": 8}
MIN_SIZE, MAX_SIZE = 64, 65549
FIRST_PORT = 1024
DISCARD_PORT = 9
_TCP_ACK = 0x10
_MULTIPLIER = 6364136223846793005


@dataclass(frozen=True, slots=True)
class Traffic:
    """What packets to make. ``size``: bytes of a frame without FCS; ``vlan`` 0: no tag."""

    proto: str = "udp"
    size: int = MIN_SIZE
    flows: int = 1
    vlan: int = 0
    ipv6: bool = False
    dport: int = DISCARD_PORT
    seed: int = 0


def least_size(traffic: Traffic) -> int:
    """Return the size in bytes of a packet without payload."""
    vlan = VLAN_HLEN if traffic.vlan else 0
    return ETH_HLEN + vlan + (40 if traffic.ipv6 else 20) + _HEADERS[traffic.proto]


def _mixed(seed: int, number: int) -> int:
    return ((seed * 2 + 1) * _MULTIPLIER + number * 0x9E3779B97F4A7C15) >> 16 & 0xFFFFFFFF


def _addresses(traffic: Traffic, flow: int) -> tuple[bytes, bytes]:
    """Return source and destination of a flow: 198.18.0.0/16 to 198.19.0.1, or 2001:db8::/32."""
    low = (_mixed(traffic.seed, flow) & 0xFFFF if traffic.seed else flow + 1) & 0xFFFF
    if traffic.ipv6:
        prefix = bytes.fromhex("20010db8")
        return (
            prefix + bytes(10) + low.to_bytes(2, "big"),
            prefix + bytes(8) + (1 << 16 | 1).to_bytes(4, "big"),
        )
    return b"\xc6\x12" + low.to_bytes(2, "big"), b"\xc6\x13\x00\x01"


def _transport(traffic: Traffic, flow: int, pseudo: int, length: int) -> bytes:
    """Return header and payload of ``length`` bytes; ``pseudo`` is the sum of the pseudo header."""
    payload = bytes(length - _HEADERS[traffic.proto])
    sport = FIRST_PORT + (flow + _mixed(traffic.seed, 1) * bool(traffic.seed)) % 60000
    ports = sport.to_bytes(2, "big") + traffic.dport.to_bytes(2, "big")
    if traffic.proto == "udp":
        head, at = ports + length.to_bytes(2, "big") + bytes(2), 6
    elif traffic.proto == "tcp":
        head = ports + (flow + 1).to_bytes(4, "big") + bytes(4)
        head, at = head + bytes((5 << 4, _TCP_ACK, 0xFF, 0xFF)) + bytes(4), 16
    else:
        kind = 128 if traffic.ipv6 else 8
        head, at = bytes((kind, 0, 0, 0)) + sport.to_bytes(2, "big") + bytes(2), 2
        pseudo = pseudo if traffic.ipv6 else 0
    total = csum_fold(csum_partial(head + payload, pseudo)).to_bytes(2, "little")
    return head[:at] + total + head[at + 2 :] + payload


def frame(traffic: Traffic, flow: int, source: bytes, target: bytes) -> bytes:
    """Return a packet of a flow between two MAC addresses."""
    ethertype = P_IPV6 if traffic.ipv6 else P_IP
    head = target + source
    if traffic.vlan:
        head += P_8021Q.to_bytes(2, "big") + traffic.vlan.to_bytes(2, "big")
    head += ethertype.to_bytes(2, "big")
    number = ICMPV6 if traffic.ipv6 and traffic.proto == "icmp" else PROTOCOLS[traffic.proto]
    saddr, daddr = _addresses(traffic, flow)
    l4_length = max(traffic.size, least_size(traffic)) - len(head) - (40 if traffic.ipv6 else 20)
    pseudo = csum_partial(saddr + daddr + l4_length.to_bytes(4, "big") + number.to_bytes(4, "big"))
    l4 = _transport(traffic, flow, pseudo, l4_length)
    if traffic.ipv6:
        ip = b"\x60\0\0\0" + l4_length.to_bytes(2, "big") + bytes((number, 64)) + saddr + daddr
        return head + ip + l4
    ip = bytes((0x45, 0)) + (20 + l4_length).to_bytes(2, "big") + bytes(4) + bytes((64, number))
    total = csum_fold(csum_partial(ip + bytes(2) + saddr + daddr)).to_bytes(2, "little")
    return head + ip + total + saddr + daddr + l4


def packets(traffic: Traffic, source: bytes, target: bytes) -> Iterator[bytes]:
    """Yield packets for ever, the flows in turn."""
    made = [frame(traffic, flow, source, target) for flow in range(traffic.flows)]
    for number in counting():
        yield made[number % traffic.flows]


def some(traffic: Traffic, how_many: int, source: bytes, target: bytes) -> Iterator[bytes]:
    """Yield ``how_many`` packets."""
    return islice(packets(traffic, source, target), how_many)
