"""An earlier answer of ``cost --json``, and what costs more now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from bpfctl.errors import SpecError

# Figures of an item at one level, and of all together, that somebody pays.
_FIGURES = ("rlimit_pages", "charged", "uncharged")
_TOTALS = ("memlock_enough", "memory_max_enough")
_MACHINE = ("kernel", "patch", "cpus", "page_size")
_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Growth:
    """One figure that is higher than before; ``name`` is empty for all objects together."""

    machine: str
    name: str
    what: str
    before: int
    now: int

    def text(self, amount: Callable[[int], str]) -> str:
        """Return a line for people; ``amount`` words bytes."""
        size = str if "pages" in self.what else amount
        name = f"{self.name}: " if self.name else ""
        return f"{self.machine}: {name}{self.what} {size(self.before)} -> {size(self.now)}"

    def as_data(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def read(path: str) -> dict[str, Any]:
    """Read an earlier answer.

    :raises SpecError: it is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.loads(file.read(_MAX_BYTES))
    except OSError as exc:
        raise SpecError(f"can't read {path}: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise SpecError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(found, dict) or found.get("schema") != 1 or "machines" not in found:
        raise SpecError(
            f"{path} is no answer of 'bpfctl cost --json'", hint="write one with --json > FILE"
        )
    return found


def compare(earlier: dict[str, Any], now: dict[str, Any]) -> list[Growth]:
    """Return every figure that grew, on the machines that both answers have.

    What is new counts from 0.

    :raises SpecError: they have no machine in common, or the earlier one is not whole.
    """
    try:
        before = {_key(machine): machine for machine in earlier["machines"]}
        common = [m for m in now["machines"] if _key(m) in before]
        if not common:
            raise SpecError(
                "the baseline has none of these kernels and CPU counts",
                hint="give the same --kernel, --cpus and --page-size",
            )
        return [each for m in common for each in _of_machine(before[_key(m)], m)]
    except (KeyError, TypeError, AttributeError) as exc:
        raise SpecError(f"the baseline lacks {exc}") from exc


def _key(machine: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(machine[name] for name in _MACHINE)


def _label(machine: dict[str, Any]) -> str:
    patch = "" if machine["patch"] is None else f"+{machine['patch']}"
    return f"kernel {machine['kernel']}{patch}, {machine['cpus']} CPUs"


def _of_machine(before: dict[str, Any], now: dict[str, Any]) -> Iterator[Growth]:
    label = _label(now)
    for name in _TOTALS:
        if now[name] > before[name]:
            yield Growth(label, "", name, before[name], now[name])
    for kind in ("maps", "programs"):
        known = {(each["source"], each["name"]): each for each in before[kind]}
        for item in now[kind]:
            old = known.get((item["source"], item["name"]))
            yield from _of_item(label, old, item)


def _of_item(label: str, old: dict[str, Any] | None, item: dict[str, Any]) -> Iterator[Growth]:
    for level, figures in item["at"].items():
        were = old["at"].get(level, {}) if old is not None else {}
        for figure in _FIGURES:
            before = were.get(figure, 0)
            if old is not None and level not in old["at"]:
                continue  # the earlier answer was about other levels
            if figures[figure] > before:
                yield Growth(label, item["name"], f"{figure}, {level}", before, figures[figure])
