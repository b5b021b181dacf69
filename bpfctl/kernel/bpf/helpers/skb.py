"""Packets as struct sk_buff (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32, s32, skb_of
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.net import eth, skb_ops
from bpfctl.kernel.net.device import net_device
from bpfctl.kernel.net.flowhash import flow_hash
from bpfctl.kernel.net.transmit import transmit
from bpfctl.kernel.net.xdp import XdpBuff

_LOAD = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE)
_TWO = (Arg.PTR_TO_CTX, Arg.ANYTHING)
_THREE = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING)

declare(
    9, "skb_store_bytes", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING),
    changes_pkt=True,
)  # fmt: skip
declare(13, "clone_redirect", Ret.INTEGER, _THREE, changes_pkt=True)
declare(23, "redirect", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING))
declare(23, "redirect", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING), variant="xdp")
declare(24, "get_route_realm", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(26, "skb_load_bytes", Ret.INTEGER, _LOAD)
for _kind in ("flow_dissector", "sk_reuseport"):
    declare(26, "skb_load_bytes", Ret.INTEGER, _LOAD, variant=_kind)
declare(31, "skb_change_proto", Ret.INTEGER, _THREE, changes_pkt=True)
declare(32, "skb_change_type", Ret.INTEGER, _TWO)
declare(34, "get_hash_recalc", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(38, "skb_change_tail", Ret.INTEGER, _THREE, changes_pkt=True)
declare(38, "skb_change_tail", Ret.INTEGER, _THREE, variant="sk_skb", changes_pkt=True)
declare(39, "skb_pull_data", Ret.INTEGER, _TWO, changes_pkt=True)
declare(39, "skb_pull_data", Ret.INTEGER, _TWO, variant="sk_skb", changes_pkt=True)
declare(41, "set_hash_invalid", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(43, "skb_change_head", Ret.INTEGER, _THREE, changes_pkt=True)
declare(43, "skb_change_head", Ret.INTEGER, _THREE, variant="sk_skb", changes_pkt=True)
declare(48, "set_hash", Ret.INTEGER, _TWO)
declare(50, "skb_adjust_room", Ret.INTEGER, (*_THREE, Arg.ANYTHING), changes_pkt=True)
declare(
    50, "skb_adjust_room", Ret.INTEGER, (*_THREE, Arg.ANYTHING), variant="sk_skb",
    changes_pkt=True,
)  # fmt: skip
declare(66, "skb_get_xfrm_state", Ret.INTEGER, (*_LOAD, Arg.ANYTHING))
declare(68, "skb_load_bytes_relative", Ret.INTEGER, (*_LOAD, Arg.ANYTHING))
declare(68, "skb_load_bytes_relative", Ret.INTEGER, (*_LOAD, Arg.ANYTHING), variant="sk_reuseport")
declare(97, "skb_ecn_set_ce", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(
    152, "redirect_neigh", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(155, "redirect_peer", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING))
declare(192, "skb_set_tstamp", Ret.INTEGER, _THREE)


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


INT_MAX = 0x7FFFFFFF
MAX_OFFSET = 0xFFFF
RECOMPUTE_CSUM, INVALIDATE_HASH = 1, 2
HDR_START_MAC, HDR_START_NET = 0, 1
TC_ACT_SHOT, TC_ACT_REDIRECT = 2, 7
F_INGRESS = 1
XDP_ABORTED, XDP_REDIRECT = 0, 4
CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_TAI = range(3)


def done(rt: Runtime, result: int) -> int:
    """Make what changed visible to the program, and return ``result``."""
    skb_of(rt).sync()
    return result


@body(26)
def skb_load_bytes(rt: Runtime, ctx: int, offset: int, to: int, size: int) -> int:
    """Copy out of the packet; EFAULT, and zeros, for what is not there."""
    offset &= U32
    found = skb_of(rt).read(offset, size) if offset <= INT_MAX else None
    if found is None:
        rt.mem.write(to, bytes(size))
        return -E.FAULT
    rt.mem.write(to, found)
    return 0


@body(68)
def skb_load_bytes_relative(
    rt: Runtime, ctx: int, offset: int, to: int, size: int, start: int
) -> int:
    """Copy out of the packet, from its MAC or network header."""
    skb = skb_of(rt)
    offset, start = offset & U32, start & U32
    base = {HDR_START_MAC: skb.mac_header, HDR_START_NET: skb.network_header}.get(start)
    found = None
    if offset <= MAX_OFFSET and base is not None:
        found = skb.read(base - skb.buf.data + offset, size)
    if found is None:
        rt.mem.write(to, bytes(size))
        return -E.FAULT
    rt.mem.write(to, found)
    return 0


@body(9)
def skb_store_bytes(rt: Runtime, ctx: int, offset: int, data: int, size: int, flags: int) -> int:
    """Copy into the packet: EINVAL (flags), EFAULT (outside)."""
    skb = skb_of(rt)
    offset &= U32
    if flags & ~(RECOMPUTE_CSUM | INVALIDATE_HASH):
        return -E.INVAL
    if offset > INT_MAX or skb.ensure_writable(offset + size):
        return -E.FAULT
    content = rt.mem.read(data, size)
    if flags & RECOMPUTE_CSUM:
        skb.csum_replaced(skb.buf.data + offset, content)
    skb.buf.write(skb.buf.data + offset, content)
    if flags & INVALIDATE_HASH:
        skb.clear_hash()
    return done(rt, 0)


@body(39)
def skb_pull_data(rt: Runtime, ctx: int, size: int) -> int:
    """Make ``size`` bytes (0: all) linear and writable: ENOMEM if there are fewer."""
    return done(rt, skb_of(rt).ensure_writable(size & U32 or skb_of(rt).len))


@body(31)
def skb_change_proto(rt: Runtime, ctx: int, protocol: int, flags: int) -> int:
    """Make an IPv4 packet an IPv6 one, or back."""
    return done(rt, skb_ops.change_proto(skb_of(rt), protocol & 0xFFFF, flags))


@body(32)
def skb_change_type(rt: Runtime, ctx: int, kind: int) -> int:
    """Set pkt_type."""
    return done(rt, skb_ops.change_type(skb_of(rt), kind & U32))


@body(38)
def skb_change_tail(rt: Runtime, ctx: int, length: int, flags: int) -> int:
    """Cut or lengthen the packet."""
    return done(rt, skb_ops.change_tail(skb_of(rt), length & U32, flags))


@body(43)
def skb_change_head(rt: Runtime, ctx: int, room: int, flags: int) -> int:
    """Put room in front of the packet."""
    return done(rt, skb_ops.change_head(skb_of(rt), room & U32, flags))


@body(50)
def skb_adjust_room(rt: Runtime, ctx: int, delta: int, mode: int, flags: int) -> int:
    """Put room behind the MAC or the network header, or take it away."""
    known = rt.kernel.profile.runtime.adjust_room_flags | skb_ops.L2_LEN_MASK
    return done(rt, skb_ops.adjust_room(skb_of(rt), s32(delta), mode & U32, flags, known))


@body(34)
def get_hash_recalc(rt: Runtime, ctx: int) -> int:
    """Return the flow hash, computed unless it is known."""
    skb = skb_of(rt)
    if not skb.hash:
        skb.hash, skb.l4_hash = flow_hash(skb, rt.kernel.config.hash_seed)
        skb.sync()
    return skb.hash


@body(41)
def set_hash_invalid(rt: Runtime, ctx: int) -> int:
    """Forget the flow hash."""
    skb_of(rt).clear_hash()
    return done(rt, 0)


@body(48)
def set_hash(rt: Runtime, ctx: int, value: int) -> int:
    """Set the flow hash."""
    skb_of(rt).hash, skb_of(rt).l4_hash = value & U32, True
    return done(rt, 0)


@body(97)
def skb_ecn_set_ce(rt: Runtime, ctx: int) -> int:
    """Mark congestion experienced: 1 if the packet carries the mark now."""
    return skb_ops.ecn_set_ce(skb_of(rt))


@body(192)
def skb_set_tstamp(rt: Runtime, ctx: int, tstamp: int, kind: int) -> int:
    """Set time stamp and its clock, of IP packets: EOPNOTSUPP, EINVAL."""
    skb = skb_of(rt)
    kind &= U32
    if skb.protocol not in (eth.P_IP, eth.P_IPV6):
        return -E.OPNOTSUPP
    clocks = rt.kernel.profile.runtime.tstamp_clocks
    if kind >= clocks:
        return -E.INVAL
    # A kernel that knows two clocks takes the first for "none".
    if bool(tstamp) == (kind == CLOCK_REALTIME) and (kind or clocks == CLOCK_TAI):
        return -E.INVAL
    skb.set_tstamp(tstamp, kind)
    return done(rt, 0)


@body(13)
def clone_redirect(rt: Runtime, ctx: int, ifindex: int, flags: int) -> int:
    """Send a copy out of a device: EINVAL for flags or a device that is not there."""
    device = net_device(rt.kernel, ifindex & U32)
    if flags & ~F_INGRESS or device is None:
        return -E.INVAL
    transmit(rt.kernel, device, skb_of(rt).frame(), bool(flags & F_INGRESS))
    return done(rt, 0)


@body(23)
def redirect(rt: Runtime, ifindex: int, flags: int) -> int:
    """Choose the device that the packet goes to when the program ends."""
    is_xdp = isinstance(skb_of(rt), XdpBuff)
    if flags & ~(0 if is_xdp else F_INGRESS):
        return XDP_ABORTED if is_xdp else TC_ACT_SHOT
    rt.state["redirect"] = (0, ifindex & U32, flags)
    return XDP_REDIRECT if is_xdp else TC_ACT_REDIRECT


@body(152)
def redirect_neigh(rt: Runtime, ifindex: int, params: int, size: int, flags: int) -> int:
    """Choose a device; the MAC header is filled in from the neighbour table."""
    least = 20
    if (size and size < least) or flags:
        return TC_ACT_SHOT
    rt.state["redirect"] = (0, ifindex & U32, flags)
    return TC_ACT_REDIRECT


@body(155)
def redirect_peer(rt: Runtime, ifindex: int, flags: int) -> int:
    """Choose the peer of a device."""
    if flags:
        return TC_ACT_SHOT
    rt.state["redirect"] = (0, ifindex & U32, flags)
    return TC_ACT_REDIRECT


@body(24)
def get_route_realm(rt: Runtime, ctx: int) -> int:
    """Return the realm of the packet's route: test packets have none."""
    return 0


@body(66)
def skb_get_xfrm_state(
    rt: Runtime, ctx: int, index: int, to: int, size: int, flags: int
) -> int:
    """Copy a transformation's state: no packet here went through one, so EINVAL, and zeros."""
    rt.mem.write(to, bytes(size & U32))
    return -E.INVAL
