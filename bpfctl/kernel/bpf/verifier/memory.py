"""Loads and stores through pointers (check_mem_access), and what helpers may touch."""

from __future__ import annotations

from typing import Any

from bpfctl.errors import E
from bpfctl.isa.insn import BPF_ST, BPF_STX, Insn
from bpfctl.kernel.bpf.progtypes.decl import ProgType
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.bounds import coerce_to_size, coerce_to_size_sx
from bpfctl.kernel.bpf.verifier.env import READ, WRITE, Env, VMap
from bpfctl.kernel.bpf.verifier.ptr_alu import MAX_VAR_OFF
from bpfctl.kernel.bpf.verifier.regs import check_writable, mark_unknown, read_reg, words
from bpfctl.kernel.bpf.verifier.stack import (
    check_range_initialized,
    check_stack_read,
    check_stack_write,
    check_within_bounds,
    s64,
)
from bpfctl.kernel.bpf.verifier.state import (
    S32_MAX,
    S32_MIN,
    S64_MIN,
    U32_MAX,
    U64_MAX,
    Reg,
    const_reg,
)

SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
MODE = 0xE0
MEM, MEMSX, ATOMIC = 0x60, 0x80, 0xC0

_NEGATIVE = "R{0} min value is negative, either use unsigned index or do a if (index >=0) check."


# --- alignment -------------------------------------------------------------------------

_PLACES = {
    rt.PTR_TO_FLOW_KEYS: "flow keys ",
    rt.PTR_TO_MAP_KEY: "key ",
    rt.PTR_TO_MAP_VALUE: "value ",
    rt.PTR_TO_CTX: "context ",
    rt.PTR_TO_STACK: "stack ",
    rt.PTR_TO_SOCKET: "sock ",
    rt.PTR_TO_SOCK_COMMON: "sock_common ",
    rt.PTR_TO_TCP_SOCK: "tcp_sock ",
    rt.PTR_TO_XDP_SOCK: "xdp_sock ",
}


def _tnum_words(env: Env, reg: Reg) -> str:
    """A variable offset; a known one reads as a number from 6.8 on (tnum_strn)."""
    if not reg.mask and env.rules.const_tnum_plain:
        return str(s64(reg.value))
    return tnum.text(reg.var_off)


def check_ptr_alignment(env: Env, reg: Reg, off: int, size: int, once: bool) -> None:
    """Check that an access is aligned, where that is asked for.

    :raises Refused: EACCES.
    """
    if reg.type == rt.PTR_TO_ARENA:
        return
    strict = env.strict_alignment or once or reg.type == rt.PTR_TO_STACK
    if not strict or size == 1:
        return
    place = _PLACES.get(reg.type, "")
    fixed = reg.off + off
    extra = ""
    if rt.is_pkt(reg.type):
        fixed += 2
        extra, place = "2+", "packet "
    bits = tnum.add(reg.var_off, tnum.const(fixed))
    if tnum.is_aligned(bits, size):
        return
    if env.rules.pointer_off == "var":
        whole = reg.copy()
        whole.var_off = tnum.add(reg.var_off, tnum.const(reg.off))
        where = f"{extra}{_tnum_words(env, whole)}+{off}"
    else:
        where = f"{extra}{_tnum_words(env, reg)}+{reg.off}+{off}"
    env.fail(E.ACCES, f"misaligned {place}access off {where} size {size}")


# --- regions ---------------------------------------------------------------------------


def _in_region(
    env: Env, regno: int, reg: Reg, off: int, size: int, mem_size: int, zero_allowed: bool
) -> str:
    """Why an access at a fixed offset leaves a region, empty if it does not."""
    if off >= 0 and (size > 0 or (size == 0 and zero_allowed)) and off + size <= mem_size:
        return ""
    base = reg.type & rt.BASE
    if base == rt.PTR_TO_MAP_KEY:
        return f"invalid access to map key, key_size={mem_size} off={off} size={size}"
    if base == rt.PTR_TO_MAP_VALUE:
        return f"invalid access to map value, value_size={mem_size} off={off} size={size}"
    if rt.is_pkt(base):
        return (
            f"invalid access to packet, off={off} size={size}, "
            f"R{regno}(id={reg.id},off={off},r={mem_size})"
        )
    return f"invalid access to memory, mem_size={mem_size} off={off} size={size}"


