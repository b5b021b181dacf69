"""BTF of a program's functions (check_btf_func): which are global, what they take."""

from __future__ import annotations

import struct

from bpfctl.btf.types import Kind
from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier.env import Env

FUNC, FUNC_PROTO = 12, 13
LINKAGE = ("static", "global", "extern")


def check_btf_info(env: Env) -> None:
    """Read func_info and find the types of the functions.

    :raises Refused: EINVAL, EBADF.
    """
    attr = env.attr
    if not (attr.func_info_cnt or attr.line_info_cnt):
        _check_abnormal_return(env)
        return
    file = env.kernel.files.get(env.task.pid, attr.prog_btf_fd)
    if file.obj_kind != "btf":
        env.fail(E.INVAL)
    from bpfctl.kernel.bpf.btf import _parsed

    env.btf_id = file.obj_id
    env.btf = _parsed(env.kernel.btfs.get(file.obj_id).blob)
    if attr.line_info_cnt and attr.line_info_cnt < len(env.subprogs):
        env.fail(E.INVAL, f"missing bpf_line_info for func#{attr.line_info_cnt}")
    if not attr.func_info_cnt:
        _check_abnormal_return(env)
        return
    if attr.func_info_cnt != len(env.subprogs):
        env.fail(E.INVAL, "number of funcs in func_info doesn't match number of subprogs")
    if not attr.func_info:
        env.has_func_info = True
        return
    records = list(struct.iter_unpack("<II", attr.func_info))
    before = -1
    for no, (offset, type_id) in enumerate(records):
        if no == 0 and offset:
            env.fail(E.INVAL, f"nonzero insn_off {offset} for the first func info record")
        if offset <= before:
            env.fail(
                E.INVAL,
                f"same or smaller insn offset ({offset}) than previous func info record ({before})",
            )
        if env.subprogs[no].start != offset:
            env.fail(E.INVAL, "func_info BTF section doesn't match subprog layout in BPF program")
        _function(env, no, type_id)
        before = offset
    env.has_func_info = True


def _check_abnormal_return(env: Env) -> None:
    """What may end the program inside a function needs BTF to say what that returns.

    :raises Refused: EINVAL.
    """
    for subprog in env.subprogs[1:]:
        if subprog.has_ld_abs:
            env.fail(E.INVAL, "LD_ABS is not allowed in subprogs without BTF")
        if subprog.has_tail_call:
            env.fail(E.INVAL, "tail_call is not allowed in subprogs without BTF")


def _function(env: Env, no: int, type_id: int) -> None:
    try:
        func = env.btf.type(type_id)
    except Exception:
        func = None
    if func is None or func.kind != FUNC:
        env.fail(E.INVAL, f"invalid type id {type_id} in func info")
    subprog = env.subprogs[no]
    ret = env.btf.resolve(env.btf.type(func.type).ret)
    if no and ret.kind not in (Kind.INT, Kind.ENUM, Kind.ENUM64):
        for has, what in ((subprog.has_ld_abs, "LD_ABS"), (subprog.has_tail_call, "tail_call")):
            if has:
                env.fail(E.INVAL, f"{what} is only allowed in functions that return 'int'.")
    subprog.type_id = type_id
    subprog.name = func.name
    linkage = getattr(func, "linkage", 0)
    subprog.linkage = LINKAGE[linkage] if linkage < 3 else "extern"
    subprog.is_global = subprog.linkage == "global"
