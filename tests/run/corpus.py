"""Measured runs of programs: reading a folder of them, every kernel that it has.

At the top lie the lines of the newest kernel. A folder named after an older one holds the lines
that differ there, and lists of ids (sha256 of the spec) whose results are the same, or the same but
for something.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

NEWEST = "6.18"
CTX_SIZES = {192: 184, 72: 64}
"""Bytes of contexts on 6.18 and on kernels in whose same-ctxsize.txt a line is."""


@dataclass(frozen=True)
class Line:
    """One line of a corpus: what to do, and what a kernel answered.

    ``as_`` names how the line was changed for a kernel that cannot load its programs as they are.
    """

    kernel: str
    spec: dict[str, Any]
    result: dict[str, Any]
    unstable: tuple[str, ...] = ()
    as_: str = ""

    @property
    def family(self) -> str:
        return str(self.spec["family"])

    @property
    def id(self) -> str:
        return line_id(self.spec)


def line_id(spec: dict[str, Any]) -> str:
    """Return the name of a spec in the index files."""
    canonical = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _open(path: Path) -> Iterator[str]:
    if path.suffix == ".xz":
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            yield from lines
    else:
        with path.open(encoding="utf-8") as lines:
            yield from lines


def _files(folder: Path) -> dict[str, Path]:
    found = [*folder.glob("*.jsonl"), *folder.glob("*.jsonl.xz")]
    return {path.name.partition(".")[0]: path for path in sorted(found)}


def _read(path: Path, kernel: str) -> Iterator[Line]:
    for text in _open(path):
        row = json.loads(text)
        yield Line(
            kernel, row["spec"], row["result"], tuple(row.get("unstable", ())), row.get("as", "")
        )


def families(folder: Path) -> list[str]:
    """Names of the families at the top of a corpus."""
    return list(_files(folder))


def kernels(folder: Path) -> list[str]:
    """Kernels that a corpus tells of: the newest, and those that have a folder."""
    older = [path.name for path in sorted(folder.iterdir()) if path.is_dir() and _is_kernel(path)]
    return [NEWEST, *older]


def _is_kernel(path: Path) -> bool:
    return path.name[:1].isdigit() and bool(list(path.glob("*.jsonl*")))


@cache
def _index(folder: Path, name: str) -> frozenset[str]:
    path = folder / name
    return frozenset(path.read_text().split()) if path.exists() else frozenset()


def lines(folder: Path, kernel: str, family: str) -> Iterator[Line]:
    """Yield what is known of a family on a kernel."""
    top = _files(folder).get(family)
    if kernel == NEWEST:
        if top is not None:
            yield from _read(top, kernel)
        return
    below = folder / kernel
    differing = _files(below).get(family)
    unstable = {}
    if top is not None:
        for line in _read(top, kernel):
            unstable[line.id] = line.unstable
            yield from _same(below, line)
    if differing is not None:
        for line in _read(differing, kernel):
            also = unstable.get(line.id, ())
            yield Line(kernel, line.spec, line.result, (*line.unstable, *also), line.as_)


def _same(below: Path, line: Line) -> Iterator[Line]:
    """Yield what an older kernel's index files say of a line of the newest."""
    wanted = line.id
    if wanted in _index(below, "same.txt"):
        yield line
    if wanted in _index(below, "same-ctxsize.txt"):
        result = {**line.result, "steps": [_shorter(step) for step in line.result["steps"]]}
        yield Line(line.kernel, line.spec, result, line.unstable)
    if wanted in _index(below, "no-syscall-type.txt"):
        yield Line(line.kernel, line.spec, _no_type(line), line.unstable, "no type")
    if wanted in _index(below, "same-as.txt"):
        yield Line(line.kernel, line.spec, line.result, line.unstable, _as(line))
    if wanted in _index(below, "as-refused.txt"):
        yield Line(line.kernel, line.spec, _no_type(line), line.unstable, _as(line))


def _shorter(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step's answer with the context sizes of a kernel that has shorter ones."""
    changed = dict(step)
    if changed.get("ctx_size_out") in CTX_SIZES:
        changed["ctx_size_out"] = CTX_SIZES[changed["ctx_size_out"]]
    shown = changed.get("ctx_out")
    if isinstance(shown, dict) and shown.get("size") in CTX_SIZES:
        size = CTX_SIZES[shown["size"]]
        words = {at: word for at, word in shown.items() if at == "size" or int(at) < size}
        changed["ctx_out"] = {**words, "size": size}
    elif isinstance(shown, str) and len(shown) // 2 in CTX_SIZES:
        changed["ctx_out"] = shown[: 2 * CTX_SIZES[len(shown) // 2]]
    return changed


def _no_type(line: Line) -> dict[str, Any]:
    """Return the answer where programs were refused: only that it is some refusal is known."""
    return {"refused": True}


def _as(line: Line) -> str:
    if line.family == "pkt-xdp":
        return "no ctx_in"
    if line.family in ("misc-mem", "misc-print", "misc-str"):
        return "raw_tracepoint"
    return "sched_cls"
