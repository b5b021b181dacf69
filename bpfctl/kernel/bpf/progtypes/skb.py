"""Programs that see a packet as struct __sk_buff (net/core/filter.c)."""

from __future__ import annotations

from dataclasses import replace

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_NET_ADMIN,
    FLOW_KEYS,
    NO_CAP,
    PACKET,
    PACKET_END,
    PACKET_META,
    SOCK_COMMON_OR_NULL,
    UNCONVERTIBLE,
    AttachRule,
    CtxLayout,
    Field,
    ProgType,
    Returns,
    declare,
)

SK_BUFF_SIZE = 192
INGRESS, EGRESS = 0, 1

_CB = Field(
    "cb", 48, 20, narrow="any", write=(1, 2, 4, 8), write_any=True, widened=False
)  # fmt: skip
_FIELDS = (
    *(
        Field(name, 4 * index, narrow="any")
        for index, name in enumerate(
            (
                "len", "pkt_type", "mark", "queue_mapping", "protocol", "vlan_present", "vlan_tci",
                "vlan_proto", "priority", "ingress_ifindex", "ifindex", "tc_index",
            )
        )
    ),
    _CB,
    Field("hash", 68, narrow="any"),
    Field("tc_classid", 72, narrow="any"),
    Field("data", 76, becomes=PACKET),
    Field("data_end", 80, becomes=PACKET_END),
    Field("napi_id", 84, narrow="any"),
    Field("family", 88, narrow="any"),
    Field("remote_ip4", 92),
    Field("local_ip4", 96),
    Field("remote_ip6", 100, 16, unit=4),
    Field("local_ip6", 116, 16, unit=4),
    Field("remote_port", 132, narrow="any"),
    Field("local_port", 136, narrow="any"),
    Field("data_meta", 140, becomes=PACKET_META),
    Field("flow_keys", 144, 8, becomes=FLOW_KEYS),
    Field("tstamp", 152, 8),
    Field("wire_len", 160, narrow="any"),
    Field("gso_segs", 164, narrow="any"),
    Field("sk", 168, 8, becomes=SOCK_COMMON_OR_NULL),
    Field("gso_size", 176, narrow="any"),
    Field("padding", 180, narrow="any", becomes=UNCONVERTIBLE, trait="skb_padding"),
    Field("tstamp_type", 180, 1, unless="skb_padding"),
    Field("hwtstamp", 184, 8, unless="skb_padding"),
)  # fmt: skip
_ADDRESSES = ("remote_ip4", "local_ip4", "remote_ip6", "local_ip6")


def skb_layout(
    hidden: tuple[str, ...], writable: tuple[str, ...], capable: tuple[str, ...] = ()
) -> CtxLayout:
    """Lay out struct __sk_buff without ``hidden`` fields; ``writable`` ones may be stored to.

    ``capable``: fields that take CAP_BPF to read (packets) or to write (the time stamp).
    """
    fields = []
    for field_ in _FIELDS:
        if field_.name in hidden:
            continue
        if field_.name in writable:
            field_ = replace(field_, write=field_.write or (field_.size,))
        else:
            field_ = replace(field_, write=(), write_any=False)
        if field_.name in capable:
            readable = field_.becomes != PACKET and field_.becomes != PACKET_END
            field_ = replace(field_, capable=not readable, write_capable=readable)
        fields.append(field_)
    return CtxLayout("__sk_buff", SK_BUFF_SIZE, tuple(fields))


NO_SOCKET_FIELDS = ("family", *_ADDRESSES, "remote_port", "local_port")
_SOCKET_FILTER = skb_layout(
    (
        *NO_SOCKET_FIELDS, "tc_classid", "data", "data_end", "data_meta", "flow_keys", "tstamp",
        "wire_len", "hwtstamp", "tstamp_type",
    ),
    ("cb",),
)  # fmt: skip
_CLS = skb_layout(
    (*NO_SOCKET_FIELDS, "flow_keys"),
    ("mark", "tc_index", "priority", "tc_classid", "cb", "tstamp", "queue_mapping"),
)
_CGROUP = skb_layout(
    ("tc_classid", "data_meta", "flow_keys", "wire_len", "tstamp_type"),
    ("mark", "priority", "cb", "tstamp"),
    capable=("data", "data_end", "tstamp"),
)
_DISSECTOR = CtxLayout(
    "__sk_buff", SK_BUFF_SIZE,
    tuple(f for f in _FIELDS if f.name in ("data", "data_end", "flow_keys")),
)  # fmt: skip

SKB_VARIANTS = {"perf_event_output": "skb", "get_netns_cookie": "skb"}

declare(
    ProgType(
        "socket_filter", 1, NO_CAP, _SOCKET_FILTER,
        (*BASE_SETS, "sk_perfmon", "sk_filter"),
        variants=SKB_VARIANTS, test_run="skb", ld_abs=True,
    )
)  # fmt: skip
for _name, _number in (("sched_cls", 3), ("sched_act", 4)):
    declare(
        ProgType(
            _name, _number, CAP_NET_ADMIN, _CLS,
            (*BASE_SETS, "sk_perfmon", "tc"),
            variants={
                **SKB_VARIANTS, "sk_lookup_tcp": "tc", "sk_lookup_udp": "tc",
                "skc_lookup_tcp": "tc",
            },
            test_run="skb", ld_abs=True, direct_packet="write",
        )
    )  # fmt: skip
declare(
    ProgType(
        "cgroup_skb", 8, NO_CAP, _CGROUP,
        (*BASE_SETS, "sk_perfmon", "sk_filter", "cgroup_skb"),
        variants=SKB_VARIANTS, attach=AttachRule(frozenset((INGRESS, EGRESS))),
        returns=(Returns(0, 3, frozenset((EGRESS,))), Returns(0, 1)),
        test_run="skb", ld_abs=True, direct_packet="read",
    )
)  # fmt: skip
declare(
    ProgType(
        "flow_dissector", 22, CAP_NET_ADMIN, _DISSECTOR,
        (*BASE_SETS, "sk_perfmon", "flow_dissector"),
        variants={"skb_load_bytes": "flow_dissector"}, test_run="flow_dissector",
        direct_packet="read",
    )
)  # fmt: skip
