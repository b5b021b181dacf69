"""Running instructions that are no loaded program: a buffer of memory in, r0 out.

What conformance suites of the instruction set ask of a machine. Nothing is verified; every access
is checked while it happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import Failure, KernelError
from bpfctl.kernel.bpf.vm.form import BadForm, check_form
from bpfctl.kernel.bpf.vm.program import VmProgram
from bpfctl.kernel.bpf.vm.runtime import PlainContext

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.vm import Vm


def execute(vm: Vm, raw: bytes, memory: bytes) -> tuple[int, bytes]:
    """Run instructions with r1 the address of ``memory`` and r2 its size; return r0 and it.

    :raises Failure: they mean nothing, touch what they must not, or do not end.
    """
    try:
        starts = check_form(raw)
    except BadForm as exc:
        raise Failure(f"invalid program: {exc}") from exc
    region = vm.arena.alloc(len(memory), "mem")
    vm.arena.poke(region.start, memory)
    rt = vm.begin(PlainContext(region.start if memory else 0))
    try:
        with vm.guarded("the program"):
            unit = vm.compiled(VmProgram(raw, starts))
            rt.unit = rt.caller = unit
            result = unit.enter(rt, 0, rt.fp, rt.ctx.addr, len(memory), 0, 0, 0)
        return result, vm.arena.read(region.start, len(memory))
    except KernelError as exc:
        raise Failure(f"the program failed: {exc.detail or exc.strerror}") from exc
    finally:
        vm.end(rt)
        vm.arena.free(region)
