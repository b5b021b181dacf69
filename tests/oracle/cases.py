"""Measured cases: what was done to a real kernel, and what it answered."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
SUFFIXES = (".jsonl", ".jsonl.xz")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a file: ``spec`` was done on ``release`` with ``cpus`` possible CPUs.

    ``unstable`` names result fields that differed between boots of the measured kernel.
    """

    where: str
    release: str
    cpus: int
    spec: dict[str, Any]
    result: dict[str, Any]
    unstable: frozenset[str]

    @property
    def kernel(self) -> str:
        """Name of the kernel profile: "6.12" for release 6.12.117."""
        return ".".join(self.release.split(".")[:2])

    @property
    def op(self) -> str:
        return str(self.spec.get("op"))

    @property
    def type(self) -> str:
        """What the figures are about: a map type, ``prog`` or ``bpftool``."""
        if self.op in ("prog", "bpftool"):
            return self.op
        return "prog" if self.spec.get("isprog") else str(self.spec.get("type"))

    def map_types(self) -> set[Any]:
        """Types of all maps that the case makes."""
        specs = [self.spec, *self.spec.get("objects", ())]
        specs += [spec["inner"] for spec in specs if "inner" in spec]
        words = self.spec.get("args", "").split()
        typed = {after for word, after in pairwise(words) if word == "type"}
        return typed | {spec["type"] for spec in specs if "type" in spec}


def files(directory: Path) -> list[Path]:
    """Files of cases in ``directory``, by name."""
    return sorted(path for path in directory.iterdir() if path.name.endswith(SUFFIXES))


def read(path: Path) -> Iterator[Case]:
    """Yield the cases of a file, compressed or not."""
    name = path.name.partition(".jsonl")[0]
    content = path.read_bytes()
    if path.suffix == ".xz":
        content = lzma.decompress(content)
    for number, line in enumerate(content.decode().splitlines(), 1):
        if not line.strip():
            continue
        data = json.loads(line)
        yield Case(
            f"{name}:{number}",
            data["kernel"],
            data["cpus"],
            data["spec"],
            data["result"],
            frozenset(data.get("unstable", ())),
        )


@cache
def boots(directory: Path) -> dict[str, Any]:
    """Facts about the measured kernels: settings of each boot, config, sizes of structs."""
    path = directory / "kernels.json"
    if not path.exists():
        path = DATA / "kernels.json"
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts
