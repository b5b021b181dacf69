"""Arguments of helpers (check_func_arg and what is below it)."""

from __future__ import annotations

from typing import NoReturn

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, ArgSpec, Flag, Helper, Proto
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.argtypes import compatible
from bpfctl.kernel.bpf.verifier.env import READ, WRITE, Env, VMap
from bpfctl.kernel.bpf.verifier.memory import check_helper_mem_access, check_ptr_off_reg
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.regs import read_reg, words
from bpfctl.kernel.bpf.verifier.state import BtfRef, Reg

MAX_VAR_SIZ = 1 << 29

_SIZES = (Arg.CONST_SIZE, Arg.CONST_SIZE_OR_ZERO)
_DATA_TYPES = frozenset(
    (
        rt.PTR_TO_STACK, rt.PTR_TO_PACKET, rt.PTR_TO_PACKET_META, rt.PTR_TO_MAP_KEY,
        rt.PTR_TO_MAP_VALUE, rt.PTR_TO_MEM, rt.PTR_TO_BUF, rt.PTR_TO_ARENA, rt.SCALAR_VALUE,
    )
)  # fmt: skip


class CallMeta:
    """What the arguments of one call say (struct bpf_call_arg_meta).

    ``raw_mode``, ``access_size`` and ``regno``: memory that the helper fills. ``msize_max``: the
    largest size passed, which bounds some results.
    """

    __slots__ = (
        "access_size", "const_key", "dynptr_id", "func", "helper", "initialized_dynptr", "kptr",
        "map", "map_uid", "mem_size", "msize_max", "pkt_access", "proto", "raw_mode",
        "ref_obj_id", "regno", "release_regno", "ret_btf",
    )  # fmt: skip

    def __init__(self, helper: Helper, proto: Proto) -> None:
        self.helper = helper
        self.proto = proto
        self.pkt_access = proto.pkt_access
        self.map: VMap | None = None
        self.map_uid = 0
        self.raw_mode = False
        self.access_size = 0
        self.regno = 0
        self.msize_max = 0
        self.mem_size = 0
        self.ref_obj_id = 0
        self.release_regno = 0
        self.func = 0
        self.ret_btf: BtfRef | None = None
        self.const_key = -1
        self.dynptr_id = 0
        self.initialized_dynptr: object = None
        self.kptr: object = None


def is_null(reg: Reg) -> bool:
    """Tell whether a register is known to be 0 (register_is_null)."""
    return reg.type == rt.SCALAR_VALUE and not reg.mask and not reg.value


def check_args(env: Env, meta: CallMeta) -> None:
    """Check all arguments of a call, in order.

    :raises Refused: EACCES, EINVAL.
    """
    for index, spec in enumerate(meta.proto.args):
        check_func_arg(env, index, spec, meta)


def check_func_arg(env: Env, index: int, spec: ArgSpec, meta: CallMeta) -> None:
    """Check argument ``index`` of a helper (check_func_arg)."""
    regno = index + 1
    reg = read_reg(env, regno)
    if spec.base == Arg.ANYTHING:
        if env.is_pointer_value(regno):
            env.fail(E.ACCES, f"R{regno} leaks addr into helper function")
        return
    if rt.is_pkt(reg.type) and not _may_pass_packet(env, meta):
        env.fail(E.ACCES, "helper access to the packet is not allowed")
    arg_type = spec.type
    if spec.base == Arg.PTR_TO_MAP_VALUE:
        arg_type = _resolve_map_arg(env, meta, arg_type)
    if not (is_null(reg) and arg_type & Flag.MAYBE_NULL):
        check_reg_type(env, regno, reg, arg_type, spec, meta)
        _check_offset(env, regno, reg, arg_type)
    if arg_type & Flag.RELEASE:
        _check_release(env, regno, reg, arg_type, meta)
    if reg.ref_obj_id and arg_type & 0xFF != Arg.KPTR_XCHG_DEST:
        if meta.ref_obj_id:
            env.fail(
                E.ACCES,
                f"more than one arg with ref_obj_id R{regno} {reg.ref_obj_id} {meta.ref_obj_id}",
            )
        meta.ref_obj_id = reg.ref_obj_id
    _check_kind(env, index, regno, reg, arg_type, spec, meta)


def _may_pass_packet(env: Env, meta: CallMeta) -> bool:
    """Tell whether packet memory may be passed (may_access_direct_pkt_data)."""
    return bool(env.type.direct_packet) and meta.pkt_access


def _resolve_map_arg(env: Env, meta: CallMeta, arg_type: int) -> int:
    map_ = meta.map
    if map_ is None:
        env.fail(E.ACCES, "invalid map_ptr to access map->type")
    if map_.type in ("sockmap", "sockhash"):
        if arg_type != Arg.PTR_TO_MAP_VALUE:
            env.fail(E.INVAL, "invalid arg_type for sockmap/sockhash")
        return Arg.PTR_TO_BTF_ID_SOCK_COMMON
    if map_.type == "bloom_filter" and meta.helper.name == "map_peek_elem":
        return Arg.PTR_TO_MAP_VALUE
    return arg_type


# --- the type --------------------------------------------------------------------------


def check_reg_type(
    env: Env, regno: int, reg: Reg, arg_type: int, spec: ArgSpec, meta: CallMeta
) -> None:
    """Check that a register is of a type that an argument accepts (check_reg_type)."""
    expected = compatible(prog_rules(env.kernel.profile.name).arg_types, arg_type & 0xFF)
    found = reg.type
    if arg_type & Flag.RDONLY:
        found &= ~rt.MEM_RDONLY
    if arg_type & Flag.MAYBE_NULL:
        found &= ~rt.PTR_MAYBE_NULL
    if arg_type & 0xFF == Arg.PTR_TO_MEM:
        found &= ~(rt.DYNPTR_TYPE_LOCAL | rt.DYNPTR_TYPE_RINGBUF | rt.DYNPTR_TYPE_SKB)
    if meta.helper.name == "kptr_xchg" and regno == 2 and found & rt.MEM_ALLOC:
        found &= ~(rt.MEM_ALLOC | rt.MEM_PERCPU)
    if found not in expected:
        names = ", ".join(_type_name(env, kind) for kind in expected)
        env.fail(E.ACCES, f"R{regno} type={_type_name(env, reg.type)} expected={names}")
    if reg.type & rt.BASE == rt.PTR_TO_BTF_ID:
        _check_btf(env, regno, reg, arg_type, spec, meta)


_OLD_WORDS = {
    # What a release calls a type that later ones call otherwise.
    "buffers": {"buf": "rdwr_buf"},
    "alloc": {"ringbuf_mem": "alloc_mem", "ringbuf_mem_or_null": "alloc_mem_or_null"},
}


def _type_name(env: Env, reg_type: int) -> str:
    name = rt.type_text(reg_type, env.rules.scalar_word)
    generation = prog_rules(env.kernel.profile.name).arg_types
    return _OLD_WORDS.get(generation, {}).get(name, name)


def _check_btf(
    env: Env, regno: int, reg: Reg, arg_type: int, spec: ArgSpec, meta: CallMeta
) -> None:
    if arg_type & 0xFF == Arg.PTR_TO_MEM:
        if not arg_type & Flag.RDONLY:
            name = f"bpf_{meta.helper.name}"
            env.fail(
                E.ACCES,
                f"{name}() may write into memory pointed by R{regno} type={words(env, reg)}",
            )
        return
    ref = reg.aux
    if spec.btf and isinstance(ref, BtfRef) and not struct_matches(ref.name, spec.btf):
        env.fail(E.ACCES, f"R{regno} is of type {ref.name} but {spec.btf} is expected")


_FIRST_MEMBERS = {
    # Structs whose first member, at offset 0, is another one that may stand for it.
    "tcp6_sock": "tcp_sock", "tcp_sock": "inet_connection_sock",
    "inet_connection_sock": "inet_sock", "udp6_sock": "udp_sock", "udp_sock": "inet_sock",
    "inet_sock": "sock", "unix_sock": "sock", "mptcp_sock": "inet_connection_sock",
    "sock": "sock_common", "tcp_timewait_sock": "inet_timewait_sock",
    "inet_timewait_sock": "sock_common", "tcp_request_sock": "inet_request_sock",
    "inet_request_sock": "request_sock", "request_sock": "sock_common",
}  # fmt: skip


