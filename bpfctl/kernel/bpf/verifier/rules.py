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
    ringbuf_word: str
    cfg: str
    cfg_recursion: str
    prune_after_jump: bool
    resolve_first: bool
    opcode_check: str
    pseudo_func: bool
    kfuncs: bool
    ld_imm64_off_early: bool
    fields_first: bool
    map_limit_words: bool
    sleepable_maps: str
    bounds: str
    add_overflow: str
    bitwise_signed: str
    mul: str
    tnum_mul: str
    lsh32_any_sign: bool
    unknown_operand: str
    neg_bounds: bool
    div_mod_bounds: bool
    bswap_bounds: bool
    fork_scalars: bool
    scalar_ids: str
    add_const: str
    branch: str
    jeq_ranges: bool
    branch_tnum_overlap: bool
    branch_same_reg: bool
    jset_forgets: bool
    jump_reads_dst_first: bool
    null_check_by_reg: bool
    null_by_pointer: bool
    map_ptr_not_null: bool
    mem_not_null: bool
    pkt_comparison_unprivileged: bool
    packet_end_marks: bool
    map_ptr_plus_zero: str
    pointer_off: str
    ptr_off_words: str
    global_mem_args: bool
    map_ptr_members: bool
    changes_pkt: bool
    packet_region: bool
    precise_default: str
    precision: str
    precision_forget: bool
    old_precise_only: bool
    history_flags: bool
    history_limit: int
    linked_regs: str
    liveness: str
    loops: str
    callbacks: str
    regsafe: str
    unique_ids: bool
    map_value_ids: bool
    stacksafe_scalars: bool
    stacksafe_uninit: bool
    force_keeps: bool
    peak: str
    uninit_stack_read: str
    stack_words: str
    stack_shows_off: bool
    stack_bounds: str
    spill_scalars: str
    spill_imm: str
    spill_imm_signed: bool
    spill_ids: bool
    spill_keeps: str
    misc_keeps_invalid: bool
    scrub_keeps_invalid: bool
    partial_fill: str
    corrupt_any_spill: bool
    v4_any: bool
    st_ctx_refused: bool
    const_tnum_plain: bool
    direct_any_array: bool
    direct_value_id: bool
    ctx_by_helper: bool
    atomic: bool
    load_acquire: bool
    nospec: str
    ld_abs_subprogs: str
    ld_abs_exits: bool
    leak_words: str
    return_ranges: str
    global_funcs: str
    global_args: str
    global_words: str
    global_under_lock: bool
    arg_tags: bool
    void_global: bool
    jmp_limit_errno: int
    max_frames: int
    stack_round: int
    stack_round_least: bool
    async_stack: bool
    const_key_lookup: bool


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
