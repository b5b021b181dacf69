"""What syscall programs ask: bpf(2) itself, BTF, symbols (kernel/bpf/syscall.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, declare, fixed

_OUT = fixed(8, Flag.UNINIT | Flag.WRITE | Flag.ALIGNED)

declare(166, "sys_bpf", Ret.INTEGER, (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE))
declare(
    167, "btf_find_by_name_kind", Ret.INTEGER,
    (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING, Arg.ANYTHING),
)  # fmt: skip
declare(168, "sys_close", Ret.INTEGER, (Arg.ANYTHING,))
declare(
    179, "kallsyms_lookup_name", Ret.INTEGER,
    (Arg.PTR_TO_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, _OUT),
    changes={
        "int_pointers": {
            "args": args(
                Arg.PTR_TO_MEM, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING, Arg.PTR_TO_LONG
            )
        }
    },
)  # fmt: skip
