"""Calls of helpers (check_helper_call): may it be called, with what, and what comes back."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.helper_names import helper_name
from bpfctl.isa.insn import Insn
from bpfctl.kernel.bpf.helpers import by_id
from bpfctl.kernel.bpf.helpers.decl import Arg, Helper, Proto, Ret
from bpfctl.kernel.bpf.progtypes.release import offered, prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.args import CallMeta, check_args, is_null
from bpfctl.kernel.bpf.verifier.bounds import SYNC
from bpfctl.kernel.bpf.verifier.branch import push_stack
from bpfctl.kernel.bpf.verifier.env import WRITE, Env
from bpfctl.kernel.bpf.verifier.mapcompat import check_map_func
from bpfctl.kernel.bpf.verifier.memory import check_mem_access
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.refs import (
    acquire,
    check_resource_leak,
    clear_packet_pointers,
    release,
)
from bpfctl.kernel.bpf.verifier.regs import check_writable, words
from bpfctl.kernel.bpf.verifier.state import UNKNOWN_SCALAR, BtfRef, Reg, pointer
from bpfctl.kernel.bpf.verifier.subprogs import prepare_func_exit
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable, perfmon_capable

MAX_ERRNO = 4095
VARIABLE_BYTES = 4
"""Size of the per-CPU variables that are known (``cpu_number``): plain numbers."""
CALLER_SAVED = range(6)

_MAP_FUNCS = frozenset(
    (
        "tail_call", "map_lookup_elem", "map_update_elem", "map_delete_elem", "map_push_elem",
        "map_pop_elem", "map_peek_elem", "for_each_map_elem", "redirect_map",
        "map_lookup_percpu_elem",
    )
)  # fmt: skip
_WRITERS = frozenset(("map_delete_elem", "map_update_elem", "map_push_elem", "map_pop_elem"))
_BOUNDED = frozenset(
    (
        "get_stack", "get_task_stack", "probe_read_str", "probe_read_kernel_str",
        "probe_read_user_str",
    )
)  # fmt: skip
_PTR_CASTS = frozenset(
    (
        "tcp_sock", "sk_fullsock", "skc_to_tcp_sock", "skc_to_tcp6_sock", "skc_to_udp6_sock",
        "skc_to_mptcp_sock", "skc_to_tcp_timewait_sock", "skc_to_tcp_request_sock",
    )
)  # fmt: skip


def find_proto(env: Env, number: int) -> tuple[Helper, Proto]:
    """Return the helper that a program calls, as it is offered to it (get_helper_proto).

    :raises Refused: EINVAL.
    """
    helper = by_id(number) if 0 < number < env.kernel.profile.progs.nr_helpers else None
    if helper is None:
        env.fail(E.INVAL, f"invalid func unknown#{number}")
    variant = offered_to(env).get(number)
    name = f"{helper_name(number)}#{number}"
    if variant is None:
        env.fail(E.INVAL, f"{prog_rules(env.kernel.profile.name).not_offered} {name}")
    return helper, helper.proto(variant).at(prog_rules(env.kernel.profile.name).traits)


def offered_to(env: Env) -> dict[int, str]:
    """Return the helpers that a program may call, with the variants that it gets."""
    caps = set()
    if env.bpf_capable:
        caps.add("bpf")
    if perfmon_capable(env.task):
        caps.add("perfmon")
    if capable(env.task, CAP_SYS_ADMIN):
        caps.add("sys_admin")
    return offered(
        env.kernel.profile.name,
        env.kernel.profile.progs.nr_helpers,
        env.type,
        env.attach_type,
        frozenset(caps),
        env.sleepable,
    )


def check_helper_call(env: Env, insn: Insn, insn_idx: int) -> None:
    """Check a call of a helper and do it.

    :raises Refused: EINVAL, EACCES, ENOTSUPP.
    """
    helper, proto = find_proto(env, insn.imm)
    _check_circumstances(env, helper, proto)
    meta = CallMeta(helper, proto)
    check_args(env, meta)
    _record_map(env, insn_idx, meta)
    _record_key(env, insn_idx, meta)
    for offset in range(meta.access_size):
        check_mem_access(env, insn, meta.regno, offset, 1, WRITE, -1)
    if meta.release_regno:
        _release(env, meta)
    if helper.name in _SPECIAL:
        _SPECIAL[helper.name](env, insn, insn_idx, meta)
    r3 = env.regs[3]
    _forget_caller_saved(env)
    _set_return(env, insn_idx, meta)
    _refine_return(env, meta)
    check_map_func(env, meta.map, helper)
    if helper.name == "get_func_ip":
        _check_func_ip(env)
    _remember(env, insn_idx, meta, r3)
    if helper.name == "tail_call" and len(env.cur_state.frames) > 1 and env.rules.ld_abs_exits:
        _return_from_tail_call(env)
    elif proto.changes_pkt or (env.rules.changes_pkt and helper.name == "tail_call"):
        clear_packet_pointers(env)
    if "enter" in env.extra:
        from bpfctl.kernel.bpf.verifier.callbacks import enter_pending

        enter_pending(env)


def _return_from_tail_call(env: Env) -> None:
    """The program called may have returned to the caller of this function: a path of its own."""
    push_stack(env, env.insn_idx + 1, env.insn_idx, False)
    clear_packet_pointers(env)
    env.set_reg(0, UNKNOWN_SCALAR, env.precise_default)
    env.next_idx = prepare_func_exit(env)


def _check_circumstances(env: Env, helper: Helper, proto: Proto) -> None:
    rules = prog_rules(env.kernel.profile.name)
    if not env.gpl and proto.gpl_only:
        env.fail(E.INVAL, "cannot call GPL-restricted function from non-GPL compatible program")
    if not _allowed(env, helper):
        env.fail(E.INVAL, "helper call is not allowed in probe")
    name = f"{helper_name(helper.number)}#{helper.number}"
    state = env.cur_state
    if proto.might_sleep and "sleeping_helpers_hidden" not in rules.traits:
        if not (env.sleepable or state.in_sleepable):
            env.fail(E.INVAL, rules.might_sleep.format(name=name))
        if state.active_rcu_lock:
            env.fail(E.INVAL, f"sleepable helper {name} in rcu_read_lock region")
        if state.active_preempt_locks:
            env.fail(E.INVAL, f"sleepable helper {name} in non-preemptible region")


D_PATH_HOOKS = frozenset(
    (
        "security_file_permission", "security_inode_getattr", "security_file_open",
        "security_path_truncate", "vfs_truncate", "vfs_fallocate", "dentry_open", "vfs_getattr",
        "filp_close", "security_bprm_check_security",
    )
)  # fmt: skip
"""Kernel functions whose programs may call bpf_d_path (btf_allowlist_d_path)."""


def _allowed(env: Env, helper: Helper) -> bool:
    """Tell whether a helper that asks for more lets this program in (proto->allowed)."""
    from bpfctl.kernel.bpf.progtypes.btf import (
        TRACE_FENTRY,
        TRACE_FEXIT,
        TRACE_ITER,
        TRACE_RAW_TP,
    )

    if helper.name == "d_path":
        widely = "d_path_widely" in prog_rules(env.kernel.profile.name).traits
        if env.type.name == "lsm" or (env.type.name == "tracing" and env.attach_type == TRACE_ITER):
            return widely
        return env.extra.get("attach_name", "") in D_PATH_HOOKS
    if helper.name in ("sk_storage_get", "sk_storage_delete") and env.type.name in (
        "tracing", "syscall",
    ):  # fmt: skip
        if env.type.name == "syscall":
            return False
        return env.attach_type in (TRACE_RAW_TP, TRACE_FENTRY, TRACE_FEXIT, TRACE_ITER)
    return True


def _record_map(env: Env, insn_idx: int, meta: CallMeta) -> None:
    """Note the map of a call, for the rewriting (record_func_map)."""
    name = meta.helper.name
    if name not in _MAP_FUNCS:
        return
    map_ = meta.map
    if map_ is None:
        env.fail(E.INVAL, "kernel subsystem misconfigured verifier")
    if map_.flags & BPF_F_RDONLY_PROG and name in _WRITERS:
        env.fail(E.ACCES, "write into map forbidden")
    aux = env.aux[insn_idx]
    if aux.map is None:
        aux.map = map_
    elif aux.map is not map_:
        aux.extra = {**(aux.extra or {}), "map_poisoned": True}


BPF_F_RDONLY_PROG = 1 << 7


def _record_key(env: Env, insn_idx: int, meta: CallMeta) -> None:
    """Note the constant index of a tail call (record_func_key)."""
    if meta.helper.name != "tail_call":
        return
    map_ = meta.map
    if map_ is None or map_.type != "prog_array":
        words_ = prog_rules(env.kernel.profile.name).no_prog_array
        env.fail(E.INVAL, words_)
    aux = env.aux[insn_idx]
    extra = dict(aux.extra or {})
    reg = env.regs[3]
    if reg.type != rt.SCALAR_VALUE or reg.mask or reg.value >= map_.max_entries:
        extra["key_poisoned"] = True
    else:
        mark_chain_precision(env, 3)
        if extra.setdefault("key", reg.value) != reg.value:
            extra["key_poisoned"] = True
    aux.extra = extra


def _release(env: Env, meta: CallMeta) -> None:
    regno = meta.release_regno
    reg = env.regs[regno]
    spec = meta.proto.args[regno - 1]
    if spec.base == Arg.PTR_TO_DYNPTR:
        from bpfctl.kernel.bpf.verifier.dynptr import unmark

        unmark(env, reg)
        return
    if meta.ref_obj_id and release(env, meta.ref_obj_id):
        return
    if is_null(reg):
        return
    name = f"{helper_name(meta.helper.number)}#{meta.helper.number}"
    env.fail(E.INVAL, f"func {name} reference has not been acquired before")


# --- helpers of their own kind ---------------------------------------------------------


def _tail_call(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    check_resource_leak(env, False, "tail_call")


def _local_storage(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    if not is_null(env.regs[2]):
        env.fail(E.INVAL, "get_local_storage() doesn't support non-zero flags")


def _dynptr_from_mem(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    reg = env.regs[1]
    if reg.type != rt.PTR_TO_MAP_VALUE:
        kind = words(env, reg)
        env.fail(E.ACCES, f"Unsupported reg type {kind} for bpf_dynptr_from_mem data")


def _callback(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    from bpfctl.kernel.bpf.verifier.callbacks import call_callback

    call_callback(env, insn, insn_idx, meta)


def _snprintf(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    from bpfctl.kernel.bpf.verifier.strings import check_snprintf

    check_snprintf(env)


def _dynptr_data(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    from bpfctl.kernel.bpf.verifier.dynptr import data_of

    data_of(env, meta)


def _set_retval(env: Env, insn: Insn, insn_idx: int, meta: CallMeta) -> None:
    if "retval_scalar" not in prog_rules(env.kernel.profile.name).traits:
        return
    if env.regs[1].type != rt.SCALAR_VALUE:
        env.fail(E.INVAL, "R1 is not a scalar")


_SPECIAL = {
    "set_retval": _set_retval,
    "tail_call": _tail_call,
    "get_local_storage": _local_storage,
    "dynptr_from_mem": _dynptr_from_mem,
    "snprintf": _snprintf,
    "dynptr_data": _dynptr_data,
    "loop": _callback,
    "for_each_map_elem": _callback,
    "timer_set_callback": _callback,
    "find_vma": _callback,
    "user_ringbuf_drain": _callback,
}


# --- what comes back -------------------------------------------------------------------


def _forget_caller_saved(env: Env) -> None:
    for regno in CALLER_SAVED:
        env.forget_reg(regno)
        check_writable(env, regno)


_SOCK_RETURNS = {
    Ret.SOCKET: rt.PTR_TO_SOCKET,
    Ret.SOCK_COMMON: rt.PTR_TO_SOCK_COMMON,
    Ret.TCP_SOCK: rt.PTR_TO_TCP_SOCK,
}


def _set_return(env: Env, insn_idx: int, meta: CallMeta) -> None:
    """Set R0 by the type that a helper returns."""
    ret = meta.proto.ret
    base = ret & 0xFF
    if base == Ret.VOID:
        return
    if base == Ret.INTEGER:
        env.set_reg(0, UNKNOWN_SCALAR, env.precise_default)
        return
    reg = _returned_pointer(env, meta, ret, base)
    if reg.type & rt.PTR_MAYBE_NULL:
        reg.id = env.new_id()
    name = meta.helper.name
    if name in _PTR_CASTS or name == "dynptr_data":
        reg.ref_obj_id = meta.ref_obj_id
    elif _acquires(meta):
        reg.id = reg.ref_obj_id = acquire(env, insn_idx)
    env.set_reg(0, reg)


def _acquires(meta: CallMeta) -> bool:
    """Tell whether the result must be given back (is_acquire_function)."""
    if meta.helper.name == "map_lookup_elem" and meta.map is not None:
        return meta.map.type in ("sockmap", "sockhash")
    return meta.proto.acquires


def _returned_pointer(env: Env, meta: CallMeta, ret: int, base: int) -> Reg:
    flags = ret & ~0xFF
    if base == Ret.MAP_VALUE:
        return _returned_value(env, meta, flags)
    if base in _SOCK_RETURNS:
        return pointer(_SOCK_RETURNS[base] | flags)
    if base == Ret.MEM:
        if prog_rules(env.kernel.profile.name).arg_types == "buffers":
            flags &= ~rt.MEM_RINGBUF
        reg = pointer(rt.PTR_TO_MEM | flags, 0, meta.mem_size)
        if meta.helper.name == "dynptr_data":
            reg.map_uid = meta.dynptr_id
        return reg
    if base == Ret.MEM_OR_BTF_ID:
        return pointer(rt.PTR_TO_MEM | flags | rt.MEM_RDONLY, 0, VARIABLE_BYTES)
    name = meta.proto.ret_btf
    ref: object = meta.kptr if meta.helper.name == "kptr_xchg" else BtfRef(None, 0, name)
    if meta.helper.name == "kptr_xchg":
        flags |= env.extra.get("kptr_flags", 0)
    return pointer(rt.PTR_TO_BTF_ID | flags, 0, ref)


def _returned_value(env: Env, meta: CallMeta, flags: int) -> Reg:
    map_ = meta.map
    if map_ is None:
        env.fail(E.INVAL, "kernel subsystem misconfigured verifier")
    known = 0 <= meta.const_key < map_.max_entries
    if meta.helper.name == "map_lookup_elem" and known:
        flags &= ~rt.PTR_MAYBE_NULL
    reg = pointer(rt.PTR_TO_MAP_VALUE | flags, 0, map_)
    reg.map_uid = meta.map_uid
    if not flags & rt.PTR_MAYBE_NULL and "spin_lock" in map_.fields:
        reg.id = env.new_id()
    if flags & rt.PTR_MAYBE_NULL and "typed_lookups" in prog_rules(env.kernel.profile.name).traits:
        reg.type = _typed_lookup(map_.type, map_.inner is not None, reg.type)
    return reg


def _typed_lookup(map_type: str, nested: bool, reg_type: int) -> int:
    """What 7.3 knows of a lookup before its NULL check already."""
    if nested:
        return rt.CONST_PTR_TO_MAP | rt.PTR_MAYBE_NULL
    if map_type == "xskmap":
        return rt.PTR_TO_XDP_SOCK | rt.PTR_MAYBE_NULL
    if map_type in ("sockmap", "sockhash"):
        return rt.PTR_TO_SOCKET | rt.PTR_MAYBE_NULL
    return reg_type


def _refine_return(env: Env, meta: CallMeta) -> None:
    """Bound what some helpers return (do_refine_retval_range)."""
    if meta.proto.ret != Ret.INTEGER:
        return
    name = meta.helper.name
    traits = prog_rules(env.kernel.profile.name).traits
    if name in _BOUNDED:
        reg = env.regs[0].copy()
        reg.smax = meta.msize_max - (1 << 64) if meta.msize_max >> 63 else meta.msize_max
        low = meta.msize_max & 0xFFFFFFFF
        reg.s32_max = low - (1 << 32) if low >> 31 else low
        reg.smin = reg.s32_min = -MAX_ERRNO
    elif name == "get_smp_processor_id" and "cpu_number_bounds" in traits:
        reg = env.regs[0].copy()
        top = env.kernel.config.possible_cpus - 1
        reg.umin = reg.u32_min = reg.smin = reg.s32_min = 0
        reg.umax = reg.u32_max = reg.smax = reg.s32_max = top
    else:
        return
    SYNC[env.rules.bounds](reg)
    env.set_reg(0, reg, env.precise_default)


def _check_func_ip(env: Env) -> None:
    """Test where bpf_get_func_ip makes sense (check_get_func_ip).

    :raises Refused: ENOTSUPP.
    """
    from bpfctl.kernel.bpf.progtypes.btf import (
        MODIFY_RETURN,
        TRACE_FENTRY,
        TRACE_FEXIT,
        TRACE_FSESSION,
    )

    if env.type.name == "kprobe":
        return
    if env.type.name == "tracing":
        if env.attach_type in (TRACE_FENTRY, TRACE_FEXIT, TRACE_FSESSION, MODIFY_RETURN):
            return
        kinds = prog_rules(env.kernel.profile.name).func_ip_kinds
        env.fail(E.NOTSUPP, f"func bpf_get_func_ip#173 supported only for {kinds} programs")
    number = env.type.number
    env.fail(E.NOTSUPP, f"func bpf_get_func_ip#173 not supported for program type {number}")


def _remember(env: Env, insn_idx: int, meta: CallMeta, r3: Reg) -> None:
    """Leave what the rewriting needs to know about a call."""
    aux = env.aux[insn_idx]
    aux.call = meta.helper
    if meta.map is not None and meta.helper.name not in _MAP_FUNCS:
        aux.extra = {**(aux.extra or {}), "map": meta.map}


def check_kfunc_call(env: Env, insn: Insn, insn_idx: int) -> None:
    """Check a call of a kernel function.

    :raises Refused: EINVAL: the simulator has none.
    """
    env.fail(E.INVAL, f"kernel btf_id {insn.imm} is not a function")
