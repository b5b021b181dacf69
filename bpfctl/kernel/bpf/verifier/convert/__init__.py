"""Context accesses as the kernel rewrites them: one function a kind of context.

Offsets of kernel structs are measured data (profiles/offsets.toml): they depend on how a kernel
was configured.
"""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.convert import other, skb, sock
from bpfctl.kernel.bpf.verifier.convert.access import Access

Convert = Callable[[Access], None]

BY_TYPE: dict[str, Convert] = {
    **dict.fromkeys(
        (
            "socket_filter", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local",
        ),
        skb.convert,
    ),
    "sched_cls": skb.convert_cls,
    "sched_act": skb.convert_cls,
    "sk_skb": skb.convert_sk_skb,
    "flow_dissector": skb.convert_dissector,
    "xdp": other.convert_xdp,
    "cgroup_sock": sock.convert_sock,
    "cgroup_sock_addr": other.convert_sock_addr,
    "cgroup_sysctl": other.convert_sysctl,
    "cgroup_sockopt": other.convert_sockopt,
    "sock_ops": sock.convert_sock_ops,
    "sk_msg": sock.convert_sk_msg,
    "sk_reuseport": sock.convert_sk_reuseport,
    "sk_lookup": sock.convert_sk_lookup,
    "perf_event": other.convert_perf_event,
}  # fmt: skip
"""Program types whose context is not what the kernel has; others see it as it is."""

BY_POINTER: dict[int, Convert] = {
    rt.PTR_TO_SOCKET: sock.convert_sock,
    rt.PTR_TO_SOCK_COMMON: sock.convert_sock,
    rt.PTR_TO_TCP_SOCK: sock.convert_tcp_sock,
    rt.PTR_TO_XDP_SOCK: sock.convert_xdp_sock,
}