def check_mem_region_access(
    env: Env, regno: int, reg: Reg, off: int, size: int, mem_size: int, zero_allowed: bool
) -> None:
    """Check an access by its least and its largest offset.

    :raises Refused: EACCES.
    """
    if reg.smin < 0:
        low = reg.smin + off
        if reg.smin == S64_MIN or low < 0 or not S32_MIN <= low <= S32_MAX:
            env.fail(E.ACCES, _NEGATIVE.format(regno))
    why = _in_region(env, regno, reg, reg.smin + off, size, mem_size, zero_allowed)
    if why:
        env.verbose(why + "\n")
        env.fail(E.ACCES, f"R{regno} min value is outside of the allowed memory range")
    if reg.umax >= MAX_VAR_OFF:
        env.fail(
            E.ACCES,
            f"R{regno} unbounded memory access, make sure to bounds check any such access",
        )
    why = _in_region(env, regno, reg, reg.umax + off, size, mem_size, zero_allowed)
    if why:
        env.verbose(why + "\n")
        env.fail(E.ACCES, f"R{regno} max value is outside of the allowed memory range")


def check_map_access_type(env: Env, map_: VMap, off: int, size: int, access: int) -> None:
    """Check that programs may read or write values of a map.

    :raises Refused: EACCES.
    """
    good = map_.can_write() if access == WRITE else map_.can_read()
    if not good:
        verb = "write into" if access == WRITE else "read from"
        env.fail(
            E.ACCES,
            f"{verb} map forbidden, value_size={map_.value_size} off={off} size={size}",
        )


_FIELD_NAMES = {
    "spin_lock": "bpf_spin_lock",
    "res_spin_lock": "bpf_res_spin_lock",
    "timer": "bpf_timer",
    "wq": "bpf_workqueue",
    "list": "bpf_list_head",
    "rbtree": "bpf_rb_root",
    "refcount": "bpf_refcount",
    "kptr": "kptr",
    "task_work": "bpf_task_work",
}


def check_map_access(
    env: Env, regno: int, reg: Reg, off: int, size: int, zero_allowed: bool, helper: bool
) -> None:
    """Check an access to a map's value, fields of the kernel included.

    :raises Refused: EACCES.
    """
    map_: VMap = reg.aux
    check_mem_region_access(env, regno, reg, off, size, map_.value_size, zero_allowed)
    for kind, places in map_.fields.items():
        for at, length in places:
            if not (reg.smin + off < at + length and at < reg.umax + off + size):
                continue
            name = _FIELD_NAMES.get(kind, kind)
            if kind != "kptr":
                env.fail(E.ACCES, f"{name} cannot be accessed directly by load/store")
            if helper:
                env.fail(E.ACCES, f"{name} cannot be accessed indirectly by helper")
            if reg.mask:
                env.fail(E.ACCES, f"{name} access cannot have variable offset")
            where = off + reg.value
            if at != where:
                env.fail(E.ACCES, f"{name} access misaligned expected={at} off={where}")
            if size != 8:
                env.fail(E.ACCES, f"{name} access size must be BPF_DW")


def check_packet_access(
    env: Env, regno: int, reg: Reg, off: int, size: int, zero_allowed: bool
) -> None:
    """Check an access to the packet by the range that comparisons proved.

    :raises Refused: EACCES, EINVAL.
    """
    if env.rules.packet_region:
        _packet_region(env, regno, reg, off, size, zero_allowed)
        return
    if reg.smin < 0:
        env.fail(E.ACCES, _NEGATIVE.format(regno))
    if reg.aux < 0:
        env.fail(E.INVAL, f"R{regno} offset is outside of the packet")
    why = _in_region(env, regno, reg, off, size, reg.aux, zero_allowed)
    if why:
        env.verbose(why + "\n")
        env.fail(E.ACCES, f"R{regno} offset is outside of the packet")


