"""Compare what the simulated kernel did with what was measured, as exactly as the data allows.

How exact a field is decides its rule:

- errno, flags, ``memlock``, slab, percpu and vmalloc bytes, counts and events: exact.
- ``kernel`` and ``current`` are page counters, exact too: the reader emptied the object stocks.
- What is still charged after a delete, or (``who``) after the map is closed, is an upper bound
  (page counters: give or take a page): elements wait for RCU grace periods and in free lists, as
  long as the machine likes.
- ``anon``, ``file``, ``pagetables`` and ``kernel_stack`` are the measuring process's own memory.
  ``current`` (and ``kernel``) contain it, so it is taken off before they are compared.
- What bpftool prints is compared as :mod:`oracle.normal` leaves it.
- Fields that differed between boots of the real kernel are not compared. Where it was now ENOMEM,
  now the OOM killer that ended a case (``killed`` differed), neither is what the end left behind.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from oracle.cases import Case
from oracle.normal import normal

PAGE = 4096
OWN_MEMORY = ("anon", "file", "pagetables", "kernel_stack")
OWN_KERNEL_MEMORY = ("pagetables", "kernel_stack")
ABSENT = "(absent)"

# Fields of `mm` that belong to how it ended.
AFTER_THE_END = (
    "current_after",
    "parent_current_after",
    "delta",
    "events",
    "events_local",
    "parent_events",
    "parent_events_local",
)

Rule = Callable[[Any, Any], bool]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One compared field of a case."""

    field: str
    want: Any
    got: Any
    agrees: bool


def exact(want: Any, got: Any) -> bool:
    return type(want) is type(got) and want == got


def at_most(want: Any, got: Any) -> bool:
    return isinstance(got, int) and got <= want


def at_most_within_page(want: Any, got: Any) -> bool:
    return isinstance(got, int) and got <= want + PAGE


# (operation, field) -> rule; the first match decides, no match is exact.
RULES: tuple[tuple[re.Pattern[str], Rule], ...] = tuple(
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"(update delete|who parent_after_close)\.(kernel|current)", at_most_within_page),
        (r"(update delete|who parent_after_close)\..*", at_most),
    )
)


def rule_of(op: str, field: str) -> Rule:
    """Return how ``field`` of operation ``op`` is compared."""
    text = f"{op} {field}"
    return next((rule for pattern, rule in RULES if pattern.fullmatch(text)), exact)


def flatten(result: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested groups as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in result.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def comparable(case: Case) -> dict[str, Any]:
    """Return the measured fields to compare, without the process's own memory."""
    want = flatten(normal(case.result, case.spec))
    dropped = set(case.unstable)
    if "killed" in dropped:
        dropped.update(name for name in want if name.partition(".")[0] in AFTER_THE_END)
    for name in [*want, *case.unstable]:
        group, dot, field = name.rpartition(".")
        if field not in OWN_MEMORY:
            continue
        for counter in ("current", "kernel"):
            whole = f"{group}{dot}{counter}"
            if counter == "kernel" and field not in OWN_KERNEL_MEMORY:
                continue
            if name in case.unstable:
                dropped.add(whole)
            elif whole in want:
                want[whole] -= want[name]
        dropped.add(name)
    return {name: value for name, value in want.items() if name not in dropped}


def without_page_tables(case: Case, got: dict[str, Any]) -> dict[str, Any]:
    """Take page tables off the counters that :func:`comparable` takes the measured ones off."""
    left = dict(got)
    for name in flatten(case.result):
        group, _, field = name.rpartition(".")
        if field == "pagetables" and name in got:
            for counter in ("current", "kernel"):
                left[f"{group}.{counter}"] -= got[name]
    return left


def verdicts(case: Case, result: dict[str, Any]) -> list[Verdict]:
    """Compare every stable field of ``case`` with ``result``."""
    got = without_page_tables(case, flatten(normal(result, case.spec)))
    found = []
    for field, want in comparable(case).items():
        have = got.get(field, ABSENT)
        agrees = have is not ABSENT and rule_of(case.op, field)(want, have)
        found.append(Verdict(field, want, have, agrees))
    return found
