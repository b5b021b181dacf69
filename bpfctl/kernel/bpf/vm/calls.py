"""From a call instruction to the body of a helper: arguments decoded as the declaration says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import CodeType
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


def helper_body(number: int, variant: str = "") -> tuple[Body, int]:
    """Return helper ``number`` as ``body(rt, ...)`` with an unsigned result, and its nr of args.

    An errno that the body raises as KernelError becomes a negative result. A helper without an
    implementation ends the run when it is called: EOPNOTSUPP.
    """
    helper = by_id(number)
    body = None if helper is None else helper.body(variant)
    if helper is None or body is None:
        return _missing(helper.name if helper is not None else f"#{number}"), 0
    specs = helper.proto(variant).args
    if helper.registers:
        return _wrapped(body, 5, -1), 5
    maps = [at for at, spec in enumerate(specs) if spec.base == Arg.CONST_MAP_PTR]
    return _wrapped(body, len(specs), maps[0] if maps else -1), len(specs)


@cache
def _wrapper(nr_args: int, map_at: int) -> CodeType:
    names = [f"a{at}" for at in range(nr_args)]
    given = [f"rt.map_at({name})" if at == map_at else name for at, name in enumerate(names)]
    text = (
        f"def call({', '.join(['rt', *names])}):\n"
        " try:\n"
        f"  return (body({', '.join(['rt', *given])}) or 0) & {U64:#x}\n"
        " except RunEnded:\n"
        "  raise\n"
        " except KernelError as exc:\n"
        f"  return -exc.code & {U64:#x}\n"
    )
    return compile(text, "<helper call>", "exec")


def _wrapped(body: Callable[..., Any], nr_args: int, map_at: int) -> Body:
    """Return a body with its result made unsigned; argument ``map_at`` (-1: none) is a map."""
    names: dict[str, Any] = {"body": body, "RunEnded": RunEnded, "KernelError": KernelError}
    exec(_wrapper(nr_args, map_at), names)
    call: Body = names["call"]
    return call


def _missing(name: str) -> Body:
    def call(rt: Runtime) -> int:
        raise NotModelled(name)

    return call


class NotModelled(RunEnded):
    """A program called something that the simulator does not model."""

    def __init__(self, name: str) -> None:
        super().__init__(E.OPNOTSUPP, name, hint=f"{name} is not modelled")


def kfunc_body(insn: Insn) -> tuple[Body, int]:
    """Return a kernel function by what a call insn says of it."""
    return _missing(f"kernel function {insn.imm}"), 0
