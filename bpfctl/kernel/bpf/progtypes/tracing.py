"""Programs on probes, tracepoints and perf events (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    CAP_PERFMON,
    TP_BUFFER,
    CtxLayout,
    Field,
    ProgType,
    Returns,
    declare,
)

TRACE_KPROBE_MULTI, TRACE_UPROBE_MULTI = 42, 48
TRACE_KPROBE_SESSION, TRACE_UPROBE_SESSION = 56, 57
_SESSIONS = frozenset((TRACE_KPROBE_SESSION, TRACE_UPROBE_SESSION))

PT_REGS_SIZE = 168
PERF_MAX_TRACE_SIZE = 8192
MAX_BPF_FUNC_REG_ARGS = 12

_SETS = ("base", "base_bpf", "base_perfmon", "tracing", "tracing_admin", "attach_cookie")
_MULTI = {"get_attach_cookie": "multi", "get_func_ip": "multi"}
_COMMON = {"get_attach_cookie": "", "get_func_ip": ""}

declare(
    ProgType(
        "kprobe", 2, CAP_PERFMON,
        CtxLayout(
            "pt_regs", PT_REGS_SIZE, span=(0, PT_REGS_SIZE), writable_trait="kprobe_ctx_writes"
        ),
        (*_SETS, "kprobe"),
        variants=_COMMON,
        attach_variants={
            TRACE_KPROBE_MULTI: _MULTI, TRACE_KPROBE_SESSION: _MULTI,
            TRACE_UPROBE_MULTI: _MULTI, TRACE_UPROBE_SESSION: _MULTI,
        },
        returns=(Returns(0, 1, _SESSIONS, trait="probe_sessions"),),
        sleepable="may",
        sleepable_trait="sleepable_probes",
    )
)  # fmt: skip
declare(
    ProgType(
        "tracepoint", 5, CAP_PERFMON,
        CtxLayout("trace_entry", PERF_MAX_TRACE_SIZE, span=(8, PERF_MAX_TRACE_SIZE)),
        (*_SETS, "kprobe"),
        variants={
            "perf_event_output": "tp", "get_stackid": "tp", "get_stack": "tp",
            "get_attach_cookie": "perf_event",
        },
        sleepable="may",
        sleepable_trait="sleepable_tracepoints",
    )
)  # fmt: skip
declare(
    ProgType(
        "perf_event", 7, CAP_PERFMON,
        CtxLayout(
            "bpf_perf_event_data", 184,
            (
                *(Field("regs", 8 * index, 8) for index in range(PT_REGS_SIZE // 8)),
                Field("sample_period", 168, 8, narrow="any"),
                Field("addr", 176, 8, narrow="any"),
            ),
        ),
        (*_SETS, "perf_event"),
        variants={
            "perf_event_output": "tp", "get_stackid": "perf_event", "get_stack": "perf_event",
            "get_attach_cookie": "perf_event",
        },
    )
)  # fmt: skip
_ARGS_SIZE = 8 * MAX_BPF_FUNC_REG_ARGS
_RAW = {"perf_event_output": "raw_tp", "get_stackid": "raw_tp", "get_stack": "raw_tp"}
declare(
    ProgType(
        "raw_tracepoint", 17, CAP_PERFMON,
        CtxLayout("bpf_raw_tracepoint_args", _ARGS_SIZE, span=(0, _ARGS_SIZE)),
        (*_SETS[:-1], "raw_tracepoint"), variants={**_RAW, "get_attach_cookie": "tracing"},
        test_run="raw_tracepoint",
        sleepable="may",
        sleepable_trait="sleepable_tracepoints",
    )
)  # fmt: skip
declare(
    ProgType(
        "raw_tracepoint_writable", 24, CAP_PERFMON,
        CtxLayout(
            "bpf_raw_tracepoint_args", _ARGS_SIZE,
            (Field("buffer", 0, 8, becomes=TP_BUFFER, spans=True),), span=(0, _ARGS_SIZE),
        ),
        (*_SETS[:-1], "raw_tracepoint"), variants={**_RAW, "get_attach_cookie": "tracing"},
    )
)  # fmt: skip
