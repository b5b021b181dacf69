"""What tracing and LSM programs ask (kernel/trace/bpf_trace.c, kernel/bpf/bpf_lsm.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, btf, declare, fixed

_OUT = fixed(8, Flag.UNINIT | Flag.WRITE | Flag.ALIGNED)

declare(58, "override_return", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING), gpl_only=True)
declare(147, "d_path", Ret.INTEGER, (btf("path"), Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE_OR_ZERO))
declare(159, "bprm_opts_set", Ret.INTEGER, (btf("linux_binprm"), Arg.ANYTHING))
declare(
    161, "ima_inode_hash", Ret.INTEGER,
    (btf("inode"), Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), might_sleep=True,
)  # fmt: skip
declare(173, "get_func_ip", Ret.INTEGER, (Arg.PTR_TO_CTX,), gpl_only=True)
declare(173, "get_func_ip", Ret.INTEGER, (Arg.PTR_TO_CTX,), variant="multi")
declare(174, "get_attach_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX,))
for _kind in ("multi", "perf_event", "tracing"):
    declare(174, "get_attach_cookie", Ret.INTEGER, (Arg.PTR_TO_CTX,), variant=_kind)
declare(
    183, "get_func_arg", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING, _OUT),
    changes={"int_pointers": {"args": args(Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_LONG)}},
)  # fmt: skip
declare(
    184, "get_func_ret", Ret.INTEGER, (Arg.PTR_TO_CTX, _OUT),
    changes={"int_pointers": {"args": args(Arg.PTR_TO_CTX, Arg.PTR_TO_LONG)}},
)  # fmt: skip
declare(185, "get_func_arg_cnt", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(
    193, "ima_file_hash", Ret.INTEGER,
    (btf("file"), Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE), might_sleep=True,
)  # fmt: skip
