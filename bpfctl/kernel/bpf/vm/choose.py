"""Finding execution engines by name."""

from __future__ import annotations

import sys
from importlib import import_module

from bpfctl.errors import EngineError
from bpfctl.kernel.bpf.vm.engine import Engine

BUILTIN = {
    "interp": "bpfctl.kernel.bpf.vm.interp:Interpreter",
    "py": "bpfctl.kernel.bpf.vm.py.engine:PyEngine",
}
AUTO = "py" if sys.byteorder == "little" else "interp"
"""Typed views of the arena have the host's byte order."""


def engine_named(name: str) -> Engine:
    """Return the engine of that name; "" or "auto" choose one.

    :raises EngineError: there is none.
    """
    wanted = AUTO if name in ("", "auto") else name
    where = BUILTIN.get(wanted)
    if where is None:
        raise EngineError(
            f"unknown engine '{name}'", hint=f"known: auto, {', '.join(sorted(BUILTIN))}"
        )
    module, _, attribute = where.partition(":")
    made: Engine = getattr(import_module(module), attribute)()
    return made
