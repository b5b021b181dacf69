"""Measured fields that are believed to be wrong or luck, listed in doubts.toml with the reason.

They are set aside when the project's own data is compared, never with ``--oracle-dir``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oracle.cases import Case

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = Path(__file__).with_name("doubts.toml")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Fields (by prefix) of the cases of ``files`` whose spec holds all of ``spec``."""

    files: tuple[str, ...]
    spec: dict[str, Any]
    fields: tuple[str, ...]
    reason: str

    def covers(self, case: Case) -> bool:
        """Tell whether ``case`` is one of those meant."""
        name = case.where.partition(":")[0]
        return name in self.files and all(
            case.spec.get(key) == value for key, value in self.spec.items()
        )


def read_doubts(path: Path = FILE) -> list[Doubt]:
    """Return what the file lists."""
    entries = tomllib.loads(path.read_text()).get("doubt", [])
    return [
        Doubt(tuple(e["files"]), e["spec"], tuple(e["fields"]), e["reason"]) for e in entries
    ]
