"""What the reader's terminal can show: how many columns, which characters."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Sequence

_GAP = 2
# A column of text is not made narrower than this.
_LEAST = 12
_BOXES = {"├": "|", "└": "`", "│": "|", "─": "-", "…": "~"}


def width() -> int | None:
    """Return the columns of the terminal that reads standard output, None if none does."""
    try:
        if sys.stdout.isatty():
            return max(os.get_terminal_size(sys.stdout.fileno()).columns, 20)
    except (OSError, ValueError, AttributeError):
        pass
    return None


def shown(text: str) -> str:
    """Return box characters as ASCII where the encoding of standard output lacks them."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if text.isascii():
        return text
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        for box, plain in _BOXES.items():
            text = text.replace(box, plain)
    return text


def fit(
    headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int
) -> list[int | None] | None:
    """Return how many characters each column may have, None where a table fits as it is.

    The widest columns of text give way; what they hold is wrapped.
    """
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    spare = columns - sum(widths) - _GAP * (len(widths) - 1)
    if spare >= 0:
        return None
    most: list[int | None] = [None] * len(widths)
    while spare < 0:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= _LEAST:
            break
        widths[widest] -= 1
        most[widest] = widths[widest]
        spare += 1
    return most


def wrapped(row: Sequence[str], most: Sequence[int | None]) -> Iterator[list[str]]:
    """Yield the lines of a row whose cells are wrapped."""
    parts = [
        [cell] if limit is None else textwrap.wrap(cell, limit, break_on_hyphens=False) or [""]
        for cell, limit in zip(row, most, strict=True)
    ]
    for at in range(max(map(len, parts))):
        yield [part[at] if at < len(part) else "" for part in parts]


def blocks(headers: Sequence[str], rows: Sequence[Sequence[str]], columns: int) -> list[list[int]]:
    """Return groups of columns that fit side by side; the first column leads each of them."""
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    found: list[list[int]] = [[0]]
    used = widths[0]
    for at in range(1, len(widths)):
        if used + _GAP + widths[at] > columns and len(found[-1]) > 1:
            found.append([0])
            used = widths[0]
        found[-1].append(at)
        used += _GAP + widths[at]
    return found
