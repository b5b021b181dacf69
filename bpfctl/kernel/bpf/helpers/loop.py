"""Callbacks: loops, elements of maps, memory areas (kernel/bpf/bpf_iter.c, task_iter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare

declare(
    164, "for_each_map_elem", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip
declare(
    180, "find_vma", Ret.INTEGER,
    (
        btf("task_struct"), Arg.ANYTHING, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL,
        Arg.ANYTHING,
    ),
)  # fmt: skip
declare(
    181, "loop", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip
