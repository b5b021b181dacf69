"""Packet helpers' work on a packet: the part of net/core/filter.c that changes headers and room.

Functions return 0 or a negative errno, as the kernel's do.
"""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.net import checksum, eth
from bpfctl.kernel.net.skb import CHECKSUM_NONE, CHECKSUM_UNNECESSARY, MAX_CSUM_LEVEL, Skb

SKB_MAX_ALLOC = (4096 << 2) - 320
"""Bytes of the largest linear packet that helpers may make."""
IPV4_HLEN, IPV6_HLEN = 20, 40
PACKET_OTHERHOST = 3
S32_MAX = 0x7FFFFFFF

ADJ_ROOM_NET, ADJ_ROOM_MAC = 0, 1
FIXED_GSO = 1
ENCAP_L3_IPV4, ENCAP_L3_IPV6, ENCAP_L4_GRE, ENCAP_L4_UDP = 2, 4, 8, 16
NO_CSUM_RESET = 32
ENCAP_L2_ETH = 64
DECAP_L3_IPV4, DECAP_L3_IPV6 = 128, 256
ENCAP_L3 = ENCAP_L3_IPV4 | ENCAP_L3_IPV6
DECAP_L3 = DECAP_L3_IPV4 | DECAP_L3_IPV6
L2_LEN_SHIFT = 56
L2_LEN_MASK = 0xFF << L2_LEN_SHIFT
ADJ_ROOM_MAX = 0xFFF


def base_len(protocol: int) -> int:
    """Return the least length of a network header, 0 for other protocols than IP."""
    return {eth.P_IP: IPV4_HLEN, eth.P_IPV6: IPV6_HLEN}.get(protocol, 0)


def network_offset(skb: Skb) -> int:
    """skb_network_offset()."""
    return skb.network_header - skb.buf.data


def reset_unnecessary(skb: Skb) -> None:
    """__skb_reset_checksum_unnecessary()."""
    if skb.ip_summed == CHECKSUM_UNNECESSARY:
        skb.ip_summed = CHECKSUM_NONE
        skb.csum_level = 0


def change_tail(skb: Skb, length: int, flags: int) -> int:
    """bpf_skb_change_tail: EINVAL for a length that cuts headers or is too large."""
    if flags or length > SKB_MAX_ALLOC or length < max(network_offset(skb), 0):
        return -E.INVAL
    if skb.encapsulation:
        return -E.NOTSUPP
    if length > skb.len:
        skb.grow(length)
    else:
        skb.trim(length)
    if skb.gso_size:
        skb.gso_size = skb.gso_segs = skb.gso_type = 0
    return 0


def change_head(skb: Skb, room: int, flags: int) -> int:
    """bpf_skb_change_head: ``room`` zero bytes become the new MAC header's place."""
    if flags or room > S32_MAX or skb.len + room > SKB_MAX_ALLOC:
        return -E.INVAL
    skb.push(room)
    skb.buf.write(skb.buf.data, bytes(room))
    skb.mac_header = skb.buf.data
    return 0


def change_type(skb: Skb, kind: int) -> int:
    """bpf_skb_change_type: among host, broadcast, multicast and other host."""
    if kind > PACKET_OTHERHOST or skb.pkt_type > PACKET_OTHERHOST:
        return -E.INVAL
    skb.pkt_type = kind
    return 0


def change_proto(skb: Skb, protocol: int, flags: int) -> int:
    """bpf_skb_change_proto: IPv4 to IPv6 or back; 524 for all else."""
    if flags:
        return -E.INVAL
    grow = IPV6_HLEN - IPV4_HLEN
    mac_len = skb.network_header - skb.mac_header
    if (skb.protocol, protocol) == (eth.P_IP, eth.P_IPV6):
        _net_hdr_push(skb, mac_len, grow)
    elif (skb.protocol, protocol) == (eth.P_IPV6, eth.P_IP):
        failed = _net_hdr_pop(skb, mac_len, grow)
        if failed:
            return failed
    else:
        return -E.NOTSUPP
    skb.protocol = protocol
    skb.clear_hash()
    return 0


def _net_hdr_push(skb: Skb, offset: int, count: int) -> None:
    same = skb.transport_header == skb.network_header
    skb.insert(offset, count)
    skb.mac_header -= count
    skb.network_header -= count
    if same:
        skb.transport_header = skb.network_header


def _net_hdr_pop(skb: Skb, offset: int, count: int) -> int:
    same = skb.transport_header == skb.network_header
    failed = skb.remove(offset, count)
    if failed:
        return failed
    skb.mac_header += count
    skb.network_header += count
    if same:
        skb.transport_header = skb.network_header
    return 0


