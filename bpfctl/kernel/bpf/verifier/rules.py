"""What differs between releases in the verifier: strategies of profiles/verifier.toml."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from bpfctl.errors import ProfileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, slots=True)
class Rules:
    """One release's strategies; profiles/verifier.toml explains each."""

    scalar_word: str
    bounds: str
    branch_bounds: str
    tnum_mul: str
    liveness: str
    stack_liveness: str
    precision: str
    precision_forget: bool
    linked_regs: str
    history_limit: int
    loops: str
    opcode_check: str
    div_mod_bounds: bool
    sign_fork: bool
    sdiv: bool
    uninit_stack_read: bool
    may_goto: bool
    iterators: bool
    max_frames: int
    jmp_limit_errno: str
    stack_round: int
    spec: str
    scalar_ids: str
    spill_scalars: str
    const_key_lookup: bool
    words: str
    btf_sized_return: bool
    map_read_const: bool
    subprog_exit_checks: str
    packet_end_marks: bool
    global_funcs: str
    rcu_lock: bool
    atomic_fetch: bool
    null_check_any_zero: bool
    jump_next_pending: bool


@cache
def _file() -> dict[str, Any]:
    from bpfctl.kernel import profile

    path = os.path.join(os.path.dirname(profile.__file__), "profiles", "verifier.toml")
    with open(path, "rb") as source:
        return tomllib.load(source)


def _with_bases(name: str) -> dict[str, Any]:
    data = dict(_file()[name])
    base = data.pop("based_on", None)
    return {**_with_bases(base), **data} if base else data


@cache
def rules_of(profile: str) -> Rules:
    """Return the strategies of a profile."""
    data = _with_bases(profile)
    known = {field.name for field in fields(Rules)}
    if set(data) != known:
        odd = ", ".join(sorted(set(data) ^ known))
        raise ProfileError(f"verifier.toml: [{profile}] lacks or does not know: {odd}")
    return Rules(**data)
