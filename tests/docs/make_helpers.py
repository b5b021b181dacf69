"""Write docs/helpers.md: which helper each program type is offered, and what is modelled.

``python -m docs.make_helpers`` in tests/ writes the file; a test compares it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bpfctl.isa.helper_names import HELPERS
from bpfctl.kernel import profile as profiles
from bpfctl.kernel.bpf.modelled import is_modelled
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.bpf.progtypes.release import offered
from bpfctl.uapi import PROG_TYPES

TARGET = Path(__file__).parents[2] / "docs" / "helpers.md"
ALL_CAPS = frozenset(("bpf", "perfmon", "sys_admin"))

HEAD = """\
# Helper functions

This page is generated: `python -m docs.make_helpers` in `tests/` writes it, and a test compares.

A helper that is **modelled** does in a simulated run what it does in the kernel. A program that
calls another one is refused when it is loaded, with a line that names the calls; it is taken by
kernels in memory, as the tests use them, and ends there at the call. {modelled} of the {known}
helpers are modelled.

Offered to a type means: to a program of that type, loaded by somebody with all capabilities, for
some attach type, on kernel {newest}. The second table says what older kernels do otherwise.
"""


def attach_types(number: int) -> tuple[int, ...]:
    """Return attach types that a program type may be offered more for."""
    prog_type = by_number(number)
    assert prog_type is not None
    return (0, *prog_type.attach_helpers, *prog_type.attach_variants)


def offers(name: str) -> dict[int, set[int]]:
    """Return the types that each helper is offered to on a kernel."""
    profile = profiles.load(name)
    found: dict[int, set[int]] = {}
    for number in range(1, profile.prog_types):
        prog_type = by_number(number)
        if prog_type is None:
            continue
        for attach in attach_types(number):
            for sleepable in (False, True):
                for helper in offered(
                    name, profile.progs.nr_helpers, prog_type, attach, ALL_CAPS, sleepable
                ):
                    found.setdefault(helper, set()).add(number)
    return found


def names(numbers: set[int]) -> str:
    return " ".join(PROG_TYPES[number] for number in sorted(numbers))


def most(numbers: set[int], every: set[int]) -> str:
    """Name types; of many, those that are missing."""
    missing = every - numbers
    if not missing:
        return "every type"
    return f"all but {names(missing)}" if len(missing) < len(numbers) else names(numbers)


def text() -> Iterator[str]:
    """Yield the lines of the page."""
    tables = {name: offers(name) for name in profiles.PROFILES}
    newest = profiles.NEWEST
    every = set().union(*tables[newest].values())
    numbers = [number for number, name in enumerate(HELPERS) if number and name]
    modelled = sum(map(is_modelled, numbers))
    yield HEAD.format(modelled=modelled, known=len(numbers), newest=newest)
    yield "| # | helper | modelled | offered to |"
    yield "|---|---|---|---|"
    for number in numbers:
        mark = "yes" if is_modelled(number) else "no"
        types = most(tables[newest].get(number, set()), every) or "none"
        yield f"| {number} | `{HELPERS[number]}` | {mark} | {types} |"
    yield "\n## Other kernels\n"
    yield "| helper | kernel | not offered to | also offered to |"
    yield "|---|---|---|---|"
    for number in numbers:
        for name, table in tables.items():
            here, there = table.get(number, set()), tables[newest].get(number, set())
            if here != there:
                missing = "anything" if not here else names(there - here)
                yield f"| `{HELPERS[number]}` | {name} | {missing} | {names(here - there)} |"


if __name__ == "__main__":
    TARGET.write_text("\n".join(text()) + "\n", encoding="utf-8")
