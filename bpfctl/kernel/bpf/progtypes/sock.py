"""Programs about sockets: TCP events, messages, choice of a listener (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_BPF,
    CAP_NET_ADMIN,
    PACKET,
    PACKET_END,
    SOCK_COMMON_OR_NULL,
    SOCKET,
    SOCKET_OR_NULL,
    AttachRule,
    CtxLayout,
    Field,
    ProgType,
    Returns,
    declare,
)
from bpfctl.kernel.bpf.progtypes.skb import skb_layout

SK_LOOKUP, REUSEPORT_SELECT, REUSEPORT_SELECT_OR_MIGRATE = 36, 39, 40

_BASE = BASE_SETS


def _words(first: int, *names: str) -> tuple[Field, ...]:
    """Lay out words of 4 bytes one after the other."""
    return tuple(Field(name, first + 4 * index) for index, name in enumerate(names))


_IP6 = ("[0]", "[1]", "[2]", "[3]")
_SOCK_OPS = CtxLayout(
    "bpf_sock_ops",
    224,
    (
        Field("op", 0),
        Field("reply", 4, write=(4,)),
        *_words(8, "replylong[1]", "replylong[2]", "replylong[3]"),
        *_words(20, "family", "remote_ip4", "local_ip4"),
        *_words(32, *(f"remote_ip6{word}" for word in _IP6)),
        *_words(48, *(f"local_ip6{word}" for word in _IP6)),
        *_words(
            64, "remote_port", "local_port", "is_fullsock", "snd_cwnd", "srtt_us",
            "bpf_sock_ops_cb_flags", "state", "rtt_min", "snd_ssthresh", "rcv_nxt", "snd_nxt",
            "snd_una", "mss_cache", "ecn_flags", "rate_delivered", "rate_interval_us",
            "packets_out", "retrans_out", "total_retrans", "segs_in", "data_segs_in", "segs_out",
            "data_segs_out", "lost_out", "sacked_out",
        ),
        Field("sk_txhash", 164, write=(4,)),
        Field("bytes_received", 168, 8),
        Field("bytes_acked", 176, 8),
        Field("sk", 184, 8, becomes=SOCKET_OR_NULL),
        Field("skb_data", 192, 8, becomes=PACKET),
        Field("skb_data_end", 200, 8, becomes=PACKET_END),
        Field("skb_len", 208),
        Field("skb_tcp_flags", 212, narrow="start"),
        Field("skb_hwtstamp", 216, 8, unless="no_sock_ops_hwtstamp"),
    ),
)  # fmt: skip
declare(
    ProgType(
        "sock_ops", 13, CAP_NET_ADMIN, _SOCK_OPS, (*_BASE, "sk_perfmon", "sock_ops"),
        variants={
            "get_socket_cookie": "sock_ops", "get_netns_cookie": "sock_ops",
            "setsockopt": "sock_ops", "getsockopt": "sock_ops",
        },
        returns=(Returns(0, 1),),
    )
)  # fmt: skip
declare(
    ProgType(
        "sk_skb", 14, CAP_NET_ADMIN,
        skb_layout(
            (
                "mark", "tc_classid", "data_meta", "flow_keys", "tstamp", "wire_len",
                "hwtstamp", "tstamp_type",
            ),
            ("priority", "tc_index"),
        ),
        (*_BASE, "sk_perfmon", "sk_skb"),
        variants={
            "perf_event_output": "skb", "skb_change_tail": "sk_skb", "skb_pull_data": "sk_skb",
            "skb_change_head": "sk_skb", "skb_adjust_room": "sk_skb",
        },
        direct_packet="write",
    )
)  # fmt: skip
declare(
    ProgType(
        "sk_msg", 16, CAP_NET_ADMIN,
        CtxLayout(
            "sk_msg_md", 80,
            (
                Field("data", 0, 8, becomes=PACKET),
                Field("data_end", 8, 8, becomes=PACKET_END),
                *_words(16, "family", "remote_ip4", "local_ip4"),
                *_words(28, *(f"remote_ip6{word}" for word in _IP6)),
                *_words(44, *(f"local_ip6{word}" for word in _IP6)),
                *_words(60, "remote_port", "local_port", "size"),
                Field("sk", 72, 8, becomes=SOCKET),
            ),
        ),
        (*_BASE, "sk_perfmon", "sk_msg"),
        variants={
            "perf_event_output": "raw_tp", "get_netns_cookie": "sk_msg",
            "get_cgroup_classid": "current",
        },
        direct_packet="write",
    )
)  # fmt: skip
declare(
    ProgType(
        "sk_reuseport", 21, CAP_BPF,
        CtxLayout(
            "sk_reuseport_md", 56,
            (
                Field("data", 0, 8, becomes=PACKET),
                Field("data_end", 8, 8, becomes=PACKET_END),
                Field("len", 16, narrow="any"),
                Field("eth_protocol", 20, narrow="any", smallest=2),
                Field("ip_protocol", 24, narrow="any"),
                Field("bind_inany", 28, narrow="any"),
                Field("hash", 32),
                Field("sk", 40, 8, becomes=SOCKET, unless="no_reuseport_migration"),
                Field(
                    "migrating_sk", 48, 8, becomes=SOCK_COMMON_OR_NULL,
                    unless="no_reuseport_migration",
                ),
            ),
        ),
        (*_BASE, "sk_reuseport"),
        variants={
            "skb_load_bytes": "sk_reuseport", "skb_load_bytes_relative": "sk_reuseport",
            "get_socket_cookie": "pointer",
        },
        attach=AttachRule(
            frozenset((REUSEPORT_SELECT, REUSEPORT_SELECT_OR_MIGRATE)), REUSEPORT_SELECT,
            REUSEPORT_SELECT,
        ),
        direct_packet="read",
    )
)  # fmt: skip
declare(
    ProgType(
        "sk_lookup", 30, CAP_BPF,
        CtxLayout(
            "bpf_sk_lookup", 72,
            (
                Field("sk", 0, 8, becomes=SOCKET_OR_NULL),
                Field("family", 8, narrow="any"),
                Field("protocol", 12, narrow="any"),
                Field("remote_ip4", 16, narrow="any"),
                Field("remote_ip6", 20, 16, unit=4, narrow="any"),
                Field("remote_port", 36, narrow="any"),
                Field("local_ip4", 40, narrow="any"),
                Field("local_ip6", 44, 16, unit=4, narrow="any"),
                Field("local_port", 60, narrow="any"),
                Field("ingress_ifindex", 64, narrow="any", unless="no_lookup_ifindex"),
            ),
        ),
        (*_BASE, "sk_perfmon", "sk_lookup"), variants={"sk_assign": "sk_lookup"},
        attach=AttachRule(frozenset((SK_LOOKUP,))), returns=(Returns(0, 1),),
        test_run="sk_lookup",
    )
)  # fmt: skip
