"""Perf events: counters, samples, stacks (kernel/trace/bpf_trace.c, kernel/bpf/stackmap.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

_SAMPLE = (Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO)
_STACKID = (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING)
_STACK = (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING)

declare(22, "perf_event_read", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING), gpl_only=True)
declare(25, "perf_event_output", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SAMPLE), gpl_only=True)
for _kind in ("skb", "xdp", "tp", "raw_tp", "netfilter"):
    declare(
        25, "perf_event_output", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SAMPLE), variant=_kind,
        gpl_only=True,
    )  # fmt: skip
declare(27, "get_stackid", Ret.INTEGER, _STACKID, gpl_only=True)
declare(27, "get_stackid", Ret.INTEGER, _STACKID, variant="perf_event")
for _kind in ("tp", "raw_tp"):
    declare(27, "get_stackid", Ret.INTEGER, _STACKID, variant=_kind, gpl_only=True)
declare(
    55, "perf_event_read_value", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(
    56, "perf_prog_read_value", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(67, "get_stack", Ret.INTEGER, _STACK, gpl_only=True)
for _kind in ("tp", "raw_tp", "perf_event"):
    declare(67, "get_stack", Ret.INTEGER, _STACK, variant=_kind, gpl_only=True)
declare(111, "skb_output", Ret.INTEGER, (btf("sk_buff"), *_SAMPLE), gpl_only=True)
declare(
    119, "read_branch_records", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(121, "xdp_output", Ret.INTEGER, (btf("xdp_buff"), *_SAMPLE), gpl_only=True)
declare(
    141, "get_task_stack", Ret.INTEGER,
    (btf("task_struct"), Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(
    176, "get_branch_snapshot", Ret.INTEGER,
    (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING), gpl_only=True,
)  # fmt: skip
