"""What the verifier gives back for a program that it accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bpfctl.isa.insn import Insn


@dataclass(slots=True)
class Stats:
    """The statistics line of the log (and ``verified_insns``)."""

    processed: int = 0
    max_states_per_insn: int = 0
    total_states: int = 0
    peak_states: int = 0


@dataclass(slots=True)
class VerifiedProgram:
    """An accepted program.

    ``insns`` is the program as loaded with map ids for descriptors: what runs. ``xlated`` is
    what the kernel made of it: what is shown. ``starts`` and ``xlated_starts`` are the first
    instructions of its functions, ``map_ids`` the maps in order of first use, ``stack_depths``
    bytes of stack a function. ``symbols`` names kernel addresses in ``xlated`` by instruction,
    ``xlated_at`` says where each instruction that was loaded is in it. ``facts`` holds, by
    instruction, what was true on every visit.
    """

    insns: list[Insn]
    xlated: list[Insn]
    starts: list[int]
    xlated_starts: list[int]
    map_ids: list[int]
    stack_depths: list[int]
    stats: Stats
    facts: dict[int, Any] = field(default_factory=dict)
    log: str = ""
    btf_id: int = 0
    symbols: dict[int, str] = field(default_factory=dict)
    xlated_at: list[int] = field(default_factory=list)