def _packet_region(env: Env, regno: int, reg: Reg, off: int, size: int, zero_allowed: bool) -> None:
    """From 7.1 a packet is checked as any other region is."""
    if reg.aux < 0:
        env.fail(E.INVAL, f"R{regno} offset is outside of the packet")
    check_mem_region_access(env, regno, reg, off, size, reg.aux, zero_allowed)


def may_write_packet(prog_type: ProgType) -> bool:
    """Tell whether programs of a type may store to packets."""
    return prog_type.direct_packet == "write"


# --- one access ------------------------------------------------------------------------


def check_mem_access(
    env: Env,
    insn: Insn,
    regno: int,
    off: int,
    size: int,
    access: int,
    value_regno: int,
    strict_once: bool = False,
    sign_extend: bool = False,
) -> None:
    """Check a load or store of ``size`` bytes at ``off`` from a register, and do it.

    ``value_regno`` is loaded or stored, -1 for none.

    :raises Refused: EACCES, EINVAL.
    """
    reg = env.regs[regno]
    check_ptr_alignment(env, reg, off, size, strict_once)
    off += reg.off
    base = reg.type & rt.BASE
    if reg.type == rt.PTR_TO_STACK:
        check_within_bounds(env, regno, reg, off, size, access, False)
        if access == READ:
            check_stack_read(env, regno, reg, off, size, value_regno)
        else:
            check_stack_write(env, insn, regno, reg, off, size, value_regno)
    elif reg.type & rt.PTR_MAYBE_NULL and base not in (rt.PTR_TO_MEM,):
        env.fail(E.ACCES, f"R{regno} invalid mem access '{words(env, reg)}'")
    else:
        check = _REGIONS.get(base)
        if check is None:
            env.fail(E.ACCES, f"R{regno} invalid mem access '{words(env, reg)}'")
        check(env, insn, regno, reg, off, size, access, value_regno)
    if size < 8 and value_regno >= 0 and access == READ:
        _coerce(env, value_regno, size, sign_extend)


def _coerce(env: Env, regno: int, size: int, sign_extend: bool) -> None:
    frame = env.frame
    reg = frame.regs[regno]
    if reg.type != rt.SCALAR_VALUE:
        return
    new = reg.copy()
    if sign_extend:
        coerce_to_size_sx(new, size)
    else:
        coerce_to_size(new, size, env.sync, env.rules.bounds == "simple")
    frame.regs[regno] = new


def _no_leak(env: Env, access: int, value_regno: int, where: str) -> None:
    if access == WRITE and value_regno >= 0 and env.is_pointer_value(value_regno):
        env.fail(E.ACCES, f"R{value_regno} leaks addr into {where}")


def _loaded(env: Env, access: int, value_regno: int) -> None:
    if access == READ and value_regno >= 0:
        mark_unknown(env, value_regno)


