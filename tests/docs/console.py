"""Sessions in Markdown: ```console blocks of ``$ command`` lines and the output below each.

``...`` in expected output stands for any text of a line; alone on a line, for any lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\s*$")


@dataclass(slots=True)
class Step:
    """One command, the line it is on, and what it is said to print."""

    line: int
    command: str
    output: list[str] = field(default_factory=list)


def steps(path: Path) -> Iterator[Step]:
    """Yield the commands of all ```console blocks of a file."""
    kind: str | None = None
    step: Step | None = None
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(text)
        if fence:
            if step is not None:
                yield step
            step = None
            kind = fence.group(1) if kind is None else None
        elif kind == "console":
            if text.startswith("$ "):
                if step is not None:
                    yield step
                step = Step(number, text[2:])
            elif step is None:
                raise AssertionError(f"{path}:{number}: output without a command")
            elif step.command.endswith("\\"):
                step.command = step.command[:-1] + text.removeprefix(">").strip()
            else:
                step.output.append(text)
    if kind is not None:
        raise AssertionError(f"{path}: a ``` block does not end")


def matches(want: list[str], got: list[str]) -> bool:
    """Tell whether the output is the expected one."""
    pattern = ""
    while want and not want[-1]:  # empty lines at the end are not seen
        want = want[:-1]
    for line in want:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.split("...")) + r"[ \t]*\n"
    return re.fullmatch(pattern + r"\s*", "".join(f"{line}\n" for line in got)) is not None
