"""Refusals in words: which limit was hit, and what to type to be let pass."""

from __future__ import annotations

from bpfctl.errors import Hint

# How one raises the memory limit of a cgroup.
SET_MEMORY_MAX = "bpfctl memcg set {whom} memory.max={least}"


def worded(hint: Hint, memory_max: str = SET_MEMORY_MAX) -> str:
    """Return a hint as a sentence; ``memory_max`` is what raises a cgroup's limit here."""
    if isinstance(hint, str):
        return hint
    if hint.limit == "RLIMIT_MEMLOCK":
        return (
            f"RLIMIT_MEMLOCK of {hint.allowed} bytes: user {hint.whom} has {hint.used} bytes "
            f"locked, this asks for {hint.asked} more; --memlock {hint.least} would suffice"
        )
    if hint.limit == "memory":
        what, command = "the machine has", f"bpfctl sim set memory {hint.least}"
    else:
        what = f"{hint.limit} of {hint.whom} is"
        command = memory_max.format(whom=hint.whom, least=hint.least)
    lifted = ", max lifts the limit" if command.startswith("bpfctl memcg set ") else ""
    return (
        f"{what} {hint.allowed} bytes, {hint.used} are in use and {hint.asked} more were asked "
        f"for: {command} is the least it takes{lifted}"
    )
