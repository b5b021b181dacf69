"""Programs in the receive path of a device (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_NET_ADMIN,
    PACKET,
    PACKET_END,
    PACKET_META,
    CtxLayout,
    Field,
    ProgType,
    declare,
)

XDP_DEVMAP, XDP_CPUMAP, XDP = 33, 35, 37

_LAYOUT = CtxLayout(
    "xdp_md",
    24,
    (
        Field("data", 0, becomes=PACKET),
        Field("data_end", 4, becomes=PACKET_END),
        Field("data_meta", 8, becomes=PACKET_META),
        Field("ingress_ifindex", 12),
        Field("rx_queue_index", 16),
        Field("egress_ifindex", 20, attach=frozenset((XDP_DEVMAP,))),
    ),
)

declare(
    ProgType(
        "xdp",
        6,
        CAP_NET_ADMIN,
        _LAYOUT,
        (*BASE_SETS, "sk_perfmon", "xdp"),
        variants={
            "perf_event_output": "xdp",
            "redirect": "xdp",
            "fib_lookup": "xdp",
            "check_mtu": "xdp",
            "sk_lookup_tcp": "xdp",
            "sk_lookup_udp": "xdp",
            "skc_lookup_tcp": "xdp",
        },
        test_run="xdp",
        direct_packet="write",
    )
)
