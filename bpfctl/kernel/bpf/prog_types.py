"""What each program type demands of its loader: capabilities and attach types."""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.uapi import PROG_TYPE_NUMBER

PERF = frozenset(
    PROG_TYPE_NUMBER[name]
    for name in (
        "kprobe", "tracepoint", "perf_event", "raw_tracepoint", "raw_tracepoint_writable",
        "tracing", "lsm", "struct_ops", "ext",
    )
)  # fmt: skip
"""Types that take CAP_PERFMON."""

UNPRIVILEGED = frozenset(PROG_TYPE_NUMBER[name] for name in ("socket_filter", "cgroup_skb"))
"""Types that do not even take CAP_BPF."""

WITH_ATTACH_BTF = frozenset(
    PROG_TYPE_NUMBER[name] for name in ("tracing", "lsm", "struct_ops", "ext")
)
"""Types that name what they attach to by a BTF id."""


@dataclass(frozen=True, slots=True)
class AttachRule:
    """Values of expected_attach_type that a type accepts.

    ``zero_means``: what 0 is rewritten to. ``since`` is the attach type whose arrival brought
    the rule, 0 for "always".
    """

    allowed: frozenset[int]
    zero_means: int = 0
    since: int = 0


_SOCK_ADDR = (8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53)

ATTACH_RULES: dict[int, AttachRule] = {
    PROG_TYPE_NUMBER[name]: rule
    for name, rule in {
        "cgroup_skb": AttachRule(frozenset((0, 1))),
        "cgroup_sock": AttachRule(frozenset((2, 12, 13, 34)), zero_means=2),
        "cgroup_sock_addr": AttachRule(frozenset(_SOCK_ADDR)),
        "cgroup_sockopt": AttachRule(frozenset((21, 22))),
        "sk_lookup": AttachRule(frozenset((36,))),
        "sk_reuseport": AttachRule(frozenset((39, 40)), zero_means=39, since=39),
        "syscall": AttachRule(frozenset((0,))),
        "ext": AttachRule(frozenset((0,))),
        "netfilter": AttachRule(frozenset((45,))),
    }.items()
}

BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_MODIFY_RETURN, BPF_TRACE_ITER = 24, 25, 26, 28


def can_sleep(prog_type: int, attach_type: int) -> bool:
    """Tell whether BPF_F_SLEEPABLE suits a program (can_be_sleepable)."""
    if prog_type == PROG_TYPE_NUMBER["tracing"]:
        return attach_type in (
            BPF_TRACE_FENTRY, BPF_TRACE_FEXIT, BPF_MODIFY_RETURN, BPF_TRACE_ITER,
        )  # fmt: skip
    return prog_type in (
        PROG_TYPE_NUMBER["lsm"],
        PROG_TYPE_NUMBER["kprobe"],
        PROG_TYPE_NUMBER["struct_ops"],
        PROG_TYPE_NUMBER["syscall"],
    )
