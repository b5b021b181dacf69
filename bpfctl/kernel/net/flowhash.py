"""The flow hash of a packet: what skb_get_hash() makes of addresses, protocol and ports.

The kernel's hash is keyed by a secret that is drawn at boot, so only its being 0 or not, and
that equal flows have equal hashes, means anything.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING

from bpfctl.kernel.net import eth

if TYPE_CHECKING:
    from bpfctl.kernel.net.skb import Skb

IPPROTO_IPIP, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_IPV6, IPPROTO_GRE = 4, 6, 17, 41, 47
PORTS = frozenset((IPPROTO_TCP, IPPROTO_UDP, 33, 132, 136))
EXTENSIONS = frozenset((0, 43, 60))
FRAGMENT = 44
MAX_HEADERS = 15


class _Cursor:
    def __init__(self, skb: Skb) -> None:
        self.content = skb.buf.read(skb.network_header, skb.buf.tail - skb.network_header)
        self.at = 0

    def take(self, size: int) -> bytes | None:
        if self.at + size > len(self.content):
            return None
        found = self.content[self.at : self.at + size]
        self.at += size
        return found


def flow_hash(skb: Skb, seed: int) -> tuple[int, bool]:
    """Return a hash, and whether ports are in it."""
    keys, has_ports = _dissect(_Cursor(skb), skb.protocol)
    if not keys:
        return 0, False
    digest = blake2s(b"".join(keys), digest_size=4, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") or 1, has_ports


def _dissect(cursor: _Cursor, protocol: int) -> tuple[list[bytes], bool]:
    """Follow VLAN tags, IP and tunnels to the innermost addresses and ports."""
    keys: list[bytes] = [protocol.to_bytes(2, "little")]
    for _ in range(MAX_HEADERS):
        if protocol in eth.VLAN_PROTOCOLS:
            tag = cursor.take(4)
            if tag is None:
                return keys, False
            protocol = int.from_bytes(tag[2:4], "little")
            keys.append(tag)
            continue
        if protocol not in (eth.P_IP, eth.P_IPV6):
            return keys, False
        found = _ip(cursor, protocol)
        if found is None:
            return keys, False
        addresses, transport, fragment = found
        keys = [addresses, bytes((transport,))]
        if fragment:
            return keys, False
        if transport in (IPPROTO_IPIP, IPPROTO_IPV6):
            protocol = eth.P_IP if transport == IPPROTO_IPIP else eth.P_IPV6
            continue
        ports = cursor.take(4) if transport in PORTS else None
        return ([*keys, ports], True) if ports else (keys, False)
    return keys, False


def _ip(cursor: _Cursor, protocol: int) -> tuple[bytes, int, bool] | None:
    """Return addresses, transport protocol and whether it is a fragment."""
    if protocol == eth.P_IP:
        header = cursor.take(20)
        if header is None or header[0] & 0xF < 5:
            return None
        cursor.at += (header[0] & 0xF) * 4 - 20
        return header[12:20], header[9], bool(int.from_bytes(header[6:8], "big") & 0x3FFF)
    header = cursor.take(40)
    if header is None:
        return None
    following = header[6]
    while following in EXTENSIONS:
        extension = cursor.take(8)
        if extension is None:
            break
        following = extension[0]
        cursor.at += extension[1] * 8
    if following == FRAGMENT:
        fragment = cursor.take(8)
        return header[8:40], fragment[0] if fragment else following, True
    return header[8:40], following, False
