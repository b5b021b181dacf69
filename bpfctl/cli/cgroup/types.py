"""Attach types of cgroups, in the order in which bpftool looks for them."""

from __future__ import annotations

from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

CGROUP_ATTACH_TYPES: tuple[int, ...] = tuple(
    ATTACH_TYPE_NUMBER[name]
    for name in (
        "cgroup_inet_ingress",
        "cgroup_inet_egress",
        "cgroup_inet_sock_create",
        "cgroup_inet_sock_release",
        "cgroup_inet4_bind",
        "cgroup_inet6_bind",
        "cgroup_inet4_post_bind",
        "cgroup_inet6_post_bind",
        "cgroup_inet4_connect",
        "cgroup_inet6_connect",
        "cgroup_unix_connect",
        "cgroup_inet4_getpeername",
        "cgroup_inet6_getpeername",
        "cgroup_unix_getpeername",
        "cgroup_inet4_getsockname",
        "cgroup_inet6_getsockname",
        "cgroup_unix_getsockname",
        "cgroup_udp4_sendmsg",
        "cgroup_udp6_sendmsg",
        "cgroup_unix_sendmsg",
        "cgroup_udp4_recvmsg",
        "cgroup_udp6_recvmsg",
        "cgroup_unix_recvmsg",
        "cgroup_sock_ops",
        "cgroup_device",
        "cgroup_sysctl",
        "cgroup_getsockopt",
        "cgroup_setsockopt",
        "lsm_cgroup",
    )
)
