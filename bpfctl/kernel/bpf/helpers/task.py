"""The current task (kernel/bpf/helpers.c, kernel/trace/bpf_trace.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

declare(14, "get_current_pid_tgid")
declare(15, "get_current_uid_gid")
declare(16, "get_current_comm", Ret.INTEGER, (Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE))
declare(35, "get_current_task", gpl_only=True)
declare(109, "send_signal", Ret.INTEGER, (Arg.ANYTHING,))
declare(117, "send_signal_thread", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    120, "get_ns_current_pid_tgid", Ret.INTEGER,
    (Arg.ANYTHING, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    158, "get_current_task_btf", Ret.BTF_ID_TRUSTED, ret_btf="task_struct", gpl_only=True,
    changes={"untrusted_btf": {"ret": Ret.BTF_ID}},
)  # fmt: skip
declare(175, "task_pt_regs", Ret.BTF_ID, (btf("task_struct"),), ret_btf="pt_regs", gpl_only=True)