def struct_matches(name: str, wanted: str) -> bool:
    """Tell whether a struct is, or begins with, another one (btf_struct_ids_match)."""
    current: str | None = name
    while current is not None:
        if current == wanted:
            return True
        current = _FIRST_MEMBERS.get(current)
    return False


def _check_offset(env: Env, regno: int, reg: Reg, arg_type: int) -> None:
    """Check what may be added to a pointer before it is passed (check_func_arg_reg_off)."""
    base = reg.type & rt.BASE
    traits = prog_rules(env.kernel.profile.name).traits
    if "ctx_offset_only" in traits:
        if base == rt.PTR_TO_CTX:
            check_ptr_off_reg(env, reg, regno)
        return
    if arg_type & Flag.RELEASE:
        dynptr = arg_type & 0xFF == Arg.PTR_TO_DYNPTR
        if dynptr and reg.type == rt.PTR_TO_STACK:
            return
        if reg.off and base != rt.SCALAR_VALUE:
            env.fail(E.INVAL, f"R{regno} {prog_rules(env.kernel.profile.name).release_offset}")
        check_ptr_off_reg(env, reg, regno)
        return
    if base in _DATA_TYPES and not reg.type & rt.PTR_MAYBE_NULL:
        ringbuf_by_helper = arg_type & 0xFF == Arg.PTR_TO_RINGBUF_MEM
        if not ringbuf_by_helper:
            return
    check_ptr_off_reg(env, reg, regno, fixed_ok=base == rt.PTR_TO_BTF_ID)


def _check_release(env: Env, regno: int, reg: Reg, arg_type: int, meta: CallMeta) -> None:
    if arg_type & 0xFF == Arg.PTR_TO_DYNPTR:
        from bpfctl.kernel.bpf.verifier.dynptr import check_releasable

        if "dynptr_type_first" not in env.traits:
            check_releasable(env, regno, reg)
    elif not reg.ref_obj_id and not is_null(reg):
        env.fail(E.INVAL, f"R{regno} must be referenced when passed to release function")
    meta.release_regno = regno


# --- what it holds -----------------------------------------------------------------------


def _check_kind(
    env: Env, index: int, regno: int, reg: Reg, arg_type: int, spec: ArgSpec, meta: CallMeta
) -> None:
    base = arg_type & 0xFF
    if base == Arg.CONST_MAP_PTR:
        _map_ptr(env, reg, meta)
    elif base == Arg.PTR_TO_MAP_KEY:
        _map_key(env, regno, reg, meta)
    elif base == Arg.PTR_TO_MAP_VALUE:
        if arg_type & Flag.MAYBE_NULL and is_null(reg):
            return
        if meta.map is None:
            env.fail(E.ACCES, "invalid map_ptr to access map->value")
        meta.raw_mode = bool(arg_type & Flag.UNINIT)
        access = WRITE if arg_type & Flag.WRITE else READ
        check_helper_mem_access(env, regno, meta.map.value_size, access, False, meta)
    elif base == Arg.PTR_TO_MEM:
        _mem(env, regno, reg, arg_type, spec, meta)
    elif base in _SIZES:
        before = meta.proto.args[index - 1].type
        access = WRITE if before & Flag.WRITE else READ
        check_mem_size(env, regno, reg, access, base == Arg.CONST_SIZE_OR_ZERO, meta)
    elif base in (Arg.PTR_TO_INT, Arg.PTR_TO_LONG):
        size = 4 if base == Arg.PTR_TO_INT else 8
        meta.raw_mode = False
        check_helper_mem_access(env, regno, size, READ, False, meta)
        _check_aligned(env, reg, size)
    elif base == Arg.CONST_ALLOC_SIZE_OR_ZERO:
        if reg.mask:
            rules = prog_rules(env.kernel.profile.name)
            errno = E.INVAL if rules.not_const_errno == "EINVAL" else E.ACCES
            env.fail(errno, f"R{regno} {rules.not_const}")
        if reg.value > 0xFFFFFFFF and "alloc_size_u32" in env.traits:
            env.fail(E.INVAL, f"R{regno} allocation size exceeds u32 max")
        meta.mem_size = reg.value
        mark_chain_precision(env, regno)
    else:
        _check_special(env, regno, reg, arg_type, meta)


