"""Machines of one's own, in memory, and what one may say about them before they boot."""

from __future__ import annotations

from typing import Any

from bpfctl.kernel.config import PAGE_SIZES, Config, parse_setting
from bpfctl.system import System

INIT_PID = 1
ROOT_CGROUP = 1


def boot(release: str, **settings: Any) -> System:
    """Boot a machine that goes with the process; ``settings`` are fields of Config.

    :raises Failure: there is no such release, setting or value.
    """
    from bpfctl.kernel.kernel import Kernel

    return Kernel.in_memory(release, **settings)


def rebooted(system: System) -> System:
    """Return a system anew over its state, with the settings that were changed meanwhile."""
    from bpfctl.kernel.kernel import Kernel

    return Kernel(system.storage)


def engine_exists(name: str) -> None:
    """Look an execution engine up.

    :raises EngineError: there is none of that name.
    """
    from bpfctl.kernel.bpf.vm.choose import engine_named

    engine_named(name)


__all__ = [
    "INIT_PID",
    "PAGE_SIZES",
    "ROOT_CGROUP",
    "Config",
    "boot",
    "engine_exists",
    "parse_setting",
    "rebooted",
]
