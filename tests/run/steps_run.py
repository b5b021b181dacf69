"""BPF_PROG_TEST_RUN as the recorder called it, and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import errno_name
from bpfctl.uapi import Cmd, ElemAttr, ProgRunAttr, ProgRunResult
from run.values import context_bytes, context_words, value_bytes

if TYPE_CHECKING:
    from run.lab import Lab

ROOM = 512
"""Bytes by which the output buffer is larger than the input, unless a step says otherwise."""
WORDS_ROOM = 64


def run(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """BPF_PROG_TEST_RUN."""
    if "context_map" in step:
        return _run_on_map(lab, step)
    attr = ProgRunAttr(prog_fd=lab.prog_fd(step.get("prog", 0)))
    _data(lab, step, attr)
    _context(lab, step, attr)
    for name in ("repeat", "flags", "cpu", "batch_size", "duration"):
        setattr(attr, name, step.get(name, 0))
    found = answer(lab, step, attr, lab.bpf(Cmd.PROG_TEST_RUN, attr))
    if "added_data" in step:
        for name in ("data_out", "data_size_out"):
            found.pop(name, None)
    return found


def _data(lab: Lab, step: dict[str, Any], attr: ProgRunAttr) -> None:
    if "data_in" in step:
        attr.data_in = value_bytes(lab, step["data_in"])
        attr.data_size_in = len(attr.data_in)
    attr.data_size_in = step.get("data_size_in", attr.data_size_in)
    if "data_size_out" in step:
        attr.data_size_out = step["data_size_out"]
    elif attr.data_in is not None and not step.get("raw"):
        attr.data_size_out = len(attr.data_in) + ROOM
    attr.data_out = attr.data_size_out > 0


def _context(lab: Lab, step: dict[str, Any], attr: ProgRunAttr) -> None:
    syscall = lab.spec["progs"][step.get("prog", 0)]["type"] == "syscall"
    words = isinstance(step.get("ctx_in"), dict)
    if "ctx_in" in step:
        attr.ctx_in = context_bytes(step["ctx_in"], lab)
        attr.ctx_size_in = len(attr.ctx_in)
    attr.ctx_size_in = step.get("ctx_size_in", attr.ctx_size_in)
    if "ctx_size_out" in step:
        attr.ctx_size_out = step["ctx_size_out"]
    elif attr.ctx_in is not None and not step.get("raw") and not syscall:
        attr.ctx_size_out = len(attr.ctx_in) + (WORDS_ROOM if words else 0)
    attr.ctx_out = attr.ctx_size_out > 0


def answer(
    lab: Lab, step: dict[str, Any], attr: ProgRunAttr, result: ProgRunResult
) -> dict[str, Any]:
    """Return what came back, as the corpus writes it."""
    found: dict[str, Any] = {}
    if result.errno:
        found["err"] = errno_name(result.errno)
    if result.retval is None:
        return found
    found["retval"] = result.retval
    if attr.data_size_out or "data_size_out" in step:
        size = attr.data_size_out if result.data_size_out is None else result.data_size_out
        found["data_size_out"] = size
    if attr.data_out:
        found["data_out"] = _shown(result.data_out, attr.data_in, step.get("data_in"))
    if attr.ctx_size_out:
        size = attr.ctx_size_out if result.ctx_size_out is None else result.ctx_size_out
        found["ctx_size_out"] = size
    if result.ctx_in is not None and step.get("ctx_show", 1):
        found["ctx_out"] = _context_shown(result.ctx_in, attr, step)
    elif attr.ctx_out:
        found["ctx_out"] = _context_shown(result.ctx_out, attr, step)
    return found


def _shown(content: bytes | None, given: bytes | None, spec: Any) -> Any:
    if content is None:
        return "untouched"
    if content == given:
        return "same"
    if isinstance(spec, dict):
        return {"hex": content.rstrip(b"\0").hex(), "size": len(content)}
    return content.hex()


def _context_shown(content: bytes | None, attr: ProgRunAttr, step: dict[str, Any]) -> Any:
    if content is None:
        return "untouched"
    if isinstance(step.get("ctx_in"), dict):
        return context_words(content)
    return "same" if content == attr.ctx_in else content.hex()


def _run_on_map(lab: Lab, step: dict[str, Any]) -> dict[str, Any]:
    """Run a program whose context was made the value of a map."""
    number = step["context_map"]
    given = value_bytes(lab, step["ctx_in"])
    size = lab.map_spec(number)["value"]
    key = bytes(4)
    lab.bpf(Cmd.MAP_UPDATE_ELEM, ElemAttr(lab.map_fd(number), key, given.ljust(size, b"\0")))
    plain = {name: value for name, value in step.items() if name not in ("context_map", "ctx_in")}
    found = run(lab, plain)
    value: bytes = lab.bpf(Cmd.MAP_LOOKUP_ELEM, ElemAttr(lab.map_fd(number), key))
    found["ctx_out"] = "same" if value[: len(given)] == given else value[: len(given)].hex()
    return found


STEPS = {"run": run}
