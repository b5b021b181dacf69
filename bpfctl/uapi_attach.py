"""The part of the bpf(2) interface that attaches programs: types, flags, records.

Names of attach types are libbpf's; ``old_name`` is what bpftool up to 5.19 printed and every
version still takes. Attribute records keep the kernel's field names, as in :mod:`bpfctl.uapi`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bpfctl.light import dataclass, field


class AttachTypeName(NamedTuple):
    """What one enum bpf_attach_type is called; ``old_name`` is empty where there was none."""

    name: str
    old_name: str = ""


ATTACH_TYPES: tuple[AttachTypeName, ...] = (
    AttachTypeName("cgroup_inet_ingress", "ingress"),
    AttachTypeName("cgroup_inet_egress", "egress"),
    AttachTypeName("cgroup_inet_sock_create", "sock_create"),
    AttachTypeName("cgroup_sock_ops", "sock_ops"),
    AttachTypeName("sk_skb_stream_parser", "sk_skb_stream_parser"),
    AttachTypeName("sk_skb_stream_verdict", "sk_skb_stream_verdict"),
    AttachTypeName("cgroup_device", "device"),
    AttachTypeName("sk_msg_verdict", "sk_msg_verdict"),
    AttachTypeName("cgroup_inet4_bind", "bind4"),
    AttachTypeName("cgroup_inet6_bind", "bind6"),
    AttachTypeName("cgroup_inet4_connect", "connect4"),
    AttachTypeName("cgroup_inet6_connect", "connect6"),
    AttachTypeName("cgroup_inet4_post_bind", "post_bind4"),
    AttachTypeName("cgroup_inet6_post_bind", "post_bind6"),
    AttachTypeName("cgroup_udp4_sendmsg", "sendmsg4"),
    AttachTypeName("cgroup_udp6_sendmsg", "sendmsg6"),
    AttachTypeName("lirc_mode2", "lirc_mode2"),
    AttachTypeName("flow_dissector", "flow_dissector"),
    AttachTypeName("cgroup_sysctl", "sysctl"),
    AttachTypeName("cgroup_udp4_recvmsg", "recvmsg4"),
    AttachTypeName("cgroup_udp6_recvmsg", "recvmsg6"),
    AttachTypeName("cgroup_getsockopt", "getsockopt"),
    AttachTypeName("cgroup_setsockopt", "setsockopt"),
    AttachTypeName("trace_raw_tp", "raw_tp"),
    AttachTypeName("trace_fentry", "fentry"),
    AttachTypeName("trace_fexit", "fexit"),
    AttachTypeName("modify_return", "mod_ret"),
    AttachTypeName("lsm_mac", "lsm_mac"),
    AttachTypeName("trace_iter", "trace_iter"),
    AttachTypeName("cgroup_inet4_getpeername", "getpeername4"),
    AttachTypeName("cgroup_inet6_getpeername", "getpeername6"),
    AttachTypeName("cgroup_inet4_getsockname", "getsockname4"),
    AttachTypeName("cgroup_inet6_getsockname", "getsockname6"),
    AttachTypeName("xdp_devmap", "xdp_devmap"),
    AttachTypeName("cgroup_inet_sock_release", "sock_release"),
    AttachTypeName("xdp_cpumap", "xdp_cpumap"),
    AttachTypeName("sk_lookup", "sk_lookup"),
    AttachTypeName("xdp", "xdp"),
    AttachTypeName("sk_skb_verdict", "sk_skb_verdict"),
    AttachTypeName("sk_reuseport_select", "sk_skb_reuseport_select"),
    AttachTypeName("sk_reuseport_select_or_migrate", "sk_skb_reuseport_select_or_migrate"),
    AttachTypeName("perf_event", "perf_event"),
    AttachTypeName("trace_kprobe_multi", "trace_kprobe_multi"),
    AttachTypeName("lsm_cgroup"),
    AttachTypeName("struct_ops"),
    AttachTypeName("netfilter"),
    AttachTypeName("tcx_ingress"),
    AttachTypeName("tcx_egress"),
    AttachTypeName("trace_uprobe_multi"),
    AttachTypeName("cgroup_unix_connect"),
    AttachTypeName("cgroup_unix_sendmsg"),
    AttachTypeName("cgroup_unix_recvmsg"),
    AttachTypeName("cgroup_unix_getpeername"),
    AttachTypeName("cgroup_unix_getsockname"),
    AttachTypeName("netkit_primary"),
    AttachTypeName("netkit_peer"),
    AttachTypeName("trace_kprobe_session"),
    AttachTypeName("trace_uprobe_session"),
    AttachTypeName("trace_fsession"),
)
ATTACH_TYPE_NUMBER: dict[str, int] = {
    entry.name: number for number, entry in enumerate(ATTACH_TYPES)
}

LINK_TYPES: tuple[str, ...] = (
    "unspec",
    "raw_tracepoint",
    "tracing",
    "cgroup",
    "iter",
    "netns",
    "xdp",
    "perf_event",
    "kprobe_multi",
    "struct_ops",
    "netfilter",
    "tcx",
    "uprobe_multi",
    "netkit",
    "sockmap",
)
LINK_TYPE_NUMBER: dict[str, int] = {name: number for number, name in enumerate(LINK_TYPES)}

# attach_flags of BPF_PROG_ATTACH, flags of BPF_LINK_CREATE
BPF_F_ALLOW_OVERRIDE = 0x1
BPF_F_ALLOW_MULTI = 0x2
BPF_F_REPLACE = 0x4
BPF_F_BEFORE = 0x8
BPF_F_AFTER = 0x10
BPF_F_ID = 0x20
BPF_F_PREORDER = 0x40
BPF_F_ATTACH_LINK = 0x2000
"""BPF_F_LINK: ``relative`` names a link."""
BPF_F_QUERY_EFFECTIVE = 0x1
BPF_F_KPROBE_MULTI_RETURN = 0x1
BPF_F_UPROBE_MULTI_RETURN = 0x1


# IFLA_XDP_FLAGS, and flags of XDP links
XDP_FLAGS_UPDATE_IF_NOEXIST = 0x1
XDP_FLAGS_SKB_MODE = 0x2
XDP_FLAGS_DRV_MODE = 0x4
XDP_FLAGS_HW_MODE = 0x8
XDP_FLAGS_REPLACE = 0x10
XDP_FLAGS_MODES = XDP_FLAGS_SKB_MODE | XDP_FLAGS_DRV_MODE | XDP_FLAGS_HW_MODE
XDP_FLAGS_MASK = XDP_FLAGS_UPDATE_IF_NOEXIST | XDP_FLAGS_MODES | XDP_FLAGS_REPLACE


@dataclass(slots=True)
class ProgAttachAttr:
    """BPF_PROG_ATTACH and BPF_PROG_DETACH. ``target`` is a descriptor or an ifindex;
    ``relative`` a descriptor, or with BPF_F_ID an id."""

    target: int = 0
    attach_bpf_fd: int = 0
    attach_type: int = 0
    attach_flags: int = 0
    replace_bpf_fd: int = 0
    relative: int = 0
    expected_revision: int = 0


@dataclass(slots=True)
class ProgQueryAttr:
    """BPF_PROG_QUERY. ``prog_cnt``: room for so many ids; which arrays were given at all."""

    target: int = 0
    attach_type: int = 0
    query_flags: int = 0
    prog_cnt: int = 0
    want_prog_ids: bool = True
    want_prog_attach_flags: bool = False
    want_link_ids: bool = False


@dataclass(slots=True)
class ProgQueryResult:
    """What BPF_PROG_QUERY wrote: ``prog_cnt`` is the length of the whole list, ``errno`` ENOSPC
    where it did not fit; ``attach_flags`` and ``revision`` None: left as they were."""

    prog_cnt: int = 0
    prog_ids: tuple[int, ...] = ()
    prog_attach_flags: tuple[int, ...] = ()
    link_ids: tuple[int, ...] = ()
    attach_flags: int | None = 0
    revision: int | None = None
    errno: int = 0


@dataclass(slots=True)
class LinkCreateAttr:
    """BPF_LINK_CREATE. ``target`` is a descriptor or an ifindex; what only one type of link
    takes is in ``extra``: perf (cookie), kprobe and uprobe multi, netfilter, iterators."""

    prog_fd: int = 0
    target: int = 0
    attach_type: int = 0
    flags: int = 0
    relative: int = 0
    expected_revision: int = 0
    target_btf_id: int = 0
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class LinkUpdateAttr:
    """BPF_LINK_UPDATE. ``old_prog_fd`` counts with BPF_F_REPLACE only."""

    link_fd: int
    new_prog_fd: int = 0
    flags: int = 0
    old_prog_fd: int = 0


@dataclass(slots=True)
class RawTracepointOpenAttr:
    """BPF_RAW_TRACEPOINT_OPEN. ``name`` None is the NULL pointer."""

    prog_fd: int = 0
    name: bytes | None = None
    cookie: int = 0


@dataclass(slots=True)
class LinkInfo:
    """struct bpf_link_info: the common part, and what the type adds by the kernel's names."""

    type: int
    id: int
    prog_id: int
    details: dict[str, Any] = field(default_factory=dict)
