"""Small things that most programs may call, tail calls and locks (kernel/bpf/helpers.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, declare

declare(7, "get_prandom_u32")
declare(8, "get_smp_processor_id")
declare(12, "tail_call", Ret.VOID, (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING))
declare(42, "get_numa_node_id")
declare(93, "spin_lock", Ret.VOID, (Arg.PTR_TO_SPIN_LOCK,))
declare(94, "spin_unlock", Ret.VOID, (Arg.PTR_TO_SPIN_LOCK,))
declare(
    153, "per_cpu_ptr", Ret.MEM_OR_BTF_ID_OR_NULL | Flag.RDONLY,
    (Arg.PTR_TO_PERCPU_BTF_ID, Arg.ANYTHING),
)  # fmt: skip
declare(154, "this_cpu_ptr", Ret.MEM_OR_BTF_ID | Flag.RDONLY, (Arg.PTR_TO_PERCPU_BTF_ID,))
declare(186, "get_retval")
declare(187, "set_retval", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    194, "kptr_xchg", Ret.BTF_ID_OR_NULL,
    (Arg.KPTR_XCHG_DEST, Arg.PTR_TO_BTF_ID_OR_NULL | Flag.RELEASE), acquires=True,
)  # fmt: skip
