"""Counting agreement, and telling it: a line a family, and the first disagreements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from run.compare import Verdict
from run.corpus import NEWEST

SHOWN = 5


@dataclass
class Count:
    """Lines and fields of one family on one kernel."""

    lines: int = 0
    agreeing: int = 0
    fields: int = 0
    equal: int = 0
    first: list[str] = field(default_factory=list)


class Tally:
    """The counts of a test run."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Count] = {}
        self.shown = SHOWN

    def add(self, verdict: Verdict) -> None:
        """Count one line."""
        line = verdict.line
        count = self._counts.setdefault((line.kernel, line.family), Count())
        count.lines += 1
        count.agreeing += verdict.agrees
        count.fields += verdict.fields
        count.equal += verdict.fields - len(verdict.differ)
        if verdict.differ and len(count.first) < self.shown:
            count.first.append(describe(verdict))

    def families(self) -> Iterator[str]:
        """Yield one line for each family, the newest kernel first."""
        order = sorted(self._counts.items(), key=lambda item: (item[0][0] != NEWEST, item[0]))
        for (kernel, family), count in order:
            name = family if kernel == NEWEST else f"{kernel}/{family}"
            yield (
                f"{name} lines {count.agreeing}/{count.lines} fields {count.equal}/{count.fields}"
            )

    def disagreements(self) -> Iterator[str]:
        """Yield the first disagreements of every family."""
        for (kernel, family), count in sorted(self._counts.items()):
            for text in count.first:
                yield f"{kernel} {family} {text}"


def _short(value: Any, limit: int = 120) -> str:
    text = str(value)
    return text if len(text) <= limit else text[:limit] + "..."


def describe(verdict: Verdict) -> str:
    """Say where a line's answers differ first."""
    line = verdict.line
    path, wanted, got = verdict.differ[0]
    if isinstance(wanted, str) and isinstance(got, str) and len(wanted) > 100:
        at = next((i for i, (x, y) in enumerate(zip(wanted, got, strict=False)) if x != y), 0)
        at = max(at - 8, 0) // 2 * 2
        path, wanted, got = f"{path} from byte {at // 2}", wanted[at:], got[at:]
    note = line.spec.get("note") or f"seed {line.spec.get('seed')}"
    also = f" (and {len(verdict.differ) - 1} more)" if len(verdict.differ) > 1 else ""
    as_ = f" as {line.as_}" if line.as_ else ""
    return f"{line.id}{as_} [{note}] {path}: want {_short(wanted)}, got {_short(got)}{also}"
