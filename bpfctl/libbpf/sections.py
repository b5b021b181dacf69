"""Section names of programs: which type and attach type they stand for.

Mirrors libbpf 1.5's table, in its order; the first match wins.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.uapi import PROG_TYPE_NUMBER
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

BPF_F_SLEEPABLE = 0x10
BPF_F_XDP_HAS_FRAGS = 0x20


@dataclass(slots=True, frozen=True)
class SectionDef:
    """One row: ``pattern`` ending in ``+`` also matches ``pattern/more``.

    ``attach_type`` is None when the type has none at load (0 goes to the kernel).
    """

    pattern: str
    prog_type: int
    attach_type: int | None
    prog_flags: int = 0

    def matches(self, section: str) -> bool:
        if not self.pattern.endswith("+"):
            return section == self.pattern
        stem = self.pattern[:-1]
        return section == stem or section.startswith(stem + "/")


# pattern, program type, attach type, and "s" (may sleep) or "f" (XDP fragments)
_ROWS = """
socket socket_filter
sk_reuseport/migrate sk_reuseport sk_reuseport_select_or_migrate
sk_reuseport sk_reuseport sk_reuseport_select
kprobe+ kprobe
uprobe+ kprobe
uprobe.s+ kprobe - s
kretprobe+ kprobe
uretprobe+ kprobe
uretprobe.s+ kprobe - s
kprobe.multi+ kprobe trace_kprobe_multi
kretprobe.multi+ kprobe trace_kprobe_multi
kprobe.session+ kprobe trace_kprobe_session
uprobe.multi+ kprobe trace_uprobe_multi
uretprobe.multi+ kprobe trace_uprobe_multi
uprobe.multi.s+ kprobe trace_uprobe_multi s
uretprobe.multi.s+ kprobe trace_uprobe_multi s
ksyscall+ kprobe
kretsyscall+ kprobe
usdt+ kprobe
usdt.s+ kprobe - s
tc/ingress sched_cls tcx_ingress
tc/egress sched_cls tcx_egress
tcx/ingress sched_cls tcx_ingress
tcx/egress sched_cls tcx_egress
tc sched_cls
classifier sched_cls
action sched_act
netkit/primary sched_cls netkit_primary
netkit/peer sched_cls netkit_peer
tracepoint+ tracepoint
tp+ tracepoint
raw_tracepoint+ raw_tracepoint
raw_tp+ raw_tracepoint
raw_tracepoint.w+ raw_tracepoint_writable
raw_tp.w+ raw_tracepoint_writable
tp_btf+ tracing trace_raw_tp
fentry+ tracing trace_fentry
fmod_ret+ tracing modify_return
fexit+ tracing trace_fexit
fentry.s+ tracing trace_fentry s
fmod_ret.s+ tracing modify_return s
fexit.s+ tracing trace_fexit s
freplace+ ext
lsm+ lsm lsm_mac
lsm.s+ lsm lsm_mac s
lsm_cgroup+ lsm lsm_cgroup
iter+ tracing trace_iter
iter.s+ tracing trace_iter s
syscall syscall - s
xdp.frags/devmap xdp xdp_devmap f
xdp/devmap xdp xdp_devmap
xdp.frags/cpumap xdp xdp_cpumap f
xdp/cpumap xdp xdp_cpumap
xdp.frags xdp xdp f
xdp xdp xdp
perf_event perf_event
lwt_in lwt_in
lwt_out lwt_out
lwt_xmit lwt_xmit
lwt_seg6local lwt_seg6local
sockops sock_ops cgroup_sock_ops
sk_skb/stream_parser sk_skb sk_skb_stream_parser
sk_skb/stream_verdict sk_skb sk_skb_stream_verdict
sk_skb/verdict sk_skb sk_skb_verdict
sk_skb sk_skb
sk_msg sk_msg sk_msg_verdict
lirc_mode2 lirc_mode2 lirc_mode2
flow_dissector flow_dissector flow_dissector
cgroup_skb/ingress cgroup_skb cgroup_inet_ingress
cgroup_skb/egress cgroup_skb cgroup_inet_egress
cgroup/skb cgroup_skb
cgroup/sock_create cgroup_sock cgroup_inet_sock_create
cgroup/sock_release cgroup_sock cgroup_inet_sock_release
cgroup/sock cgroup_sock cgroup_inet_sock_create
cgroup/post_bind4 cgroup_sock cgroup_inet4_post_bind
cgroup/post_bind6 cgroup_sock cgroup_inet6_post_bind
cgroup/bind4 cgroup_sock_addr cgroup_inet4_bind
cgroup/bind6 cgroup_sock_addr cgroup_inet6_bind
cgroup/connect4 cgroup_sock_addr cgroup_inet4_connect
cgroup/connect6 cgroup_sock_addr cgroup_inet6_connect
cgroup/connect_unix cgroup_sock_addr cgroup_unix_connect
cgroup/sendmsg4 cgroup_sock_addr cgroup_udp4_sendmsg
cgroup/sendmsg6 cgroup_sock_addr cgroup_udp6_sendmsg
cgroup/sendmsg_unix cgroup_sock_addr cgroup_unix_sendmsg
cgroup/recvmsg4 cgroup_sock_addr cgroup_udp4_recvmsg
cgroup/recvmsg6 cgroup_sock_addr cgroup_udp6_recvmsg
cgroup/recvmsg_unix cgroup_sock_addr cgroup_unix_recvmsg
cgroup/getpeername4 cgroup_sock_addr cgroup_inet4_getpeername
cgroup/getpeername6 cgroup_sock_addr cgroup_inet6_getpeername
cgroup/getpeername_unix cgroup_sock_addr cgroup_unix_getpeername
cgroup/getsockname4 cgroup_sock_addr cgroup_inet4_getsockname
cgroup/getsockname6 cgroup_sock_addr cgroup_inet6_getsockname
cgroup/getsockname_unix cgroup_sock_addr cgroup_unix_getsockname
cgroup/sysctl cgroup_sysctl cgroup_sysctl
cgroup/getsockopt cgroup_sockopt cgroup_getsockopt
cgroup/setsockopt cgroup_sockopt cgroup_setsockopt
cgroup/dev cgroup_device cgroup_device
struct_ops+ struct_ops
struct_ops.s+ struct_ops - s
sk_lookup sk_lookup sk_lookup
netfilter netfilter netfilter
"""

_FLAGS = {"s": BPF_F_SLEEPABLE, "f": BPF_F_XDP_HAS_FRAGS}


def _parse_row(row: str) -> SectionDef:
    pattern, prog_type, attach, flag = [*row.split(), "-", "-"][:4]
    return SectionDef(
        pattern,
        PROG_TYPE_NUMBER[prog_type],
        None if attach == "-" else ATTACH_TYPE_NUMBER[attach],
        _FLAGS.get(flag, 0),
    )


SECTION_DEFS: tuple[SectionDef, ...] = tuple(_parse_row(row) for row in _ROWS.split("\n") if row)

# Libraries before libbpf 1.0 let any name that starts like these pass.
_SLOPPY = tuple(
    definition
    for definition in SECTION_DEFS
    if definition.pattern
    in ("socket", "sk_reuseport", "tc", "classifier", "action", "xdp", "perf_event", "lwt_in",
        "lwt_out", "lwt_xmit", "lwt_seg6local", "sockops", "sk_skb", "sk_msg", "lirc_mode2",
        "flow_dissector", "sk_lookup", "cgroup/sock", "cgroup/skb")
)


def find_section_def(section: str, legacy: bool = False) -> SectionDef | None:
    """Return the row for a program section, or None if no program type claims the name.

    A leading ``?`` (not loaded by default) does not count. ``legacy`` accepts what libbpf did
    before 1.0: names that merely begin like a known one, such as ``xdp_sock``.
    """
    name = section.removeprefix("?")
    for definition in SECTION_DEFS:
        if definition.matches(name):
            return definition
    if legacy:
        for definition in _SLOPPY:
            if name.startswith(definition.pattern):
                return definition
    return None


def supported_sections() -> list[str]:
    """Return all patterns, as libbpf lists them after a wrong name."""
    return [definition.pattern for definition in SECTION_DEFS]
