"""Callbacks: loops, elements of maps, memory areas (kernel/bpf/bpf_iter.c, task_iter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, btf, declare, helper

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime

BPF_MAX_LOOPS = 8 * 1024 * 1024


@helper(
    164, "for_each_map_elem", Ret.INTEGER,
    (Arg.CONST_MAP_PTR, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip
def for_each_map_elem(rt: Runtime, map_: MapHandle, func: int, ctx: int, flags: int) -> int:
    """Call ``func(map, &key, value, ctx)`` for elements until it returns 1; return the calls."""
    if flags:
        return -E.INVAL
    calls = 0
    cell = rt.mem.alloc(map_.rec.key_size, "mem")
    try:
        for key in map_.all_keys():
            value = map_.value_at(key, rt.cpu)
            if not value:
                continue
            rt.mem.poke(cell.start, key)
            calls += 1
            if rt.call(func, map_.addr, cell.start, value, ctx):
                break
    finally:
        rt.mem.free(cell)
    return calls


declare(
    180, "find_vma", Ret.INTEGER,
    (
        btf("task_struct"), Arg.ANYTHING, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL,
        Arg.ANYTHING,
    ),
)  # fmt: skip
@helper(
    181, "loop", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_FUNC, Arg.PTR_TO_STACK_OR_NULL, Arg.ANYTHING),
)  # fmt: skip
def loop(rt: Runtime, nr_loops: int, func: int, ctx: int, flags: int) -> int:
    """Call ``func(index, ctx)`` up to ``nr_loops`` times, until it returns 1; return the calls."""
    nr_loops &= 0xFFFFFFFF
    if flags:
        return -E.INVAL
    if nr_loops > BPF_MAX_LOOPS:
        # The verifier inlines the loop, with a 32-bit move of the errno.
        return -E.BIG & 0xFFFFFFFF
    for index in range(nr_loops):
        if rt.call(func, index, ctx):
            return index + 1
    return nr_loops
