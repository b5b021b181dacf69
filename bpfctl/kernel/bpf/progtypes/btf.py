"""Programs whose context is typed by the kernel's BTF (kernel/bpf/trampoline.c, bpf_lsm.c ...)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_BPF,
    CAP_NET_ADMIN,
    CAP_PERFMON,
    AttachRule,
    CtxLayout,
    Field,
    ProgType,
    Returns,
    declare,
)

TRACE_RAW_TP, TRACE_FENTRY, TRACE_FEXIT, MODIFY_RETURN = 23, 24, 25, 26
LSM_MAC, TRACE_ITER, LSM_CGROUP, NETFILTER = 27, 28, 43, 45
TRACE_FSESSION = 60

_SETS = ("base", "base_bpf", "base_perfmon", "tracing", "tracing_admin", "tracing_prog")
_RAW = {
    "perf_event_output": "raw_tp", "get_stackid": "raw_tp", "get_stack": "raw_tp",
    "sk_storage_get": "tracing", "sk_storage_delete": "tracing", "get_socket_cookie": "pointer",
    "get_attach_cookie": "tracing",
}  # fmt: skip
SYSCALL_CTX_MAX = 0xFFFF

declare(
    ProgType(
        "tracing", 26, CAP_PERFMON, None, _SETS,
        attach_helpers={
            TRACE_RAW_TP: ("raw_tracepoint", "func_arg_cnt"),
            TRACE_FENTRY: ("attach_cookie", "trampoline"),
            TRACE_FEXIT: ("attach_cookie", "trampoline"),
            TRACE_FSESSION: ("attach_cookie", "trampoline"),
            MODIFY_RETURN: ("attach_cookie", "trampoline"),
            TRACE_ITER: ("iter",),
        },
        variants=_RAW, attach_btf=True,
        returns=(
            Returns(0, 0, frozenset((TRACE_FENTRY, TRACE_FEXIT))),
            Returns(0, 1, frozenset((TRACE_FSESSION, TRACE_ITER))),
        ),
        sleepable="may", sleepable_attach=frozenset(
            (TRACE_FENTRY, TRACE_FEXIT, MODIFY_RETURN, TRACE_ITER, TRACE_FSESSION)
        ),
        test_run="tracing",
    )
)  # fmt: skip
declare(
    ProgType(
        "struct_ops", 27, CAP_PERFMON, None, (*BASE_SETS, "tcp_ca"),
        variants={
            "sk_storage_get": "", "setsockopt": "sk", "getsockopt": "sk",
        },
        attach_btf=True, sleepable="may", sleepable_trait="sleepable_struct_ops",
        test_run="struct_ops",
    )
)  # fmt: skip
declare(
    ProgType(
        "ext", 28, CAP_NET_ADMIN, None, (), attach=AttachRule(frozenset((0,))), attach_btf=True,
    )
)  # fmt: skip
declare(
    ProgType(
        "lsm", 29, CAP_PERFMON, None, (*_SETS, "lsm"),
        attach_helpers={
            LSM_MAC: ("attach_cookie", "trampoline"), LSM_CGROUP: ("cgroup_lsm",),
        },
        variants={**_RAW, "setsockopt": "unlocked", "getsockopt": "unlocked"},
        attach_btf=True, sleepable="may",
    )
)  # fmt: skip
declare(
    ProgType(
        "syscall", 31, CAP_BPF,
        CtxLayout(
            "ctx", SYSCALL_CTX_MAX, span=(0, SYSCALL_CTX_MAX), writable=True,
            unaligned_trait="syscall_ctx_unaligned",
        ),
        (*_SETS, "syscall", "syscall_perfmon"),
        variants=_RAW, attach=AttachRule(frozenset((0,))), sleepable="always",
        test_run="syscall",
    )
)  # fmt: skip
declare(
    ProgType(
        "netfilter", 32, CAP_NET_ADMIN,
        CtxLayout(
            "bpf_nf_ctx", 16,
            (
                Field("state", 0, 8, becomes="btf:nf_hook_state"),
                Field("skb", 8, 8, becomes="btf:sk_buff"),
            ),
        ),
        BASE_SETS, attach=AttachRule(frozenset((NETFILTER,))),
        returns=(Returns(0, 1),), test_run="netfilter",
    )
)  # fmt: skip
