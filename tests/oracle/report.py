"""Count agreement per kernel, type and field, and keep the first disagreements."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from oracle.cases import Case
from oracle.compare import Verdict

FIRST = 10
FIELDS = 4


@dataclass(slots=True)
class Score:
    """``agree`` of ``total``."""

    agree: int = 0
    total: int = 0

    def count(self, agrees: bool) -> None:
        self.agree += agrees
        self.total += 1

    def add(self, other: Score) -> None:
        self.agree += other.agree
        self.total += other.total

    def __str__(self) -> str:
        return f"{self.agree}/{self.total}"


@dataclass(slots=True)
class Tally:
    """Agreement of many cases. ``excused`` counts cases set aside, by reason."""

    cases: dict[tuple[str, str], Score] = field(default_factory=lambda: defaultdict(Score))
    fields: dict[tuple[str, str, str], Score] = field(default_factory=lambda: defaultdict(Score))
    first: dict[tuple[str, str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    excused: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def count(self, case: Case, found: Iterable[Verdict]) -> None:
        """Add a case: it agrees if all its fields do."""
        wrong = []
        for verdict in found:
            self.fields[case.kernel, case.type, f"{case.op} {verdict.field}"].count(verdict.agrees)
            if not verdict.agrees:
                wrong.append(verdict)
        self.cases[case.kernel, case.type].count(not wrong)
        if wrong:
            lines = self.first[case.kernel, case.type, f"{case.op} {wrong[0].field}"]
            if len(lines) < FIRST:
                lines.append(describe(case, wrong))

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for pair, score in other.cases.items():
            self.cases[pair].add(score)
        for triple, score in other.fields.items():
            self.fields[triple].add(score)
        for triple, lines in other.first.items():
            self.first[triple] = (self.first[triple] + lines)[:FIRST]
        for reason, number in other.excused.items():
            self.excused[reason] += number

    @property
    def whole(self) -> Score:
        """All cases together."""
        total = Score()
        for score in self.cases.values():
            total.add(score)
        return total

    def disagreements(self, limit: int = FIRST) -> Iterator[str]:
        """Yield the first cases that disagree, one of each kernel, type and field, then more."""
        number = 0
        for rank in range(FIRST):
            for lines in self.first.values():
                if rank < len(lines) and number < limit:
                    number += 1
                    yield lines[rank]

    def table(self) -> Iterator[str]:
        """Yield ``agree/total``: a line for each kernel and type, its fields behind it."""
        for kernel, kind in sorted(self.cases):
            scores = [
                f"{name} {score}"
                for (a, b, name), score in sorted(self.fields.items())
                if (a, b) == (kernel, kind)
            ]
            yield f"{kernel:5} {kind:22} {self.cases[kernel, kind]!s:>11}  {', '.join(scores)}"

    def kernels(self) -> Iterator[str]:
        """Yield one line for each kernel: agreement of cases and of fields."""
        for kernel in sorted({kernel for kernel, _ in self.cases}):
            cases, fields = Score(), Score()
            for (name, _), score in self.cases.items():
                if name == kernel:
                    cases.add(score)
            for (name, _, _), score in self.fields.items():
                if name == kernel:
                    fields.add(score)
            yield f"{kernel:5} cases {cases}, fields {fields}"

    def failing(self) -> Iterator[str]:
        """Yield kernel, type, field and ``agree/total`` where not all agree."""
        for (kernel, kind, name), score in sorted(self.fields.items()):
            if score.agree < score.total:
                yield f"{kernel:5} {kind:22} {name}: {score}"


def describe(case: Case, wrong: list[Verdict]) -> str:
    """Return a case that disagrees: where it is, what was done, and the first wrong fields."""
    spec = json.dumps(case.spec, separators=(",", ":"))
    if len(spec) > 300:
        spec = spec[:297] + "..."
    fields = [f"    {v.field}: measured {v.want!r}, got {v.got!r}" for v in wrong[:FIELDS]]
    if len(wrong) > FIELDS:
        fields.append(f"    and {len(wrong) - FIELDS} more fields")
    return "\n".join([f"{case.where} {case.cpus} cpus {spec}", *fields])
