"""bpf_prog_test_run_skb(): a packet that arrives on a device, for the types that see packets."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.test_run.common import (
    ETH_HLEN,
    PAGE_SIZE,
    Test,
    bad,
    ctx_finish,
    ctx_init,
    data_finish,
    data_init,
    is_zero,
    repeated,
    set_word,
    word,
)
from bpfctl.kernel.bpf.vm.arena import READ, Region
from bpfctl.kernel.net import checksum, eth
from bpfctl.kernel.net.device import net_device
from bpfctl.kernel.net.skb import CHECKSUM_COMPLETE, HEADROOM, TAILROOM, Field, Skb
from bpfctl.uapi import BPF_F_TEST_SKB_CHECKSUM_COMPLETE, PROG_TYPE_NUMBER, ProgRunResult

L2_TYPES = frozenset(PROG_TYPE_NUMBER[name] for name in ("sched_cls", "sched_act"))
DIRECT_TYPES = L2_TYPES | {PROG_TYPE_NUMBER[f"lwt_{name}"] for name in ("in", "out", "xmit")}
CGROUP_SKB = PROG_TYPE_NUMBER["cgroup_skb"]

GSO_MAX_SEGS = 0xFFFF
GSO_LEGACY_MAX_SIZE = 65536
CB_LEN = 20
IPV4_HLEN, IPV6_HLEN = 20, 40
AF_INET, AF_INET6 = 2, 10


class BpfSock:
    """Offsets of struct bpf_sock, as far as a runner's socket has anything there."""

    SIZE = 80
    FAMILY = 4
    SRC_IP4, SRC_IP6 = 24, 28
    DST_IP4, DST_IP6 = 52, 56
    STATE = 72
    RX_QUEUE_MAPPING = 76


TCP_CLOSE = 7
NO_QUEUE = 0xFFFFFFFF


# Ranges of __sk_buff that must be zero in a context (convert___skb_to_skb).
_MUST_BE_ZERO = (
    (0, Field.MARK),
    (Field.MARK + 4, Field.PRIORITY),
    (Field.IFINDEX + 4, Field.CB),
    (Field.CB + CB_LEN, Field.TSTAMP),
    (Field.GSO_SEGS + 4, Field.GSO_SIZE),
    (Field.GSO_SIZE + 4, Field.HWTSTAMP),
    (Field.HWTSTAMP + 8, 192),
)


def run(test: Test) -> ProgRunResult:
    """Run a program on the caller's packet.

    :raises KernelError: EINVAL, E2BIG, ENODEV, EFAULT; EBADMSG for a wrong complete checksum.
    """
    attr, facts = test.attr, test.facts
    allowed = BPF_F_TEST_SKB_CHECKSUM_COMPLETE if facts.skb_checksum_complete else 0
    if attr.flags & ~allowed or attr.cpu or attr.batch_size:
        raise bad("flags, cpu or batch_size")
    content = data_init(attr, attr.data_size_in, PAGE_SIZE - HEADROOM - TAILROOM)
    ctx = ctx_init(attr, facts.skb_ctx)
    is_l2 = test.prog.type in L2_TYPES
    skb = Skb(test.mem, content, facts.skb_ctx)
    sock = _make_socket(test, skb)
    try:
        _receive(test, skb, ctx)
        if is_l2:
            skb.push(ETH_HLEN)
        direct = test.prog.type == CGROUP_SKB and facts.cgroup_skb_direct
        skb.direct = direct or test.prog.type in DIRECT_TYPES
        _context_in(test, skb, ctx)
        if attr.flags & BPF_F_TEST_SKB_CHECKSUM_COMPLETE:
            skb.ip_summed = CHECKSUM_COMPLETE
            skb.csum = checksum.csum_partial(skb.buf.read(skb.network_header, _l3_len(skb)))
        skb.sync()
        retval = repeated(test, skb)
        if attr.flags & BPF_F_TEST_SKB_CHECKSUM_COMPLETE and skb.ip_summed == CHECKSUM_COMPLETE:
            _verify_complete(skb)
        if not is_l2:
            skb.push(ETH_HLEN)
            skb.buf.write(skb.buf.data, bytes(ETH_HLEN))
        _context_out(skb, ctx)
        return ctx_finish(test, data_finish(test, skb.buf.bytes(), retval), ctx)
    finally:
        skb.release()
        test.mem.free(sock)


def _make_socket(test: Test, skb: Skb) -> Region:
    """Make the closed socket that every packet of a run belongs to."""
    sock = test.mem.alloc(BpfSock.SIZE, "mirror", READ)
    test.mem.poke_int(sock.start + BpfSock.STATE, 4, TCP_CLOSE)
    test.mem.poke_int(sock.start + BpfSock.RX_QUEUE_MAPPING, 4, NO_QUEUE)
    skb.set(Field.SK, sock.start, 8)
    return sock


