"""Light-weight tunnels: programs on routes (net/core/lwt_bpf.c, net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import BASE_SETS, CAP_NET_ADMIN, ProgType, declare
from bpfctl.kernel.bpf.progtypes.skb import NO_SOCKET_FIELDS, SKB_VARIANTS, skb_layout

_LAYOUT = skb_layout(
    (
        *NO_SOCKET_FIELDS, "tc_classid", "data_meta", "flow_keys", "tstamp", "wire_len",
        "hwtstamp", "tstamp_type",
    ),
    ("mark", "priority", "cb"),
)  # fmt: skip

for _name, _number, _set, _packet in (
    ("lwt_in", 10, "lwt_in", "read"),
    ("lwt_out", 11, "lwt_out", "read"),
    ("lwt_xmit", 12, "lwt_xmit", "write"),
    ("lwt_seg6local", 19, "lwt_seg6local", "read"),
):
    declare(
        ProgType(
            _name, _number, CAP_NET_ADMIN, _LAYOUT,
            (*BASE_SETS, "sk_perfmon", "lwt", _set),
            variants={
                **SKB_VARIANTS, "lwt_push_encap": "xmit" if _name == "lwt_xmit" else "",
            },
            test_run="" if _name == "lwt_seg6local" else "skb", direct_packet=_packet,
        )
    )  # fmt: skip
