"""What each attach type is for: the program type it takes and the family that handles it.

Mirrors attach_type_to_prog_type() and the switches of bpf_prog_attach() and link_create() in
kernel/bpf/syscall.c. Which attach types a release has is in its profile.
"""

from __future__ import annotations

from typing import NamedTuple

from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER


class AttachType(NamedTuple):
    """``prog_type`` by name, "" where no BPF_PROG_ATTACH is known for it."""

    prog_type: str
    family: str


_CGROUP = {
    "cgroup_skb": ("cgroup_inet_ingress", "cgroup_inet_egress"),
    "cgroup_sock": (
        "cgroup_inet_sock_create", "cgroup_inet_sock_release", "cgroup_inet4_post_bind",
        "cgroup_inet6_post_bind",
    ),
    "cgroup_sock_addr": (
        "cgroup_inet4_bind", "cgroup_inet6_bind", "cgroup_inet4_connect", "cgroup_inet6_connect",
        "cgroup_udp4_sendmsg", "cgroup_udp6_sendmsg", "cgroup_udp4_recvmsg",
        "cgroup_udp6_recvmsg", "cgroup_inet4_getpeername", "cgroup_inet6_getpeername",
        "cgroup_inet4_getsockname", "cgroup_inet6_getsockname", "cgroup_unix_connect",
        "cgroup_unix_sendmsg", "cgroup_unix_recvmsg", "cgroup_unix_getpeername",
        "cgroup_unix_getsockname",
    ),
    "sock_ops": ("cgroup_sock_ops",),
    "cgroup_device": ("cgroup_device",),
    "cgroup_sysctl": ("cgroup_sysctl",),
    "cgroup_sockopt": ("cgroup_getsockopt", "cgroup_setsockopt"),
    "lsm": ("lsm_cgroup",),
}  # fmt: skip
_OTHERS = {
    "sk_skb": ("sockmap", ("sk_skb_stream_parser", "sk_skb_stream_verdict", "sk_skb_verdict")),
    "sk_msg": ("sockmap", ("sk_msg_verdict",)),
    "lirc_mode2": ("lirc", ("lirc_mode2",)),
    "flow_dissector": ("netns", ("flow_dissector",)),
    "sk_lookup": ("netns", ("sk_lookup",)),
    "xdp": ("xdp", ("xdp",)),
    "netfilter": ("netfilter", ("netfilter",)),
}
_SCHED_CLS = {
    "tcx": ("tcx_ingress", "tcx_egress"),
    "netkit": ("netkit_primary", "netkit_peer"),
}
_TRACING = {
    "trace_iter": "tracing", "trace_raw_tp": "tracing", "trace_fentry": "tracing",
    "trace_fexit": "tracing", "modify_return": "tracing", "lsm_mac": "lsm",
}  # fmt: skip


def _table() -> dict[int, AttachType]:
    found: dict[int, AttachType] = {}
    for prog_type, names in _CGROUP.items():
        for name in names:
            found[ATTACH_TYPE_NUMBER[name]] = AttachType(prog_type, "cgroup")
    for prog_type, (family, names) in _OTHERS.items():
        for name in names:
            found[ATTACH_TYPE_NUMBER[name]] = AttachType(prog_type, family)
    for family, names in _SCHED_CLS.items():
        for name in names:
            found[ATTACH_TYPE_NUMBER[name]] = AttachType("sched_cls", family)
    for name, prog_type in _TRACING.items():
        found[ATTACH_TYPE_NUMBER[name]] = AttachType(prog_type, "tracing")
    return found


BY_NUMBER = _table()
EXACT = frozenset(("cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "sk_lookup"))
"""Program types whose expected_attach_type must be the one that they are attached with."""


def cgroup_hook(attach_type: int) -> str:
    """Return the name of the attach points of one attach type on cgroups."""
    return f"cgroup/{attach_type}"


def cgroup_hooks() -> list[str]:
    """Return the names of all attach points that a cgroup has."""
    return [cgroup_hook(number) for number, entry in BY_NUMBER.items() if entry.family == "cgroup"]