def _map_key(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    if access == WRITE:
        env.fail(E.ACCES, f"write to change key R{regno} not allowed")
    check_mem_region_access(env, regno, reg, off, size, reg.aux.key_size, False)
    if value_regno >= 0:
        mark_unknown(env, value_regno)


def _map_value(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    _no_leak(env, access, value_regno, "map")
    map_: VMap = reg.aux
    check_map_access_type(env, map_, off, size, access)
    check_map_access(env, regno, reg, off, size, False, False)
    if not reg.mask:
        at = off + s64(reg.value)
        if any(place[0] == at for place in map_.fields.get("kptr", ())):
            from bpfctl.kernel.bpf.verifier.kptr import check_kptr_access

            check_kptr_access(env, insn, regno, reg, at, access, value_regno)
            return
        if access == READ and value_regno >= 0 and not map_.can_write() and map_.frozen:
            known = _direct_read(env, map_, at, size)
            if known is not None:
                env.set_reg(value_regno, const_reg(known), env.precise_default)
                return
    _loaded(env, access, value_regno)


def _direct_read(env: Env, map_: VMap, off: int, size: int) -> int | None:
    """The constant in a frozen read-only map (bpf_map_direct_read), None where there is none."""
    if map_.type != "array" or (map_.max_entries != 1 and not env.rules.direct_any_array):
        return None
    value = map_.map.lookup(bytes(4))
    return int.from_bytes(value[off : off + size], "little")


def _mem(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    rdonly = bool(reg.type & rt.MEM_RDONLY)
    if reg.type & rt.PTR_MAYBE_NULL:
        env.fail(E.ACCES, f"R{regno} invalid mem access '{words(env, reg)}'")
    if access == WRITE and rdonly:
        env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
    _no_leak(env, access, value_regno, "mem")
    if not (rdonly and reg.type & rt.PTR_UNTRUSTED):
        check_mem_region_access(env, regno, reg, off, size, reg.aux, False)
    if value_regno >= 0 and (access == READ or rdonly):
        mark_unknown(env, value_regno)


def check_ptr_off_reg(env: Env, reg: Reg, regno: int, fixed_ok: bool = False) -> None:
    """Check that a pointer is as it was given (check_ptr_off_reg).

    :raises Refused: EACCES.
    """
    name = words(env, reg)
    if reg.off < 0 and env.rules.ptr_off_words == "any":
        env.fail(E.ACCES, f"negative offset {name} ptr R{regno} off={reg.off} disallowed")
    if reg.off and not fixed_ok:
        env.fail(E.ACCES, f"dereference of modified {name} ptr R{regno} off={reg.off} disallowed")
    if reg.mask or reg.value:
        env.fail(E.ACCES, f"variable {name} access var_off={tnum.text(reg.var_off)} disallowed")


def _ctx(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    _no_leak(env, access, value_regno, "ctx")
    check_ptr_off_reg(env, reg, regno)
    from bpfctl.kernel.bpf.verifier.ctx import check_ctx_access

    loaded = check_ctx_access(env, env.insn_idx, off, size, access)
    if access == READ and value_regno >= 0:
        if loaded.type == rt.SCALAR_VALUE and loaded.mask:
            mark_unknown(env, value_regno)
        else:
            env.set_reg(value_regno, loaded)


def _packet(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    if access == WRITE and not may_write_packet(env.type):
        env.fail(E.ACCES, "cannot write into packet")
    if access == WRITE:
        env.seen_direct_write = True
    _no_leak(env, access, value_regno, "packet")
    check_packet_access(env, regno, reg, off, size, False)
    _loaded(env, access, value_regno)


FLOW_KEYS_BYTES = 56


def _flow_keys(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    _no_leak(env, access, value_regno, "flow keys")
    if off < 0 or off + size > FLOW_KEYS_BYTES:
        env.fail(E.ACCES, f"invalid access to flow keys off={off} size={size}")
    _loaded(env, access, value_regno)


def _sock(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    if access == WRITE:
        env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
    if reg.smin < 0:
        env.fail(E.ACCES, _NEGATIVE.format(regno))
    from bpfctl.kernel.bpf.verifier.ctx import sock_readable

    if not sock_readable(env, reg.type, off, size):
        env.fail(E.ACCES, f"R{regno} invalid {words(env, reg)} access off={off} size={size}")
    if value_regno >= 0:
        mark_unknown(env, value_regno)


def _buffer_place(env: Env, name: str, regno: int, reg: Reg, off: int, size: int) -> None:
    if off < 0:
        env.fail(E.ACCES, f"R{regno} invalid {name} buffer access: off={off}, size={size}")
    if reg.mask or reg.value:
        var = tnum.text(reg.var_off)
        env.fail(E.ACCES, f"R{regno} invalid variable buffer offset: off={off}, var_off={var}")


def _tp_buffer(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    _buffer_place(env, "tracepoint", regno, reg, off, size)
    _loaded(env, access, value_regno)


def _buf(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    rdonly = bool(reg.type & rt.MEM_RDONLY)
    if rdonly and access == WRITE:
        env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
    _buffer_place(env, "rdonly" if rdonly else "rdwr", regno, reg, off, size)
    if value_regno >= 0 and (rdonly or access == READ):
        mark_unknown(env, value_regno)


def _btf(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    from bpfctl.kernel.bpf.verifier.btf_access import check_btf_access

    check_btf_access(env, insn, regno, reg, off, size, access, value_regno)


_MAP_STRUCTS = {
    "array": "bpf_array",
    "percpu_array": "bpf_array",
    "prog_array": "bpf_array",
    "perf_event_array": "bpf_array",
    "cgroup_array": "bpf_array",
    "array_of_maps": "bpf_array",
    "hash": "bpf_htab",
    "percpu_hash": "bpf_htab",
    "lru_hash": "bpf_htab",
    "lru_percpu_hash": "bpf_htab",
    "hash_of_maps": "bpf_htab",
    "lpm_trie": "lpm_trie",
    "queue": "bpf_queue_stack",
    "stack": "bpf_queue_stack",
    "ringbuf": "bpf_ringbuf_map",
    "bloom_filter": "bpf_bloom_filter",
    "stack_trace": "bpf_stack_map",
    "sockmap": "bpf_stab",
    "sockhash": "bpf_shtab",
    "xskmap": "xsk_map",
    "cpumap": "bpf_cpu_map",
    "devmap": "bpf_dtab",
    "devmap_hash": "bpf_dtab",
}


_MAP_POINTERS = ("ops", "inner_map_meta", "security")
"""Pointers at the beginning of struct bpf_map, where it does not begin with a hash sum."""


def _map_ptr(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    """Reading struct bpf_map itself (check_ptr_to_map_access)."""
    struct = _MAP_STRUCTS.get(reg.aux.type, "bpf_map")
    if not env.allow_ptr_leaks:
        env.fail(
            E.PERM,
            f"'struct {struct}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN",
        )
    if off < 0:
        env.fail(E.ACCES, f"R{regno} is {struct} invalid negative access: off={off}")
    if access != READ:
        env.fail(E.ACCES, f"only read from {struct} is supported")
    member = off // 8
    if env.rules.map_ptr_members and member < len(_MAP_POINTERS) and size != 8:
        env.fail(
            E.ACCES,
            f"cannot access ptr member {_MAP_POINTERS[member]} with moff {8 * member} "
            f"in struct bpf_map with off {off} size {size}",
        )
    _loaded(env, access, value_regno)


def _arena(
    env: Env, insn: Insn, regno: int, reg: Reg, off: int, size: int, access: int, value_regno: int
) -> None:
    _loaded(env, access, value_regno)


_REGIONS = {
    rt.PTR_TO_MAP_KEY: _map_key,
    rt.PTR_TO_MAP_VALUE: _map_value,
    rt.PTR_TO_MEM: _mem,
    rt.PTR_TO_CTX: _ctx,
    rt.PTR_TO_PACKET: _packet,
    rt.PTR_TO_PACKET_META: _packet,
    rt.PTR_TO_FLOW_KEYS: _flow_keys,
    rt.PTR_TO_SOCKET: _sock,
    rt.PTR_TO_SOCK_COMMON: _sock,
    rt.PTR_TO_TCP_SOCK: _sock,
    rt.PTR_TO_XDP_SOCK: _sock,
    rt.PTR_TO_TP_BUFFER: _tp_buffer,
    rt.PTR_TO_BTF_ID: _btf,
    rt.CONST_PTR_TO_MAP: _map_ptr,
    rt.PTR_TO_BUF: _buf,
    rt.PTR_TO_ARENA: _arena,
}


# --- what helpers touch ------------------------------------------------------------------


def check_helper_mem_access(
    env: Env, regno: int, size: int, access: int, zero_allowed: bool, meta: Any = None
) -> None:
    """Check ``size`` bytes that a helper reads or writes through a register.

    ``meta`` as in :func:`~bpfctl.kernel.bpf.verifier.stack.check_range_initialized`; it also says
    ``pkt_access``.

    :raises Refused: EACCES, EINVAL.
    """
    reg = env.regs[regno]
    base = reg.type & rt.BASE
    if reg.type == rt.PTR_TO_STACK:
        check_range_initialized(env, regno, reg, reg.off, size, zero_allowed, access, meta, True)
    elif rt.is_pkt(reg.type):
        check_packet_access(env, regno, reg, reg.off, size, zero_allowed)
    elif reg.type == rt.PTR_TO_MAP_KEY:
        if access == WRITE:
            env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
        check_mem_region_access(env, regno, reg, reg.off, size, reg.aux.key_size, False)
    elif reg.type == rt.PTR_TO_MAP_VALUE:
        check_map_access_type(env, reg.aux, reg.off, size, access)
        check_map_access(env, regno, reg, reg.off, size, zero_allowed, True)
    elif base == rt.PTR_TO_MEM and not reg.type & rt.PTR_MAYBE_NULL:
        if reg.type & rt.MEM_RDONLY and access == WRITE:
            env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
        check_mem_region_access(env, regno, reg, reg.off, size, reg.aux, zero_allowed)
    elif base == rt.PTR_TO_BUF and not reg.type & rt.PTR_MAYBE_NULL:
        rdonly = bool(reg.type & rt.MEM_RDONLY)
        if rdonly and access == WRITE:
            env.fail(E.ACCES, f"R{regno} cannot write into {words(env, reg)}")
        _buffer_place(env, "rdonly" if rdonly else "rdwr", regno, reg, reg.off, size)
    elif base == rt.PTR_TO_BTF_ID and not reg.type & rt.PTR_MAYBE_NULL:
        _btf(env, env.insns[env.insn_idx], regno, reg, reg.off, size, READ, -1)
    elif reg.type == rt.PTR_TO_CTX and env.type.name == "syscall" and env.rules.ctx_by_helper:
        if size == 0:
            if not zero_allowed:
                env.fail(E.ACCES)
            return
        insn = env.insns[env.insn_idx]
        check_mem_access(env, insn, regno, size - 1, 1, access, -1)
    else:
        null = reg.type == rt.SCALAR_VALUE and not reg.mask and not reg.value
        if zero_allowed and size == 0 and null:
            return
        env.fail(E.ACCES, f"R{regno} type={words(env, reg)} expected=fp")


# --- instructions ------------------------------------------------------------------------


def _same_pointers(env: Env, reg_type: int, allow_trust: bool) -> None:
    """One instruction cannot serve pointers that are rewritten apart (save_aux_ptr_type)."""
    aux = env.aux[env.insn_idx]
    if aux.ptr_type == rt.NOT_INIT:
        aux.ptr_type = reg_type
    elif aux.ptr_type != reg_type and (_special(reg_type) or _special(aux.ptr_type)):
        both_btf = aux.ptr_type & rt.BASE == rt.PTR_TO_BTF_ID == reg_type & rt.BASE
        if not (allow_trust and both_btf):
            env.fail(E.INVAL, "same insn cannot be used with different pointers")


_SPECIAL = frozenset((rt.PTR_TO_CTX, *rt.SOCK_TYPES, rt.PTR_TO_BTF_ID, rt.PTR_TO_ARENA))


def _special(reg_type: int) -> bool:
    return reg_type & rt.BASE in _SPECIAL


def check_load(env: Env, insn: Insn) -> None:
    """BPF_LDX."""
    read_reg(env, insn.src)
    check_writable(env, insn.dst)
    src_type = env.regs[insn.src].type
    check_mem_access(
        env, insn, insn.src, insn.off, SIZES[insn.code & 0x18], READ, insn.dst, False,
        insn.code & MODE == MEMSX,
    )  # fmt: skip
    _same_pointers(env, src_type, True)


def check_store(env: Env, insn: Insn) -> None:
    """BPF_STX and BPF_ST, atomic ones included."""
    mode = insn.code & MODE
    if insn.code & 7 == BPF_STX:
        if mode == ATOMIC:
            check_atomic(env, insn)
            return
        if mode != MEM or insn.imm:
            env.fail(E.INVAL, "BPF_STX uses reserved fields")
        read_reg(env, insn.src)
        read_reg(env, insn.dst)
        value_regno = insn.src
    else:
        if mode != MEM or insn.src:
            env.fail(E.INVAL, "BPF_ST uses reserved fields")
        read_reg(env, insn.dst)
        value_regno = -1
        if env.rules.st_ctx_refused and env.regs[insn.dst].type == rt.PTR_TO_CTX:
            env.fail(E.ACCES, f"BPF_ST stores into R{insn.dst} ctx is not allowed")
    dst_type = env.regs[insn.dst].type
    check_mem_access(env, insn, insn.dst, insn.off, SIZES[insn.code & 0x18], WRITE, value_regno)
    if insn.code & 7 in (BPF_STX, BPF_ST):
        _same_pointers(env, dst_type, False)


FETCH, XCHG, CMPXCHG, LOAD_ACQ, STORE_REL = 0x01, 0xE1, 0xF1, 0x100, 0x110
_RMW = frozenset((0x00, 0x01, 0x50, 0x51, 0x40, 0x41, 0xA0, 0xA1, XCHG, CMPXCHG))
_NO_ATOMIC = frozenset(
    (
        rt.PTR_TO_CTX, rt.PTR_TO_PACKET, rt.PTR_TO_PACKET_META, rt.PTR_TO_FLOW_KEYS, *rt.SOCK_TYPES
    )
)  # fmt: skip


def check_atomic(env: Env, insn: Insn) -> None:
    """An atomic operation (check_atomic; check_xadd up to 5.11).

    :raises Refused: EINVAL, EACCES.
    """
    rules = env.rules
    size = SIZES[insn.code & 0x18]
    name = "BPF_ATOMIC" if rules.atomic else "BPF_XADD"
    if not rules.atomic:
        if size < 4 or insn.imm:
            env.fail(E.INVAL, "BPF_XADD uses reserved fields")
    elif insn.imm in (LOAD_ACQ, STORE_REL) and rules.load_acquire:
        _ordered_access(env, insn, size)
        return
    elif insn.imm not in _RMW:
        env.fail(E.INVAL, f"BPF_ATOMIC uses invalid atomic opcode {insn.imm & U32_MAX:02x}")
    elif size < 4:
        env.fail(E.INVAL, "invalid atomic operand size")
    read_reg(env, insn.src)
    read_reg(env, insn.dst)
    if insn.imm == CMPXCHG:
        read_reg(env, 0)
        if env.is_pointer_value(0):
            env.fail(E.ACCES, "R0 leaks addr into mem")
    if env.is_pointer_value(insn.src):
        env.fail(E.ACCES, f"R{insn.src} leaks addr into mem")
    dst = env.regs[insn.dst]
    if dst.type in _NO_ATOMIC:
        env.fail(E.ACCES, f"{name} stores into R{insn.dst} {words(env, dst)} is not allowed")
    load_reg = -1
    if insn.imm & FETCH and rules.atomic:
        load_reg = 0 if insn.imm == CMPXCHG else insn.src
        check_writable(env, load_reg)
        if load_reg == insn.dst:
            mark_unknown(env, load_reg)
    check_mem_access(env, insn, insn.dst, insn.off, size, READ, -1, True)
    if load_reg >= 0:
        check_mem_access(env, insn, insn.dst, insn.off, size, READ, load_reg, True)
    check_mem_access(env, insn, insn.dst, insn.off, size, WRITE, -2, True)


def _ordered_access(env: Env, insn: Insn, size: int) -> None:
    """Load-acquire and store-release (from 6.15)."""
    load = insn.imm == LOAD_ACQ
    ptr = insn.src if load else insn.dst
    read_reg(env, insn.src)
    if load:
        check_writable(env, insn.dst)
    else:
        read_reg(env, insn.dst)
    reg = env.regs[ptr]
    if reg.type in _NO_ATOMIC:
        verb = "loads from" if load else "stores into"
        env.fail(E.ACCES, f"BPF_ATOMIC {verb} R{ptr} {words(env, reg)} is not allowed")
    check_mem_access(
        env, insn, ptr, insn.off, size, READ if load else WRITE, insn.dst if load else insn.src,
        True,
    )  # fmt: skip
    _same_pointers(env, reg.type, load)


__all__ = ["U64_MAX", "check_helper_mem_access", "check_load", "check_mem_access", "check_store"]
