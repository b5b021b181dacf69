"""Text: the trace pipe, iterators' files, snprintf (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

declare(6, "trace_printk", Ret.INTEGER, (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE), gpl_only=True)
declare(
    126, "seq_printf", Ret.INTEGER,
    (
        btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip
declare(
    127, "seq_write", Ret.INTEGER,
    (btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO), gpl_only=True,
)  # fmt: skip
declare(
    149, "snprintf_btf", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE,
        Arg.ANYTHING,
    ),
)  # fmt: skip
declare(
    150, "seq_printf_btf", Ret.INTEGER,
    (btf("seq_file"), Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(
    165, "snprintf", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_WRITE_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.PTR_TO_CONST_STR,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip
declare(
    177, "trace_vprintk", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.PTR_TO_MEM_RDONLY_OR_NULL,
        Arg.CONST_SIZE_OR_ZERO,
    ),
    gpl_only=True,
)  # fmt: skip