def _l3_len(skb: Skb) -> int:
    return skb.buf.tail - skb.network_header


def _verify_complete(skb: Skb) -> None:
    actual = checksum.csum_partial(skb.buf.read(skb.network_header, _l3_len(skb)))
    if checksum.csum_fold(actual) != checksum.csum_fold(skb.csum):
        raise KernelError(E.BADMSG, "skb->csum does not cover the packet any more")


def _receive(test: Test, skb: Skb, ctx: bytearray | None) -> None:
    """Set device, protocol and packet type, and what cgroup programs see of the addresses."""
    ifindex = word(ctx, Field.IFINDEX) if ctx is not None else 0
    device = net_device(test.kernel, ifindex if ifindex > 1 else 1)
    if device is None:
        raise KernelError(E.NODEV, f"ifindex {ifindex}")
    skb.ifindex = device.ifindex
    skb.eth_type_trans(device.address, device.broadcast)
    if skb.protocol == eth.P_IP:
        skb.family = AF_INET
        need = IPV4_HLEN
    elif skb.protocol == eth.P_IPV6:
        skb.family = AF_INET6
        need = IPV6_HLEN
    else:
        return
    if skb.len < need:
        if test.facts.skb_short_ip_refused:
            raise bad("too short for its protocol")
        return
    header = skb.buf.read(skb.buf.data, need)
    _socket_view(skb, header)


def _socket_view(skb: Skb, header: bytes) -> None:
    """Give the packet the addresses of the socket that the runner made for it."""
    skb.set(Field.FAMILY, skb.family)
    sock = skb.get(Field.SK, 8)
    skb.mem.poke_int(sock + BpfSock.FAMILY, 4, skb.family)
    if skb.family == AF_INET:
        source, target = header[12:16], header[16:20]
        places = (Field.LOCAL_IP4, Field.REMOTE_IP4, BpfSock.SRC_IP4, BpfSock.DST_IP4)
    else:
        source, target = header[8:24], header[24:40]
        places = (Field.LOCAL_IP6, Field.REMOTE_IP6, BpfSock.SRC_IP6, BpfSock.DST_IP6)
    skb.mem.write(skb.addr + places[0], source)
    skb.mem.write(skb.addr + places[1], target)
    skb.mem.poke(sock + places[2], source)
    skb.mem.poke(sock + places[3], target)


def _context_in(test: Test, skb: Skb, ctx: bytearray | None) -> None:
    """Take over what a caller may set (convert___skb_to_skb).

    :raises KernelError: EINVAL.
    """
    if ctx is None:
        return
    for start, end in _MUST_BE_ZERO:
        if not is_zero(ctx, start, end):
            raise bad(f"context bytes {start} to {end}")
    if word(ctx, Field.INGRESS_IFINDEX) and not test.facts.skb_ingress_ifindex:
        raise bad("ingress_ifindex")
    wire_len = word(ctx, Field.WIRE_LEN)
    if wire_len and not skb.len <= wire_len <= GSO_LEGACY_MAX_SIZE:
        raise bad(f"wire_len {wire_len}")
    if word(ctx, Field.GSO_SEGS) > GSO_MAX_SEGS:
        raise bad("gso_segs")
    for offset in (Field.MARK, Field.PRIORITY, Field.INGRESS_IFINDEX):
        skb.set(offset, word(ctx, offset))
    skb.mem.write(skb.addr + Field.CB, bytes(ctx[Field.CB : Field.CB + CB_LEN]))
    skb.set(Field.TSTAMP, word(ctx, Field.TSTAMP, 8), 8)
    skb.set(Field.WIRE_LEN, wire_len or skb.len)
    skb.set(Field.HWTSTAMP, word(ctx, Field.HWTSTAMP, 8), 8)
    skb.gso_segs = word(ctx, Field.GSO_SEGS)
    skb.gso_size = word(ctx, Field.GSO_SIZE)


def _context_out(skb: Skb, ctx: bytearray | None) -> None:
    """Give back what a program may have changed (convert_skb_to___skb)."""
    if ctx is None:
        return
    for offset in (Field.MARK, Field.PRIORITY, Field.INGRESS_IFINDEX, Field.WIRE_LEN):
        set_word(ctx, offset, skb.get(offset))
    set_word(ctx, Field.IFINDEX, skb.ifindex)
    set_word(ctx, Field.TSTAMP, skb.get(Field.TSTAMP, 8), 8)
    ctx[Field.CB : Field.CB + CB_LEN] = skb.mem.read(skb.addr + Field.CB, CB_LEN)
    set_word(ctx, Field.GSO_SEGS, skb.gso_segs)
    if len(ctx) > Field.HWTSTAMP:
        set_word(ctx, Field.HWTSTAMP, skb.get(Field.HWTSTAMP, 8), 8)
