"""Finding execution engines by name."""

from __future__ import annotations

from importlib import import_module

from bpfctl.errors import CommandError
from bpfctl.kernel.bpf.vm.engine import Engine

BUILTIN = {"interp": "bpfctl.kernel.bpf.vm.interp:Interpreter"}
AUTO = "interp"


def engine_named(name: str) -> Engine:
    """Return the engine of that name; "" or "auto" choose one.

    :raises CommandError: there is none.
    """
    wanted = AUTO if name in ("", "auto") else name
    where = BUILTIN.get(wanted)
    if where is None:
        raise CommandError(
            f"unknown engine '{name}'", hint=f"known: auto, {', '.join(sorted(BUILTIN))}"
        )
    module, _, attribute = where.partition(":")
    made: Engine = getattr(import_module(module), attribute)()
    return made