def adjust_room(skb: Skb, delta: int, mode: int, flags: int, known: int) -> int:
    """bpf_skb_adjust_room: ``known`` are the flags of this release.

    EINVAL (flags), EFAULT (more than 4095 bytes), 524 (protocol, mode, too little left).
    """
    if flags & ~known:
        return -E.INVAL
    if abs(delta) > ADJ_ROOM_MAX:
        return -E.FAULT
    least = base_len(skb.protocol)
    if not least:
        return -E.NOTSUPP
    shrink = delta < 0
    offset = skb.network_header - skb.mac_header
    if mode == ADJ_ROOM_NET:
        offset += least
    elif mode != ADJ_ROOM_MAC:
        return -E.NOTSUPP
    if flags & DECAP_L3:
        if not shrink or flags & DECAP_L3 == DECAP_L3:
            return -E.INVAL
        least = IPV4_HLEN if flags & DECAP_L3_IPV4 else IPV6_HLEN
    left = skb.len - network_offset(skb) + delta
    if shrink and (left <= 0 or left < least):
        return -E.NOTSUPP
    if not shrink and skb.len + delta > SKB_MAX_ALLOC and not skb.gso_size:
        return -E.NOTSUPP
    if shrink:
        failed = _net_shrink(skb, offset, -delta, flags)
    else:
        failed = _net_grow(skb, offset, delta, flags)
    if not failed and not flags & NO_CSUM_RESET:
        reset_unnecessary(skb)
    return failed


def _net_shrink(skb: Skb, offset: int, count: int, flags: int) -> int:
    failed = _net_hdr_pop(skb, offset, count)
    if failed:
        return failed
    if skb.protocol == eth.P_IP and flags & DECAP_L3_IPV6:
        skb.protocol = eth.P_IPV6
    elif skb.protocol == eth.P_IPV6 and flags & DECAP_L3_IPV4:
        skb.protocol = eth.P_IP
    return 0


def _net_grow(skb: Skb, offset: int, count: int, flags: int) -> int:
    encap = bool(flags & ENCAP_L3)
    mac_len = skb.network_header - skb.mac_header
    if encap:
        inner_mac = (flags & L2_LEN_MASK) >> L2_LEN_SHIFT
        if flags & ENCAP_L3 == ENCAP_L3:
            return -E.INVAL
        if flags & ENCAP_L4_GRE and flags & ENCAP_L4_UDP:
            return -E.INVAL
        if flags & ENCAP_L2_ETH and inner_mac < eth.HLEN:
            return -E.INVAL
        if skb.encapsulation:
            return -E.ALREADY
        if inner_mac > count:
            return -E.INVAL
    _net_hdr_push(skb, offset, count)
    if encap:
        skb.encapsulation = True
        skb.network_header = skb.buf.data + mac_len
        if flags & (ENCAP_L4_GRE | ENCAP_L4_UDP):
            header = IPV6_HLEN if flags & ENCAP_L3_IPV6 else IPV4_HLEN
            skb.transport_header = skb.buf.data + mac_len + header
        if skb.protocol == eth.P_IP and flags & ENCAP_L3_IPV6:
            skb.protocol = eth.P_IPV6
        elif skb.protocol == eth.P_IPV6 and flags & ENCAP_L3_IPV4:
            skb.protocol = eth.P_IP
    return 0


def ecn_set_ce(skb: Skb) -> int:
    """Mark congestion experienced: 1 if the packet carries the mark now (INET_ECN_set_ce)."""
    least = base_len(skb.protocol)
    if not least or skb.len < least or skb.network_header + least > skb.buf.tail:
        return 0
    at = skb.network_header
    header = bytearray(skb.buf.read(at, least))
    if skb.protocol == eth.P_IPV6:
        if not header[1] & 0x30:
            return 0
        header[1] |= 0x30
    else:
        ecn = (header[1] + 1) & 3
        if not ecn & 2:
            return int(not ecn)
        swapped = int.from_bytes((0xFFFB + ecn).to_bytes(4, "big")[2:], "little")
        if 0xFFFB + ecn > 0xFFFF:
            swapped = checksum.csum16_add(swapped, 0x0100)
        check = int.from_bytes(header[10:12], "little")
        header[10:12] = checksum.csum16_add(check, swapped).to_bytes(2, "little")
        header[1] |= 3
    skb.buf.write(at, bytes(header))
    return 1


def csum_level(skb: Skb, what: int) -> int:
    """bpf_csum_level: 0 asks for the level (EACCES if there is none), 1 up, 2 down, 3 reset."""
    if what > 3:
        return -E.INVAL
    unnecessary = skb.ip_summed == CHECKSUM_UNNECESSARY
    if what == 0:
        return skb.csum_level if unnecessary else -E.ACCES
    if what == 1:
        if unnecessary:
            skb.csum_level = min(skb.csum_level + 1, MAX_CSUM_LEVEL)
        elif skb.ip_summed == CHECKSUM_NONE:
            skb.ip_summed, skb.csum_level = CHECKSUM_UNNECESSARY, 0
    elif what == 2 and unnecessary:
        if skb.csum_level:
            skb.csum_level -= 1
        else:
            skb.ip_summed = CHECKSUM_NONE
    elif what == 3:
        reset_unnecessary(skb)
    return 0
