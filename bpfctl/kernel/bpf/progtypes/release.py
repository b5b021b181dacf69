"""What a release offers to programs: profiles/programs.toml, and the questions it answers."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from bpfctl.errors import ProfileError
from bpfctl.kernel.bpf.helpers import by_name
from bpfctl.kernel.bpf.progtypes.decl import ProgType
from bpfctl.kernel.bpf.progtypes.sets import SETS, TIER

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SLEEPING_HIDDEN = "sleeping_helpers_hidden"


@dataclass(frozen=True)
class ProgRules:
    """One release: ``traits`` that declarations ask for, helper names ``withheld`` by set.

    ``nr_attach_types``: higher attach types mean nothing to it, even if they can be given.
    """

    traits: frozenset[str]
    own_attach_types: list[str]
    nr_attach_types: int
    not_sleepable: str
    arg_types: str
    release_offset: str
    not_const: str
    not_const_errno: str
    not_offered: str
    might_sleep: str
    no_prog_array: str
    func_ip_kinds: str
    dynptr_arg: str
    withheld: dict[str, frozenset[str]]


@cache
def _file() -> dict[str, Any]:
    from bpfctl.kernel import profile

    path = os.path.join(os.path.dirname(profile.__file__), "profiles", "programs.toml")
    with open(path, "rb") as source:
        return tomllib.load(source)


@cache
def prog_rules(profile: str) -> ProgRules:
    """Return the rules of a profile, by its name."""
    data = _file()[profile]
    if "based_on" in data:
        return prog_rules(data["based_on"])
    known = {field.name for field in fields(ProgRules)}
    if set(data) != known:
        odd = ", ".join(sorted(set(data) ^ known))
        raise ProfileError(f"programs.toml: [{profile}] lacks or does not know: {odd}")
    data = dict(data)
    data["traits"] = frozenset(data["traits"])
    data["withheld"] = {name: frozenset(names) for name, names in data["withheld"].items()}
    return ProgRules(**data)


def helper_sets(prog_type: ProgType, attach_type: int) -> tuple[str, ...]:
    """Name the helper sets that a program is offered."""
    return (*prog_type.helpers, *prog_type.attach_helpers.get(attach_type, ()))


@cache
def offered(
    profile: str, nr_helpers: int, prog_type: ProgType, attach_type: int, caps: frozenset[str],
    sleepable: bool,
) -> dict[int, str]:  # fmt: skip
    """Return the numbers of all helpers that a program may call, with the variant it gets.

    ``caps``: which of "bpf", "perfmon" and "sys_admin" the loader has. Licences are not looked at.
    """
    rules = prog_rules(profile)
    hide_sleeping = SLEEPING_HIDDEN in rules.traits and not sleepable
    variants = dict(prog_type.variants)
    if attach_type < rules.nr_attach_types:
        variants.update(prog_type.attach_variants.get(attach_type, {}))
    found = {}
    for set_name in helper_sets(prog_type, attach_type):
        if TIER.get(set_name) is not None and TIER[set_name] not in caps:
            continue
        for name in SETS[set_name] - rules.withheld.get(set_name, frozenset()):
            helper = by_name(name)
            assert helper is not None, name
            if helper.number >= nr_helpers:
                continue
            variant = variants.get(name, "")
            if hide_sleeping and helper.proto(variant).might_sleep:
                continue
            found[helper.number] = variant
    return found


def owner_of_attach_type(profile: str, attach_type: int) -> str:
    """Name the program type that an attach type belongs to alone, empty for none."""
    for entry in prog_rules(profile).own_attach_types:
        name, _, number = entry.partition(":")
        if int(number) == attach_type:
            return name
    return ""
