"""Choosing an execution engine."""

from __future__ import annotations

import sys

from bpfctl import plugins
from bpfctl.errors import EngineError
from bpfctl.kernel.bpf.vm.engine import Engine

AUTO = "py" if sys.byteorder == "little" else "interp"
"""Typed views of the arena have the host's byte order."""


def engine_named(name: str) -> Engine:
    """Return the engine of that name; "" or "auto" choose one.

    :raises EngineError: there is none, or its plugin is broken.
    """
    wanted = AUTO if name in ("", "auto") else name
    found: type[Engine] | None = plugins.engine(wanted)
    if found is None:
        known = ", ".join(["auto", *plugins.BUILTIN_ENGINES])
        raise EngineError(f"unknown engine '{name}'", hint=f"built in: {known}")
    return found()
