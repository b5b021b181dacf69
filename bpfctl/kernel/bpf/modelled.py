"""Which helpers the simulator models: a program that calls another one is refused at load."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import CALL, decode_all
from bpfctl.kernel.bpf.helpers import by_id

TAIL_CALL = 12
"""Done by the engines themselves."""


def is_modelled(number: int) -> bool:
    """Tell whether a helper has a body."""
    helper = by_id(number)
    return number == TAIL_CALL or (helper is not None and bool(helper.bodies))


def not_modelled(raw: bytes) -> dict[str, int]:
    """Return the helpers that a program calls and that are not modelled, with how often."""
    found: dict[str, int] = {}
    for insn in decode_all(raw):
        if insn.code == CALL and insn.src == 0 and not is_modelled(insn.imm):
            helper = by_id(insn.imm)
            name = helper.name if helper is not None else f"#{insn.imm}"
            found[name] = found.get(name, 0) + 1
    return found


def refuse_what_cannot_run(raw: bytes) -> None:
    """Refuse a program that the kernel takes and the simulator could not run.

    :raises KernelError: EOPNOTSUPP.
    """
    missing = not_modelled(raw)
    if missing:
        calls = ", ".join(f"bpf_{name} ({count})" for name, count in missing.items())
        raise KernelError(E.OPNOTSUPP, "not modelled", hint=f"not modelled, with calls: {calls}")
