"""Before the walk: functions, jumps, maps and opcodes (add_subprog_and_kfunc, check_subprogs,
resolve_pseudo_ldimm64)."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.isa.insn import (
    BPF_CALL,
    BPF_EXIT,
    BPF_JMP,
    BPF_JMP32,
    BPF_LD,
    BPF_LDX,
    BPF_STX,
    BY_INDEX,
    CALL,
    EXIT,
    JA,
    JA32,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
    VALUES,
    Insn,
)
from bpfctl.isa.opcodes import known_opcodes
from bpfctl.kernel.bpf.verifier.env import LOG_LEVEL2, Env, Subprog, VMap
from bpfctl.kernel.bpf.verifier.ptr_alu import MAX_VAR_OFF
from bpfctl.kernel.records import MapRecord

MAX_SUBPROGS = 256
MAX_USED_MAPS = 64
TAIL_CALL = 12


def find_functions(env: Env) -> None:
    """Collect the functions (add_subprog_and_kfunc).

    :raises Refused: EPERM, EINVAL, E2BIG.
    """
    starts = {0}
    for idx, insn in enumerate(env.insns):
        func = insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC and env.rules.pseudo_func
        call = insn.code == CALL and insn.src == PSEUDO_CALL
        kfunc = insn.code == CALL and insn.src == PSEUDO_KFUNC_CALL and env.rules.kfuncs
        if not (func or call or kfunc):
            continue
        if not env.bpf_capable:
            what = (
                "loading/calling other bpf or kernel functions are"
                if env.rules.kfuncs
                else "function calls to other bpf functions are"
            )
            env.fail(E.PERM, f"{what} allowed for CAP_BPF and CAP_SYS_ADMIN")
        if kfunc:
            from bpfctl.kernel.bpf.verifier.kfunc import add_kfunc

            add_kfunc(env, insn)
            continue
        target = idx + insn.imm + 1
        if not 0 <= target < len(env.insns):
            env.fail(E.INVAL, "call to invalid destination")
        if target not in starts and len(starts) >= MAX_SUBPROGS:
            env.fail(E.BIG, "too many subprograms")
        starts.add(target)
    ordered = sorted(starts)
    env.subprogs = [Subprog(start) for start in ordered]
    for subprog, end in zip(env.subprogs, [*ordered[1:], len(env.insns)], strict=True):
        subprog.end = end
    env.subprog_by_start = {subprog.start: no for no, subprog in enumerate(env.subprogs)}
    if env.log_level & LOG_LEVEL2:
        for no, subprog in enumerate(env.subprogs):
            env.verbose(f"func#{no} @{subprog.start}\n")


def check_functions(env: Env) -> None:
    """Jumps stay in their function, and it does not run into the next (check_subprogs).

    :raises Refused: EINVAL.
    """
    for subprog in env.subprogs:
        for idx in range(subprog.start, subprog.end):
            insn = env.insns[idx]
            code = insn.code
            if code == CALL and insn.src == 0 and insn.imm == TAIL_CALL:
                subprog.has_tail_call = True
            cls, op = code & 7, code & 0xF0
            if cls == BPF_LD and code & 0xE0 in (0x20, 0x40):
                subprog.has_ld_abs = True
            if cls in (BPF_JMP, BPF_JMP32) and op not in (BPF_EXIT, BPF_CALL):
                off = insn.imm if code == JA32 and env.gotol else insn.off
                target = idx + off + 1
                if not subprog.start <= target < subprog.end:
                    shown = (target + (1 << 31)) % (1 << 32) - (1 << 31)
                    env.fail(E.INVAL, f"jump out of range from insn {idx} to {shown}")
        last = env.insns[subprog.end - 1].code
        if last not in (EXIT, JA) and not (last == JA32 and env.gotol):
            env.fail(E.INVAL, "last insn is not an exit or jmp")


# --- maps ------------------------------------------------------------------------------


def resolve(env: Env) -> None:
    """Test opcodes, find the maps (resolve_pseudo_ldimm64).

    :raises Refused: EINVAL, EBADF, E2BIG, EPROTO, EFAULT, EBUSY, EPERM.
    """
    known = known_opcodes(env.isa)
    if env.gotol:
        known |= {JA32}
    insns = env.insns
    idx = 0
    while idx < len(insns):
        insn = insns[idx]
        code = insn.code
        if code & 7 == BPF_LDX:
            mode = code & 0xE0
            if (mode != 0x60 and not (mode == 0x80 and env.isa >= 4)) or insn.imm:
                env.fail(E.INVAL, "BPF_LDX uses reserved fields")
        if code & 7 == BPF_STX and env.rules.opcode_check == "stx":
            if code & 0xE0 not in (0x60, 0xC0) or insn.imm:
                env.fail(E.INVAL, "BPF_STX uses reserved fields")
        if code == LD_IMM64:
            _load_imm64(env, idx, insn)
            idx += 2
            continue
        if code not in known:
            env.fail(E.INVAL, f"unknown opcode {code:02x}")
        idx += 1


def _load_imm64(env: Env, idx: int, insn: Insn) -> None:
    insns = env.insns
    if idx == len(insns) - 1 or insns[idx + 1][:4] != (0, 0, 0, 0):
        env.fail(E.INVAL, "invalid bpf_ld_imm64 insn")
    if insn.off and env.rules.ld_imm64_off_early:
        env.fail(E.INVAL, "BPF_LD_IMM64 uses reserved fields")
    if insn.src == 0 or (insn.src == PSEUDO_FUNC and env.rules.pseudo_func):
        return
    if insn.src == PSEUDO_BTF_ID:
        from bpfctl.kernel.bpf.verifier.kfunc import resolve_variable

        resolve_variable(env, idx, insn)
        return
    second = insns[idx + 1]
    by_index = insn.src in BY_INDEX and env.rules.pseudo_func
    value = insn.src == PSEUDO_MAP_VALUE or (by_index and insn.src in VALUES)
    if not value and not ((insn.src == PSEUDO_MAP_FD or by_index) and second.imm == 0):
        env.fail(E.INVAL, "unrecognized bpf_ld_imm64 insn")
    map_ = _used_map(env, _fd(env, insn, by_index))
    aux = env.aux[idx]
    aux.map = map_
    if value:
        aux.map_off = _direct_value(env, map_, second.imm & 0xFFFFFFFF)


def _fd(env: Env, insn: Insn, by_index: bool) -> int:
    if not by_index:
        return insn.imm
    fds = env.attr.fd_array
    if fds is None:
        env.fail(E.PROTO, "fd_idx without fd_array is invalid")
    if not 0 <= insn.imm < len(fds):
        env.fail(E.FAULT)
    return fds[insn.imm]


def _used_map(env: Env, fd: int) -> VMap:
    kernel = env.kernel
    try:
        file = kernel.files.get(env.task.pid, fd)
        if file.obj_kind != "map":
            raise KernelError(E.INVAL, "not a map")
    except KernelError as exc:
        env.fail(exc.code, f"fd {fd} is not pointing to valid bpf_map")
    for map_ in env.maps:
        if map_.id == file.obj_id:
            return map_
    if len(env.maps) >= MAX_USED_MAPS:
        if env.rules.map_limit_words:
            env.fail(
                E.BIG,
                f"The total number of maps per program has reached the limit of {MAX_USED_MAPS}",
            )
        env.fail(E.BIG)
    map_ = make_vmap(env, file.obj_id)
    from bpfctl.kernel.bpf.verifier.mapprog import check_map_compatibility

    if env.rules.map_limit_words:
        env.maps.append(map_)
        check_map_compatibility(env, map_)
    else:
        check_map_compatibility(env, map_)
        env.maps.append(map_)
    if map_.type.endswith("cgroup_storage"):
        if sum(used.type == map_.type for used in env.maps) > 1:
            env.fail(E.BUSY, "only one cgroup storage of each type is allowed")
    if map_.type == "arena":
        if sum(used.type == "arena" for used in env.maps) > 1:
            env.fail(E.BUSY, "Only one arena per program")
        if not (env.allow_ptr_leaks and env.bpf_capable):
            env.fail(E.PERM, "CAP_BPF and CAP_PERFMON are required to use arena")
    return map_


def make_vmap(env: Env, map_id: int) -> VMap:
    """The verifier's view of a map, its inner map included."""
    map_ = env.kernel.maps.get(map_id)
    template = map_.rec.priv.get("inner") if map_.is_map_in_map else None
    if template is None:
        return VMap(map_)
    facts = {key: value for key, value in template.items() if key != "fields"}
    inner_class = env.kernel.maps.type_class(facts["type"])
    inner = VMap(inner_class(env.kernel, MapRecord(0, **facts)))
    inner.fields = {kind: [] for kind in template["fields"]}
    return VMap(map_, inner)


def _direct_value(env: Env, map_: VMap, off: int) -> int:
    if off >= MAX_VAR_OFF:
        env.fail(E.INVAL, f"direct value offset of {off} is not allowed")
    if map_.type == "arena":
        size = map_.max_entries * env.kernel.config.page_size
    elif map_.type == "array":
        size = map_.value_size
    elif map_.type == "insn_array":
        size = map_.max_entries * 8
    else:
        env.fail(E.INVAL, "no direct value access support for this map type")
    err = 0
    if map_.type == "array" and map_.max_entries != 1:
        err = E.NOTSUPP
    elif off >= size:
        err = E.INVAL
    if err:
        env.fail(
            err,
            f"invalid access to map value pointer, value_size={map_.value_size} off={off}",
        )
    return off
