"""Values of sysctls (kernel/bpf/cgroup.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

declare(
    101, "sysctl_get_name", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE, Arg.ANYTHING),
)  # fmt: skip
declare(
    102, "sysctl_get_current_value", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    103, "sysctl_get_new_value", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    104, "sysctl_set_new_value", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE),
)  # fmt: skip
