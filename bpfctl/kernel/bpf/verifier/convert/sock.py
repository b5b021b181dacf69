"""Sockets, and contexts that lead to one (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier.convert.access import (
    JEQ,
    JNE,
    LSH,
    MOV,
    Access,
)

_SOCK = {
    4: ("sock_common.skc_family", 2),
    8: ("sock.sk_type", 2),
    12: ("sock.sk_protocol", 2),
    24: ("sock_common.skc_rcv_saddr", 4),
    44: ("sock_common.skc_num", 2),
    48: ("sock_common.skc_dport", 2),
    52: ("sock_common.skc_daddr", 4),
    72: ("sock_common.skc_state", 1),
}


def convert_sock(acc: Access) -> None:
    """Convert an access to struct bpf_sock (bpf_sock_convert_ctx_access)."""
    off = acc.off
    if off in (0, 16, 20):
        names = {0: "sock_common.skc_bound_dev_if", 16: "sock.sk_mark", 20: "sock.sk_priority"}
        acc.rw(4, names[off])
    elif off in _SOCK:
        name, size = _SOCK[off]
        acc.load(size, name)
    elif 28 <= off < 44:
        acc.load(4, "sock_common.skc_v6_rcv_saddr", more=off - 28)
    elif 56 <= off < 72:
        acc.load(4, "sock_common.skc_v6_daddr", more=off - 56)
    elif off == 76:
        acc.load(2, "sock_common.skc_rx_queue_mapping")
        acc.jmp(JNE, acc.dst, 0xFFFF, 1)
        acc.alu(MOV, acc.dst, -1)


_TCP = {
    # offset in struct bpf_tcp_sock: (member, size); bpf_sock_ops has most of them too.
    "snd_cwnd": 4, "srtt_us": 4, "snd_ssthresh": 4, "rcv_nxt": 4, "snd_nxt": 4, "snd_una": 4,
    "mss_cache": 4, "ecn_flags": 1, "rate_delivered": 4, "rate_interval_us": 4,
    "packets_out": 4, "retrans_out": 4, "total_retrans": 4, "segs_in": 4, "data_segs_in": 4,
    "segs_out": 4, "data_segs_out": 4, "lost_out": 4, "sacked_out": 4, "bytes_received": 8,
    "bytes_acked": 8, "dsack_dups": 4, "delivered": 4, "delivered_ce": 4,
}  # fmt: skip


def convert_tcp_sock(acc: Access) -> None:
    """Convert an access to struct bpf_tcp_sock (bpf_tcp_sock_convert_ctx_access)."""
    from bpfctl.kernel.bpf.verifier.ctx import TCP_SOCK_LAYOUT

    found = TCP_SOCK_LAYOUT.field_at(acc.off, frozenset())
    assert found is not None
    if found.name == "rtt_min":
        acc.load(4, "tcp_sock.rtt_min")
    elif found.name == "icsk_retransmits":
        acc.load(1, "inet_connection_sock.icsk_retransmits")
    else:
        acc.load(_TCP[found.name], f"tcp_sock.{found.name}")


def convert_xdp_sock(acc: Access) -> None:
    """Convert an access to struct bpf_xdp_sock."""
    acc.load(2, "xdp_sock.queue_id")


# --- sock_ops ------------------------------------------------------------------------

_OPS_TCP = (
    "snd_cwnd", "srtt_us", "", "", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt", "snd_una",
    "mss_cache", "ecn_flags", "rate_delivered", "rate_interval_us", "packets_out", "retrans_out",
    "total_retrans", "segs_in", "data_segs_in", "segs_out", "data_segs_out", "lost_out",
    "sacked_out",
)  # fmt: skip
_OPS = "bpf_sock_ops_kern."


def convert_sock_ops(acc: Access) -> None:
    """Convert an access to struct bpf_sock_ops (sock_ops_convert_ctx_access)."""
    off = acc.off
    if off == 0:
        acc.load(1, f"{_OPS}op")
    elif 4 <= off < 20:
        _reply(acc)
    elif 20 <= off < 72:
        _ops_common(acc)
    elif off == 72:
        acc.load(1, f"{_OPS}is_fullsock")
    elif off == 84:
        _tcp_field(acc, "bpf_sock_ops_cb_flags", 1)
    elif off == 88:
        acc.follow((8, f"{_OPS}sk"), (1, "sock_common.skc_state"))
    elif off == 164:
        _txhash(acc)
    elif off in (168, 176):
        _tcp_field(acc, "bytes_received" if off == 168 else "bytes_acked", 8)
    elif off == 184:
        _ops_sk(acc)
    elif off >= 192:
        _ops_skb(acc)
    else:
        name = _OPS_TCP[(off - 76) // 4]
        if name == "rtt_min":
            _guarded(acc, 4, "tcp_sock.rtt_min")
        else:
            _tcp_field(acc, name, _TCP[name])


def _reply(acc: Access) -> None:
    off = acc.off - 4 + acc.at(f"{_OPS}reply")
    if acc.write:
        acc.put(4, acc.insn.dst, off)
    else:
        acc.ldx(4, acc.dst, acc.src, off)


def _ops_common(acc: Access) -> None:
    off = acc.off
    sk = (8, f"{_OPS}sk")
    if off == 20:
        acc.follow(sk, (2, "sock_common.skc_family"))
    elif off == 24:
        acc.follow(sk, (4, "sock_common.skc_daddr"))
    elif off == 28:
        acc.follow(sk, (4, "sock_common.skc_rcv_saddr"))
    elif 32 <= off < 48:
        acc.follow(sk, (4, "sock_common.skc_v6_daddr"), more=off - 32)
    elif 48 <= off < 64:
        acc.follow(sk, (4, "sock_common.skc_v6_rcv_saddr"), more=off - 48)
    elif off == 64:
        acc.follow(sk, (2, "sock_common.skc_dport"))
        acc.alu(LSH, acc.dst, 16, wide=False)
    else:
        acc.follow(sk, (2, "sock_common.skc_num"))


def _tcp_field(acc: Access, name: str, size: int) -> None:
    _guarded(acc, size, f"tcp_sock.{name}")


def _guarded(acc: Access, size: int, name: str) -> None:
    """Load through the socket if it is a full one (SOCK_OPS_GET_FIELD)."""
    full = f"{_OPS}is_locked_tcp_sock" if "locked_tcp_sock" in acc.traits else f"{_OPS}is_fullsock"
    if acc.dst == acc.src:
        _guarded_same(acc, size, name, full)
        return
    acc.ldx(1, acc.dst, acc.src, acc.at(full))
    acc.jmp(JEQ, acc.dst, 0, 2)
    acc.ldx(8, acc.dst, acc.src, acc.at(f"{_OPS}sk"))
    acc.ldx(size, acc.dst, acc.dst, acc.at(name))


def _spare(*taken: int) -> int:
    reg = 9
    while reg in taken:
        reg -= 1
    return reg


def _guarded_same(acc: Access, size: int, name: str, full: str) -> None:
    reg = _spare(acc.dst, acc.src)
    temp = acc.at(f"{_OPS}temp")
    acc.stx(8, acc.src, reg, temp)
    acc.ldx(1, reg, acc.src, acc.at(full))
    acc.jmp(JEQ, reg, 0, 4)
    acc.ldx(8, reg, acc.src, temp)
    acc.ldx(8, acc.dst, acc.src, acc.at(f"{_OPS}sk"))
    acc.ldx(size, acc.dst, acc.dst, acc.at(name))
    acc.ja(2)
    acc.ldx(8, reg, acc.src, temp)
    acc.alu(MOV, acc.dst, 0)


def _txhash(acc: Access) -> None:
    if not acc.write:
        _guarded(acc, 4, "sock.sk_txhash")
        return
    dst, src = acc.insn.dst, acc.insn.src
    reg = _spare(dst, src)
    temp = acc.at(f"{_OPS}temp")
    full = f"{_OPS}is_locked_tcp_sock" if "locked_tcp_sock" in acc.traits else f"{_OPS}is_fullsock"
    acc.stx(8, dst, reg, temp)
    acc.ldx(1, reg, dst, acc.at(full))
    acc.jmp(JEQ, reg, 0, 2)
    acc.ldx(8, reg, dst, acc.at(f"{_OPS}sk"))
    acc.put(4, reg, acc.at("sock.sk_txhash"))
    acc.ldx(8, reg, dst, temp)


def _ops_sk(acc: Access) -> None:
    if acc.dst == acc.src:
        reg = _spare(acc.dst, acc.src)
        temp = acc.at(f"{_OPS}temp")
        acc.stx(8, acc.src, reg, temp)
        acc.ldx(1, reg, acc.src, acc.at(f"{_OPS}is_fullsock"))
        acc.jmp(JEQ, reg, 0, 3)
        acc.ldx(8, reg, acc.src, temp)
        acc.ldx(8, acc.dst, acc.src, acc.at(f"{_OPS}sk"))
        acc.ja(2)
        acc.ldx(8, reg, acc.src, temp)
        acc.alu(MOV, acc.dst, 0)
        return
    acc.ldx(1, acc.dst, acc.src, acc.at(f"{_OPS}is_fullsock"))
    acc.jmp(JEQ, acc.dst, 0, 1)
    acc.ldx(8, acc.dst, acc.src, acc.at(f"{_OPS}sk"))


def _ops_skb(acc: Access) -> None:
    off = acc.off
    if off == 200:
        acc.load(8, f"{_OPS}skb_data_end")
        return
    acc.ldx(8, acc.dst, acc.src, acc.at(f"{_OPS}skb"))
    if off == 216:
        from bpfctl.kernel.bpf.verifier.convert.access import ADD

        acc.jmp(JEQ, acc.dst, 0, 4)
        acc.ldx(4, acc.ax, acc.dst, acc.at("sk_buff.end"))
        acc.ldx(8, acc.dst, acc.dst, acc.at("sk_buff.head"))
        acc.alu_x(ADD, acc.dst, acc.ax)
        acc.ldx(8, acc.dst, acc.dst, acc.at("skb_shared_info.hwtstamps"))
        return
    acc.jmp(JEQ, acc.dst, 0, 1)
    if off == 192:
        acc.ldx(8, acc.dst, acc.dst, acc.at("sk_buff.data"))
    elif off == 208:
        acc.ldx(4, acc.dst, acc.dst, acc.at("sk_buff.len"))
    else:
        size = 1 if "tcp_flags_byte" in acc.traits else 2
        acc.ldx(size, acc.dst, acc.dst, acc.at("sk_buff.cb") + acc.at("tcp_skb_cb.tcp_flags"))
        acc.target = size


# --- messages, choice of listeners -------------------------------------------------------


def convert_sk_msg(acc: Access) -> None:
    """Convert an access to struct sk_msg_md (sk_msg_convert_ctx_access)."""
    off = acc.off
    sk = (8, "sk_msg.sk")
    if off in (0, 8):
        acc.load(8, "sk_msg.data" if off == 0 else "sk_msg.data_end")
    elif off == 16:
        acc.follow(sk, (2, "sock_common.skc_family"))
    elif off == 20:
        acc.follow(sk, (4, "sock_common.skc_daddr"))
    elif off == 24:
        acc.follow(sk, (4, "sock_common.skc_rcv_saddr"))
    elif 28 <= off < 44:
        acc.follow(sk, (4, "sock_common.skc_v6_daddr"), more=off - 28)
    elif 44 <= off < 60:
        acc.follow(sk, (4, "sock_common.skc_v6_rcv_saddr"), more=off - 44)
    elif off == 60:
        acc.follow(sk, (2, "sock_common.skc_dport"))
        acc.alu(LSH, acc.dst, 16, wide=False)
    elif off == 64:
        acc.follow(sk, (2, "sock_common.skc_num"))
    elif off == 68:
        acc.load(4, "sk_msg.sg_size")
    else:
        acc.load(8, "sk_msg.sk")


_REUSEPORT = "sk_reuseport_kern."


def convert_sk_reuseport(acc: Access) -> None:
    """Convert an access to struct sk_reuseport_md (sk_reuseport_convert_ctx_access)."""
    off = acc.off
    skb = (8, f"{_REUSEPORT}skb")
    if off == 0:
        acc.follow(skb, (8, "sk_buff.data"))
    elif off == 8:
        acc.load(8, f"{_REUSEPORT}data_end")
    elif off == 16:
        acc.follow(skb, (4, "sk_buff.len"))
    elif off == 20:
        acc.follow(skb, (2, "sk_buff.protocol"))
    elif off == 24:
        acc.follow((8, f"{_REUSEPORT}sk"), (2, "sock.sk_protocol"))
    elif off == 28:
        acc.load(4, f"{_REUSEPORT}bind_inany")
    elif off == 32:
        acc.load(4, f"{_REUSEPORT}hash")
    elif off == 40:
        acc.load(8, f"{_REUSEPORT}sk")
    else:
        acc.load(8, f"{_REUSEPORT}migrating_sk")


_LOOKUP = "bpf_sk_lookup_kern."


def convert_sk_lookup(acc: Access) -> None:
    """Convert an access to struct bpf_sk_lookup (sk_lookup_convert_ctx_access)."""
    off = acc.off
    if off == 0:
        acc.load(8, f"{_LOOKUP}selected_sk")
    elif off == 8:
        acc.load(2, f"{_LOOKUP}family")
    elif off == 12:
        acc.load(2, f"{_LOOKUP}protocol")
    elif off in (16, 40):
        acc.load(4, f"{_LOOKUP}v4.saddr" if off == 16 else f"{_LOOKUP}v4.daddr")
    elif 20 <= off < 36 or 44 <= off < 60:
        remote = off < 36
        acc.ldx(8, acc.dst, acc.src, acc.at(f"{_LOOKUP}v6.{'saddr' if remote else 'daddr'}"))
        acc.jmp(JEQ, acc.dst, 0, 1)
        acc.ldx(4, acc.dst, acc.dst, off - (20 if remote else 44))
        acc.target = 4
    elif off == 36:
        acc.load(2, f"{_LOOKUP}sport")
    elif off == 60:
        acc.load(2, f"{_LOOKUP}dport")
    else:
        acc.load(4, f"{_LOOKUP}ingress_ifindex")
