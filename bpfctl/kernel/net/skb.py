"""struct sk_buff: a linear packet with headers, tags and checksum state.

Mirrors include/linux/skbuff.h and net/core/skbuff.c as far as programs can tell. Programs see
struct __sk_buff; fields that they may write live in its memory, the others are written there
by :meth:`Skb.sync`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E
from bpfctl.kernel.net import eth
from bpfctl.kernel.net.checksum import csum_add, csum_partial, csum_sub
from bpfctl.kernel.net.packet import PacketBuffer

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.arena import Arena

HEADROOM = 64
"""NET_SKB_PAD + NET_IP_ALIGN on x86-64."""
TAILROOM = 320
SK_BUFF_SIZE = 192

SKF_NET_OFF, SKF_LL_OFF = -0x100000, -0x200000
"""Offsets of legacy loads from here on count from the network or the MAC header."""

CHECKSUM_NONE, CHECKSUM_UNNECESSARY, CHECKSUM_COMPLETE, CHECKSUM_PARTIAL = range(4)
MAX_CSUM_LEVEL = 3


class Field:
    """Offsets of struct __sk_buff."""

    LEN = 0
    PKT_TYPE = 4
    MARK = 8
    QUEUE_MAPPING = 12
    PROTOCOL = 16
    VLAN_PRESENT = 20
    VLAN_TCI = 24
    VLAN_PROTO = 28
    PRIORITY = 32
    INGRESS_IFINDEX = 36
    IFINDEX = 40
    TC_INDEX = 44
    CB = 48
    HASH = 68
    TC_CLASSID = 72
    DATA = 76
    DATA_END = 80
    NAPI_ID = 84
    FAMILY = 88
    REMOTE_IP4 = 92
    LOCAL_IP4 = 96
    REMOTE_IP6 = 100
    LOCAL_IP6 = 116
    REMOTE_PORT = 132
    LOCAL_PORT = 136
    DATA_META = 140
    TSTAMP = 152
    WIRE_LEN = 160
    GSO_SEGS = 164
    SK = 168
    GSO_SIZE = 176
    TSTAMP_TYPE = 180
    HWTSTAMP = 184


class Skb:
    """One packet. ``mac_header`` and the other headers are offsets in the buffer.

    ``protocol`` and ``vlan_proto`` are as in the frame read as a little-endian word (0x0008 is
    IPv4), as programs see them.
    """

    def __init__(self, mem: Arena, content: bytes, ctx_size: int = SK_BUFF_SIZE) -> None:
        self.mem = mem
        self.buf = PacketBuffer(mem, content, HEADROOM, TAILROOM)
        self.ctx_size = ctx_size
        self.ctx_region = mem.alloc(SK_BUFF_SIZE, "ctx")
        self.addr = self.ctx_region.start
        self.mac_header = self.network_header = self.transport_header = self.buf.data
        self.data_meta_len = 0
        self.direct = True
        self.protocol = 0
        self.pkt_type = 0
        self.ifindex = 1
        self.hash = 0
        self.l4_hash = False
        self.vlan: tuple[int, int] | None = None
        self.ip_summed = CHECKSUM_NONE
        self.csum = 0
        self.csum_level = 0
        self.gso_size = 0
        self.gso_segs = 0
        self.gso_type = 0
        self.encapsulation = False
        self.tunnel: dict[str, Any] | None = None
        self.tstamp_type = 0
        self.family = 0

    # --- what programs see ---------------------------------------------

    def sync(self) -> None:
        """Write the read-only fields of __sk_buff, and the pointers to the packet."""
        proto, tci = self.vlan or (0, 0)
        values = [
            (Field.LEN, self.buf.len),
            (Field.PKT_TYPE, self.pkt_type),
            (Field.PROTOCOL, self.protocol),
            (Field.VLAN_PRESENT, int(self.vlan is not None)),
            (Field.VLAN_TCI, tci),
            (Field.VLAN_PROTO, proto),
            (Field.IFINDEX, self.ifindex),
            (Field.HASH, self.hash),
            (Field.GSO_SEGS, self.gso_segs),
            (Field.GSO_SIZE, self.gso_size),
            (Field.TSTAMP_TYPE, self.tstamp_type),
        ]
        if self.direct:
            values += [
                (Field.DATA, self.buf.addr),
                (Field.DATA_END, self.buf.end),
                (Field.DATA_META, self.buf.addr - self.data_meta_len),
            ]
        for offset, value in values:
            self.mem.store(self.addr + offset, 4, value)

    def frame(self) -> bytes:
        """The packet from its MAC header on."""
        return self.buf.read(self.mac_header, self.buf.tail - self.mac_header)

    def get(self, offset: int, size: int = 4) -> int:
        """Read a field of __sk_buff."""
        return self.mem.load(self.addr + offset, size)

    def set(self, offset: int, value: int, size: int = 4) -> None:
        """Write a field of __sk_buff."""
        self.mem.store(self.addr + offset, size, value)

    def release(self) -> None:
        """Give the memory back."""
        self.buf.release()
        self.mem.free(self.ctx_region)

    @property
    def len(self) -> int:
        """Bytes of the packet."""
        return self.buf.len

    @property
    def mac_len(self) -> int:
        """Bytes from the MAC header to the network header."""
        return self.network_header - self.mac_header

    # --- room -----------------------------------------------------------

    def _moved(self, by: int) -> None:
        self.mac_header += by
        self.network_header += by
        self.transport_header += by

    def cow(self, head: int) -> None:
        """Make sure of ``head`` bytes in front of the data (skb_cow)."""
        if self.buf.data < head:
            self._moved(self.buf.expand(-(-(head - self.buf.data) // 64) * 64, 0))

    def push(self, count: int) -> None:
        """Let the packet begin ``count`` bytes earlier (__skb_push)."""
        self.cow(count)
        self.buf.data -= count

    def pull(self, count: int) -> None:
        """Let the packet begin ``count`` bytes later (__skb_pull)."""
        self.buf.data += count

    def trim(self, length: int) -> None:
        """Cut the packet to ``length`` bytes."""
        self.buf.tail = self.buf.data + length

    def grow(self, length: int) -> None:
        """Lengthen the packet with zeros to ``length`` bytes."""
        more = length - self.buf.len
        room = self.buf.size - self.buf.tail
        if more > room:
            self.buf.expand(0, more - room)
        self.buf.write(self.buf.tail, bytes(more))
        self.buf.tail += more

    def insert(self, offset: int, count: int) -> None:
        """Open a gap of ``count`` zero bytes ``offset`` bytes behind the data's start.

        Headers in front of the gap move with it (bpf_skb_generic_push).
        """
        self.push(count)
        head = self.buf.read(self.buf.data + count, offset)
        self.buf.write(self.buf.data, head)
        self.buf.write(self.buf.data + offset, bytes(count))

    def remove(self, offset: int, count: int) -> int:
        """Cut ``count`` bytes out at ``offset`` (bpf_skb_generic_pop); -ENOMEM if too few."""
        if offset + count > self.buf.len:
            return -E.NOMEM
        head = self.buf.read(self.buf.data, offset)
        self.buf.write(self.buf.data + count, head)
        self.buf.data += count
        return 0

    def ensure_writable(self, length: int) -> int:
        """bpf_try_make_writable(): -ENOMEM when the packet is shorter."""
        return -E.NOMEM if length > self.buf.len else 0

    def read(self, offset: int, size: int) -> bytes | None:
        """Return bytes at ``offset`` from the data (skb_header_pointer), None outside."""
        at = self.buf.data + offset
        if size < 0 or at < 0 or at + size > self.buf.tail:
            return None
        return self.buf.read(at, size)

    def packet_at(self, offset: int, size: int) -> bytes | None:
        """Return bytes as classic BPF names them: negative offsets from a header."""
        if offset >= 0:
            return self.read(offset, size)
        if offset >= SKF_NET_OFF:
            at = self.network_header + offset - SKF_NET_OFF
        elif offset >= SKF_LL_OFF:
            at = self.mac_header + offset - SKF_LL_OFF
        else:
            return None
        return self.buf.read(at, size) if at >= 0 and at + size <= self.buf.tail else None

    # --- headers ---------------------------------------------------------

    def eth_type_trans(self, local: bytes, broadcast: bytes) -> None:
        """Set protocol and packet type from the MAC header and pull it."""
        header = self.buf.read(self.buf.data, eth.HLEN)
        self.mac_header = self.buf.data
        self.pull(eth.HLEN)
        self.protocol = eth.protocol(header, self.buf.read(self.buf.data, min(2, self.buf.len)))
        self.pkt_type = eth.packet_type(header, local, broadcast)
        self.network_header = self.buf.data

    def clear_hash(self) -> None:
        """skb_clear_hash()."""
        self.hash = 0
        self.l4_hash = False

    def csum_replaced(self, at: int, content: bytes) -> None:
        """Keep a complete checksum right when bytes at buffer offset ``at`` change."""
        if self.ip_summed == CHECKSUM_COMPLETE:
            old = csum_partial(self.buf.read(at, len(content)))
            self.csum = csum_add(csum_sub(self.csum, old), csum_partial(content))

    def set_tstamp(self, tstamp: int, kind: int) -> None:
        """Set time stamp (ns) and clock."""
        self.set(Field.TSTAMP, tstamp, 8)
        self.tstamp_type = kind

    # --- VLAN tags --------------------------------------------------------

    def vlan_push(self, proto: int, tci: int) -> int:
        """skb_vlan_push(): the tag of the descriptor goes into the frame, a new one takes its
        place."""
        if self.vlan is not None:
            self._insert_tag(*self.vlan)
            self.protocol = self.vlan[0]
        self.vlan = (proto, tci)
        return 0

    def _insert_tag(self, proto: int, tci: int) -> None:
        offset = self.mac_header - self.buf.data
        self.pull(offset)
        self.push(4)
        addresses = self.buf.read(self.buf.data + 4, 12)
        tag = proto.to_bytes(2, "little") + tci.to_bytes(2, "big")
        self.buf.write(self.buf.data, addresses + tag)
        self.mac_header -= 4
        self.buf.data -= offset

    def vlan_pop(self) -> int:
        """skb_vlan_pop(): the outer tag goes; the next one in the frame takes its place."""
        if self.vlan is not None:
            self.vlan = None
        else:
            if self.protocol not in eth.VLAN_PROTOCOLS:
                return 0
            failed, _ = self._pop_tag()
            if failed:
                return failed
        if self.protocol not in eth.VLAN_PROTOCOLS:
            return 0
        proto = self.protocol
        failed, tci = self._pop_tag()
        if failed:
            return failed
        self.vlan = (proto, tci)
        return 0

    def _pop_tag(self) -> tuple[int, int]:
        if self.buf.len < eth.HLEN + 4:
            return -E.NOMEM, 0
        frame = self.buf.read(self.buf.data, eth.HLEN + 4)
        tci = int.from_bytes(frame[14:16], "big")
        inner = frame[16:18]
        behind = self.buf.read(self.buf.data + 18, min(2, self.buf.len - 18))
        self.buf.write(self.buf.data + 4, frame[:12])
        self.pull(4)
        self.mac_header += 4
        self.protocol = eth.protocol(bytes(12) + inner, behind)
        self.network_header = max(self.network_header, self.buf.data + eth.HLEN)
        return 0, tci
