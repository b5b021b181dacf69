"""From a call instruction to the body of a helper: arguments decoded as the declaration says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.helpers import by_id
from bpfctl.kernel.bpf.helpers.decl import Arg
from bpfctl.kernel.bpf.vm.runtime import RunEnded

if TYPE_CHECKING:
    from bpfctl.isa.insn import Insn
    from bpfctl.kernel.bpf.vm.runtime import Runtime

U64 = (1 << 64) - 1
Body = Callable[..., int]


def helper_body(number: int, variant: str = "") -> Body:
    """Return helper ``number`` as ``body(rt, r1, r2, r3, r4, r5)`` with an unsigned result.

    An errno that the body raises as KernelError becomes a negative result. A helper without an
    implementation ends the run when it is called: EOPNOTSUPP.
    """
    helper = by_id(number)
    body = None if helper is None else helper.body(variant)
    if helper is None or body is None:
        return _missing(helper.name if helper is not None else f"#{number}")
    specs = helper.proto(variant).args
    if helper.registers:
        return _plain(body, 5)
    maps = [at for at, spec in enumerate(specs) if spec.base == Arg.CONST_MAP_PTR]
    if not maps:
        return _plain(body, len(specs))
    if maps == [0]:
        return _on_map(body, len(specs))
    return _with_map(body, len(specs), maps[0])


def _plain(body: Callable[..., Any], nr_args: int) -> Body:
    def call(rt: Runtime, *regs: int) -> int:
        try:
            return (body(rt, *regs[:nr_args]) or 0) & U64
        except RunEnded:
            raise
        except KernelError as exc:
            return -exc.code & U64

    return call


def _on_map(body: Callable[..., Any], nr_args: int) -> Body:
    def call(rt: Runtime, *regs: int) -> int:
        map_ = rt.map_at(regs[0])
        try:
            return (body(rt, map_, *regs[1:nr_args]) or 0) & U64
        except RunEnded:
            raise
        except KernelError as exc:
            return -exc.code & U64

    return call


def _with_map(body: Callable[..., Any], nr_args: int, at: int) -> Body:
    def call(rt: Runtime, *regs: int) -> int:
        args: list[Any] = list(regs[:nr_args])
        args[at] = rt.map_at(regs[at])
        try:
            return (body(rt, *args) or 0) & U64
        except RunEnded:
            raise
        except KernelError as exc:
            return -exc.code & U64

    return call


def _missing(name: str) -> Body:
    def call(rt: Runtime, *regs: int) -> int:
        raise NotModelled(name)

    return call


class NotModelled(RunEnded):
    """A program called something that the simulator does not model."""

    def __init__(self, name: str) -> None:
        super().__init__(E.OPNOTSUPP, name, hint=f"{name} is not modelled")


def kfunc_body(insn: Insn) -> Body:
    """Return a kernel function by what a call insn says of it."""
    return _missing(f"kernel function {insn.imm}")
