"""Memory of the kernel and of user space, read and written safely (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

_READ = (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING)

declare(4, "probe_read", Ret.INTEGER, _READ, gpl_only=True)
declare(
    36, "probe_write_user", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE), gpl_only=True,
)  # fmt: skip
declare(45, "probe_read_str", Ret.INTEGER, _READ, gpl_only=True)
declare(112, "probe_read_user", Ret.INTEGER, _READ, gpl_only=True)
declare(113, "probe_read_kernel", Ret.INTEGER, _READ, gpl_only=True)
declare(114, "probe_read_user_str", Ret.INTEGER, _READ, gpl_only=True)
declare(115, "probe_read_kernel_str", Ret.INTEGER, _READ, gpl_only=True)
declare(148, "copy_from_user", Ret.INTEGER, _READ, might_sleep=True)
declare(
    191, "copy_from_user_task", Ret.INTEGER,
    (
        Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, btf("task_struct"),
        Arg.ANYTHING,
    ),
    gpl_only=True, might_sleep=True,
)  # fmt: skip
