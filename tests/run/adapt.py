"""Lines that were changed for kernels which cannot load their programs as they are.

The recorder's rules: a syscall program becomes one of another type, its context the value of one
more map that a prologue of nine instructions looks up; an xdp context is left away.
"""

from __future__ import annotations

import copy
from typing import Any

from bpfctl.isa.insn import LD_IMM64, PSEUDO_MAP_FD, encode
from run.corpus import Line

DATA = "00" * 64
PROLOGUE_INSNS = 9


def spec_for(line: Line) -> dict[str, Any]:
    """Return the spec as it was run."""
    if not line.as_ or line.as_ == "no type":
        return line.spec
    spec = copy.deepcopy(line.spec)
    if line.as_ == "no ctx_in":
        for step in spec["steps"]:
            step.pop("ctx_in", None)
        return spec
    _retype(spec, line.as_)
    return spec


def _retype(spec: dict[str, Any], kind: str) -> None:
    runs = [step for step in spec["steps"] if step["op"] == "run"]
    sizes = [len(step["ctx_in"]) // 2 for step in runs if isinstance(step.get("ctx_in"), str)]
    context = None
    if sizes:
        context = len(spec.setdefault("maps", []))
        spec["maps"].append({"type": "array", "value": max(sizes)})
    for prog in spec["progs"]:
        if prog["type"] != "syscall":
            continue
        prog["type"] = kind
        prog.pop("flags", None)
        if context is not None:
            prog["insns"] = (prologue(context) + bytes.fromhex(prog["insns"])).hex()
            if "funcs" in prog:
                prog["funcs"] = [
                    [at + PROLOGUE_INSNS if at else 0, name] for at, name in prog["funcs"]
                ]
    steps: list[dict[str, Any]] = []
    for step in spec["steps"]:
        if step["op"] == "run" and "data_in" not in step and kind == "sched_cls":
            step = {**step, "data_in": DATA, "added_data": True}
        if step["op"] == "run" and context is not None and "ctx_in" in step:
            step = {**step, "context_map": context}
        steps.append(step)
    spec["steps"] = steps


def prologue(number: int) -> bytes:
    """Return what makes r1 the value of map ``number``, and r0 and r2 to r5 zero."""
    return b"".join(
        (
            encode(LD_IMM64, 1, PSEUDO_MAP_FD, 0, number),
            encode(0),
            encode(0xBF, 2, 10),
            encode(0x07, 2, 0, 0, -4),
            encode(0x62, 10, 0, -4, 0),
            encode(0x85, 0, 0, 0, 1),
            encode(0x55, 0, 0, 1, 0),
            encode(0x95),
            encode(0xBF, 1, 0),
        )
    )
