"""bpf_check(): the whole way of a program through the verifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.isa.insn import decode_all
from bpfctl.kernel.bpf.progtypes.decl import ProgType
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import live, scalar, scc
from bpfctl.kernel.bpf.verifier.bounds import SYNC
from bpfctl.kernel.bpf.verifier.cfg import check_cfg
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.precision import mark_all_scalars_imprecise
from bpfctl.kernel.bpf.verifier.resolve import check_functions, find_functions, resolve
from bpfctl.kernel.bpf.verifier.result import VerifiedProgram
from bpfctl.kernel.bpf.verifier.rewrite import rewrite
from bpfctl.kernel.bpf.verifier.rules import rules_of
from bpfctl.kernel.bpf.verifier.state import CTX_REG, State
from bpfctl.kernel.bpf.verifier.subprogs import (
    check_max_stack_depth,
    find_packet_changers,
    new_frame,
)
from bpfctl.kernel.bpf.verifier.walk import do_check
from bpfctl.kernel.license import gpl_compatible
from bpfctl.kernel.task import bpf_capable, perfmon_capable

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.kernel.records import Task
    from bpfctl.uapi import ProgLoadAttr

F_STRICT_ALIGNMENT, F_ANY_ALIGNMENT = 1, 2
F_SLEEPABLE = 1 << 4
MAIN_FUNC = -1


def new_env(
    kernel: Kernel, task: Task, attr: ProgLoadAttr, attach_type: int, prog_type: ProgType
) -> Env:
    """Set the verifier up for one load: what the caller may do decides what is checked."""

    name = kernel.profile.name
    env = Env(
        kernel,
        task,
        attr,
        attach_type,
        rules_of(name),
        decode_all(attr.insns),
        prog_type,
        prog_rules(name).traits,
    )
    env.ops = scalar.operations(env.rules)
    env.sync = SYNC[env.rules.bounds]
    perfmon = perfmon_capable(task)
    env.bpf_capable = bpf_capable(task)
    env.allow_ptr_leaks = env.bypass_spec_v1 = env.bypass_spec_v4 = perfmon
    env.allow_uninit_stack = perfmon
    env.strict_alignment = bool(attr.prog_flags & F_STRICT_ALIGNMENT)
    if attr.prog_flags & F_ANY_ALIGNMENT:
        env.strict_alignment = False
    env.sleepable = bool(attr.prog_flags & F_SLEEPABLE)
    env.gpl = gpl_compatible(attr.license)
    return env


def _prepare(env: Env) -> None:
    """All that comes before the walk, in the order of the release."""
    from bpfctl.kernel.bpf.verifier.attach import check_attach
    from bpfctl.kernel.bpf.verifier.func_info import check_btf_info

    if env.rules.resolve_first:
        resolve(env)
        find_functions(env)
        check_functions(env)
        check_btf_info(env)
        check_attach(env)
    else:
        find_functions(env)
        check_functions(env)
        check_btf_info(env)
        check_attach(env)
        resolve(env)
    env.precise_default = not env.bpf_capable or (
        env.rules.precise_default == "subprogs" and len(env.subprogs) > 1
    )
    if env.rules.fields_first:
        from bpfctl.kernel.bpf.verifier.fields import check_fields

        check_fields(env)
    check_cfg(env)
    if env.rules.changes_pkt and len(env.subprogs) > 1:
        find_packet_changers(env)
    if env.rules.liveness == "static":
        following = [live.successors(env.insns, idx) for idx in range(len(env.insns))]
        if env.rules.loops == "scc":
            count = len(following)
            scc.compute(env, [[to for to in targets if to < count] for targets in following])
        live.compute_live_registers(env, following)
        env.stack_live = live.StackLive(env, following)


def _check_function(env: Env, subprog_no: int) -> None:
    """Walk the main program, or a global function by itself (do_check_common)."""
    state = State()
    start = env.subprogs[subprog_no].start
    frame = new_frame(env, MAIN_FUNC, 0, subprog_no)
    state.frames = [frame]
    state.first_insn_idx = start
    state.insn_idx = start
    state.in_sleepable = env.sleepable
    env.cur_state = state
    env.insn_idx = start
    env.prev_insn_idx = -1
    env.stack.clear()
    if subprog_no:
        from bpfctl.kernel.bpf.verifier.global_func import set_arguments

        set_arguments(env, subprog_no, frame)
    else:
        frame.regs[1] = CTX_REG
    mark_all_scalars_imprecise(state)
    do_check(env)
    if not env.log_level & 2:
        env.log.clear()
    env.explored.clear()
    env.explored_size = env.free_list_size = env.peak = 0


def _walk(env: Env) -> None:
    from bpfctl.kernel.bpf.verifier.global_func import check_global_functions

    if env.rules.global_funcs == "before":
        check_global_functions(env, _check_function)
        _check_function(env, 0)
    else:
        _check_function(env, 0)
        check_global_functions(env, _check_function)


def run(env: Env) -> None:
    """Check a program.

    :raises Refused: what it is refused for; the words are in ``env.log``.
    """
    _prepare(env)
    _walk(env)
    check_max_stack_depth(env)
    if env.extra.get("unconvertible"):
        env.fail(E.INVAL, "bpf verifier is misconfigured")


def finish(env: Env) -> VerifiedProgram:
    """Gather what is known of an accepted program."""
    env.stats.processed = env.insn_processed
    insns = list(env.insns)
    for idx, aux in enumerate(env.aux):
        if aux.map is not None and insns[idx].code == 0x18:
            kind = 2 if insns[idx].src in (2, 6) else 1
            insns[idx] = insns[idx]._replace(src=kind, imm=aux.map.id)
    starts = [subprog.start for subprog in env.subprogs]
    rewritten = rewrite(env)
    return VerifiedProgram(
        insns=insns,
        xlated=rewritten.insns,
        starts=starts,
        xlated_starts=rewritten.starts,
        map_ids=[map_.id for map_ in env.maps],
        stack_depths=[subprog.stack_depth for subprog in env.subprogs],
        stats=env.stats,
        log="".join(env.log),
        btf_id=env.btf_id,
        symbols=rewritten.symbols,
        xlated_at=rewritten.at,
    )
