"""Comparing answers: the leaves of two nested results, but for those that never repeat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from run.corpus import Line

ABSENT = "(absent)"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values; empty lists and dicts are leaves too.

    Bytes whose trailing zeros were cut are whole again.
    """
    if isinstance(value, dict) and value.keys() == {"hex", "size"}:
        value = value["hex"].ljust(2 * value["size"], "0")
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for at, below in enumerate(value):
            yield from leaves(below, f"{path}.{at}" if path else str(at))
    else:
        yield path, value


def _ignored(path: str, unstable: tuple[str, ...]) -> bool:
    return any(path == name or path.startswith(name + ".") for name in unstable)


class Verdict:
    """How one line went: ``fields`` compared, and those that ``differ`` (path, wanted, got)."""

    def __init__(self, line: Line, got: dict[str, Any]) -> None:
        self.line = line
        wanted_leaves = dict(leaves(_normal(line, line.result)))
        got_leaves = dict(leaves(_normal(line, got)))
        paths = [*wanted_leaves, *(path for path in got_leaves if path not in wanted_leaves)]
        paths = [path for path in paths if not _ignored(path, line.unstable)]
        self.fields = len(paths)
        self.differ = [
            (path, wanted_leaves.get(path, ABSENT), got_leaves.get(path, ABSENT))
            for path in paths
            if wanted_leaves.get(path, ABSENT) != got_leaves.get(path, ABSENT)
        ]

    @property
    def agrees(self) -> bool:
        return not self.differ


def _normal(line: Line, result: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a changed line is not compared by."""
    if "refused" in line.result:
        refused = any(key in result for key in ("load_err", "map_err", "refused"))
        return {"refused": refused}
    if not line.as_ or "steps" not in result:
        return result
    hidden = {"ctx_size_out"}
    if line.as_ == "no ctx_in":
        hidden.add("ctx_out")
    steps = [
        {name: value for name, value in step.items() if name not in hidden}
        for step in result["steps"]
    ]
    return {**result, "steps": steps}
