"""The kinds of simulated objects: what ``sim object`` takes and shows."""

from __future__ import annotations

from bpfctl.kernel.objects import KINDS, parse_attributes, shown
from bpfctl.kernel.records import File, Mapping, Memcg, Pin, Setting, SimObject, Task

__all__ = [
    "KINDS",
    "File",
    "Mapping",
    "Memcg",
    "Pin",
    "Setting",
    "SimObject",
    "Task",
    "parse_attributes",
    "shown",
]
