"""Per-CPU values as rows keep them: one slot where all CPUs have the same."""

from __future__ import annotations


def pack(value: bytes, slot: int) -> bytes:
    """Return what to store of a value of ``slot`` bytes for each CPU."""
    first = value[:slot]
    return first if first * (len(value) // slot) == value else value


def unpack(stored: bytes, slot: int, cpus: int) -> bytes:
    """Return the value of all CPUs."""
    return stored * cpus if len(stored) == slot else stored
