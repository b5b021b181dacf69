"""Section names and the program types that they stand for."""

from __future__ import annotations

import pytest

from bpfctl.libbpf.sections import find_section_def, supported_sections
from bpfctl.uapi import PROG_TYPES
from bpfctl.uapi_attach import ATTACH_TYPES


@pytest.mark.parametrize(
    ("section", "prog_type", "attach"),
    [
        ("socket", "socket_filter", None),
        ("tc", "sched_cls", None),
        ("tc/ingress", "sched_cls", "tcx_ingress"),
        ("kprobe/do_exit", "kprobe", None),
        ("kprobe", "kprobe", None),
        ("kprobe.multi/do_*", "kprobe", "trace_kprobe_multi"),
        ("tp/sched/sched_switch", "tracepoint", None),
        ("raw_tp/sys_enter", "raw_tracepoint", None),
        ("raw_tp.w/x", "raw_tracepoint_writable", None),
        ("fentry/do_exit", "tracing", "trace_fentry"),
        ("?fexit/do_exit", "tracing", "trace_fexit"),
        ("lsm/file_open", "lsm", "lsm_mac"),
        ("xdp", "xdp", "xdp"),
        ("xdp/cpumap", "xdp", "xdp_cpumap"),
        ("xdp.frags", "xdp", "xdp"),
        ("cgroup/connect4", "cgroup_sock_addr", "cgroup_inet4_connect"),
        ("cgroup_skb/egress", "cgroup_skb", "cgroup_inet_egress"),
        ("struct_ops/init", "struct_ops", None),
        ("netfilter", "netfilter", "netfilter"),
    ],
)
def test_names(section: str, prog_type: str, attach: str | None) -> None:
    found = find_section_def(section)
    assert found
    assert PROG_TYPES[found.prog_type] == prog_type
    assert (None if found.attach_type is None else ATTACH_TYPES[found.attach_type].name) == attach


@pytest.mark.parametrize("section", ["mystery", "", "xdp_prog", "socketx", "kprobes", "tc/", "?"])
def test_names_that_nobody_claims(section: str) -> None:
    assert find_section_def(section) is None


@pytest.mark.parametrize(
    ("section", "prog_type"), [("xdp_sock", "xdp"), ("socket1", "socket_filter"), ("mystery", None)]
)
def test_old_loaders_took_beginnings(section: str, prog_type: str | None) -> None:
    found = find_section_def(section, legacy=True)
    assert (PROG_TYPES[found.prog_type] if found else None) == prog_type


def test_flags_of_sleepable_and_fragments() -> None:
    flags = {name: find_section_def(name) for name in ("uprobe.s/x", "xdp.frags", "syscall", "xdp")}
    assert {name: found and found.prog_flags for name, found in flags.items()} == {
        "uprobe.s/x": 0x10,
        "xdp.frags": 0x20,
        "syscall": 0x10,
        "xdp": 0,
    }


def test_the_list_is_in_libbpf_order() -> None:
    names = supported_sections()
    assert len(names) == len(set(names))
    assert (names[0], names[1], names[-1]) == ("socket", "sk_reuseport/migrate", "netfilter")
