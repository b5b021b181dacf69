"""The engines that can run here."""

from __future__ import annotations

from bpfctl.errors import Failure
from bpfctl.kernel.bpf.vm.choose import engine_named
from bpfctl.plugins import BUILTIN_ENGINES


def _there(name: str) -> bool:
    try:
        engine_named(name)
    except Failure:
        return False
    return True


ENGINES = [name for name in BUILTIN_ENGINES if _there(name)]