def _check_special(env: Env, regno: int, reg: Reg, arg_type: int, meta: CallMeta) -> None:
    base = arg_type & 0xFF
    if base == Arg.PTR_TO_FUNC:
        meta.func = reg.aux
    elif base == Arg.PTR_TO_SPIN_LOCK:
        from bpfctl.kernel.bpf.verifier.locks import process_spin_lock

        process_spin_lock(env, regno, reg, meta.helper.name == "spin_lock")
    elif base == Arg.PTR_TO_TIMER:
        from bpfctl.kernel.bpf.verifier.locks import process_timer

        process_timer(env, regno, reg, meta)
    elif base == Arg.PTR_TO_CONST_STR:
        from bpfctl.kernel.bpf.verifier.strings import check_const_str

        check_const_str(env, regno, reg)
    elif base == Arg.PTR_TO_DYNPTR:
        from bpfctl.kernel.bpf.verifier.dynptr import process_dynptr

        process_dynptr(env, regno, reg, arg_type, meta)
    elif base == Arg.KPTR_XCHG_DEST:
        from bpfctl.kernel.bpf.verifier.locks import process_kptr

        process_kptr(env, regno, reg, meta)
    elif base == Arg.PTR_TO_PERCPU_BTF_ID:
        meta.ret_btf = reg.aux if isinstance(reg.aux, BtfRef) else None


def _map_ptr(env: Env, reg: Reg, meta: CallMeta) -> None:
    if meta.map is not None and (meta.map is not reg.aux or meta.map_uid != reg.map_uid):
        env.fail(
            E.INVAL,
            f"timer pointer in R1 map_uid={meta.map_uid} doesn't match map pointer in R2 "
            f"map_uid={reg.map_uid}",
        )
    meta.map = reg.aux
    meta.map_uid = reg.map_uid


def _map_key(env: Env, regno: int, reg: Reg, meta: CallMeta) -> None:
    map_ = meta.map
    if map_ is None:
        env.fail(E.ACCES, "invalid map_ptr to access map->key")
    check_helper_mem_access(env, regno, map_.key_size, READ, False, None)
    if env.rules.const_key_lookup and map_.type in ("array", "percpu_array"):
        from bpfctl.kernel.bpf.verifier.constkey import constant_map_key

        meta.const_key = constant_map_key(env, reg, map_.key_size)


def _mem(env: Env, regno: int, reg: Reg, arg_type: int, spec: ArgSpec, meta: CallMeta) -> None:
    meta.raw_mode = bool(arg_type & Flag.UNINIT)
    if arg_type & Flag.FIXED_SIZE:
        access = WRITE if arg_type & Flag.WRITE else READ
        check_helper_mem_access(env, regno, spec.size, access, False, meta)
        if arg_type & Flag.ALIGNED:
            _check_aligned(env, reg, spec.size)


def _check_aligned(env: Env, reg: Reg, size: int) -> None:
    from bpfctl.kernel.bpf.verifier.memory import check_ptr_alignment

    check_ptr_alignment(env, reg, 0, size, True)


def check_mem_size(
    env: Env, regno: int, reg: Reg, access: int, zero_allowed: bool, meta: CallMeta
) -> None:
    """Check memory and its size, the register before and ``regno`` (check_mem_size_reg)."""
    meta.msize_max = reg.umax
    passed: CallMeta | None = meta if not reg.mask else None
    if reg.smin < 0:
        _refuse(env, f"R{regno} min value is negative, either use unsigned or 'var &= const'")
    if reg.umin == 0:
        if "zero_sized_read_words" in prog_rules(env.kernel.profile.name).traits:
            if not zero_allowed:
                span = f"u64=[{reg.umin},{reg.umax}]"
                _refuse(env, f"R{regno} invalid zero-sized read: {span}")
        else:
            check_helper_mem_access(env, regno - 1, 0, access, zero_allowed, passed)
    if reg.umax >= MAX_VAR_SIZ:
        _refuse(
            env,
            f"R{regno} unbounded memory access, use 'var &= const' or 'if (var < const)'",
        )
    check_helper_mem_access(env, regno - 1, reg.umax, access, zero_allowed, passed)
    mark_chain_precision(env, regno)


def _refuse(env: Env, text: str) -> NoReturn:
    env.fail(E.ACCES, text)
