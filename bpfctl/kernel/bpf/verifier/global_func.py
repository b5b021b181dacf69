"""Global functions: verified by themselves, for any arguments of their types (from 5.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bpfctl.btf.types import Kind
from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import LOG_LEVEL1, READ, WRITE, Env, Refused
from bpfctl.kernel.bpf.verifier.regs import words
from bpfctl.kernel.bpf.verifier.state import UNKNOWN_SCALAR, Frame, Reg, pointer

ANYTHING, CTX, MEM = range(3)
KIND_WORDS = {
    Kind.VOID: "UNKNOWN", Kind.INT: "INT", Kind.PTR: "PTR", Kind.ARRAY: "ARRAY",
    Kind.STRUCT: "STRUCT", Kind.UNION: "UNION", Kind.ENUM: "ENUM", Kind.FWD: "FWD",
    Kind.TYPEDEF: "TYPEDEF", Kind.FUNC: "FUNC", Kind.FUNC_PROTO: "FUNC_PROTO",
    Kind.FLOAT: "FLOAT", Kind.ENUM64: "ENUM64",
}  # fmt: skip


class Argument(NamedTuple):
    """What a function takes: a number, the context, or ``size`` bytes."""

    kind: int
    size: int = 0
    nullable: bool = True


def _ctx_struct(env: Env) -> str:
    layout = env.type.ctx
    return layout.struct if layout is not None else ""


def arguments(env: Env, no: int) -> list[Argument]:
    """Read what a function takes from its BTF (btf_prepare_func_args).

    :raises Refused: EINVAL.
    """
    subprog = env.subprogs[no]
    if subprog.args_cached:
        found: list[Argument] = subprog.args
        return found
    btf = env.btf
    proto = btf.type(btf.type(subprog.type_id).type)
    name = subprog.name
    params = list(proto.params)
    if len(params) > 5:
        env.fail(E.INVAL, f"Global function {name}() with {len(params)} > 5 args. Buggy compiler.")
    ret = btf.resolve(proto.ret) if proto.ret else btf.type(0)
    if ret.kind == Kind.VOID and env.rules.void_global:
        subprog.void = True
    elif ret.kind not in (Kind.INT, Kind.ENUM, Kind.ENUM64):
        env.fail(
            E.INVAL,
            f"Global function {name}() doesn't return scalar. Only those are supported.",
        )
    subprog.args = [_argument(env, no, index, type_id) for index, (_, type_id) in enumerate(params)]
    subprog.args_cached = True
    return list(subprog.args)


def _argument(env: Env, no: int, index: int, type_id: int) -> Argument:
    btf = env.btf
    tags = {
        tag.name
        for tag in btf
        if tag.kind == Kind.DECL_TAG
        and tag.type == env.subprogs[no].type_id
        and getattr(tag, "component", -1) == index
    }
    kind = btf.resolve(type_id)
    if kind.kind in (Kind.INT, Kind.ENUM, Kind.ENUM64):
        return Argument(ANYTHING)
    if kind.kind == Kind.PTR:
        target = btf.resolve(kind.type)
        if "arg:ctx" in tags and env.rules.arg_tags:
            return Argument(CTX)
        if index == 0 and target.name and target.name == _ctx_struct(env):
            return Argument(CTX)
        size = _size(env, kind.type)
        if not env.rules.global_mem_args:
            where = env.subprogs[no].name
            env.fail(E.INVAL, f"Arg#{index} type PTR in {where}() is not supported yet.")
        if size:
            nullable = not ("arg:nonnull" in tags and env.rules.arg_tags)
            return Argument(MEM, size, nullable)
        word = KIND_WORDS.get(target.kind, "UNKNOWN")
        env.fail(
            E.INVAL,
            f"arg#{index} reference type('{word} {target.name}') size cannot be determined: -22",
        )
    word = KIND_WORDS.get(kind.kind, "UNKNOWN")
    env.fail(E.INVAL, f"Arg#{index} type {word} in {env.subprogs[no].name}() is not supported yet.")


def _size(env: Env, type_id: int) -> int:
    from bpfctl.btf.types import BtfError

    try:
        return int(env.btf.size_of(type_id))
    except BtfError:
        return 0


def set_arguments(env: Env, no: int, frame: Frame) -> None:
    """Set the registers of a function that is verified by itself."""
    for index, argument in enumerate(arguments(env, no)):
        regno = index + 1
        if argument.kind == CTX:
            frame.regs[regno] = pointer(rt.PTR_TO_CTX)
        elif argument.kind == ANYTHING:
            frame.regs[regno] = UNKNOWN_SCALAR
        else:
            flags = rt.PTR_MAYBE_NULL if argument.nullable else 0
            reg = pointer(rt.PTR_TO_MEM | flags, 0, argument.size)
            if flags:
                reg.id = env.new_id()
            frame.regs[regno] = reg


def check_global_call(env: Env, no: int) -> None:
    """Check the arguments of a call (btf_check_subprog_call).

    :raises Refused: EINVAL.
    """
    subprog = env.subprogs[no]
    if env.cur_state.active_lock and env.rules.global_under_lock:
        env.fail(
            E.INVAL,
            "global function calls are not allowed while holding a lock,\n"
            "use static function instead",
        )
    try:
        for index, argument in enumerate(arguments(env, no)):
            _check_argument(env, index, argument)
    except Refused as exc:
        name = f" ('{subprog.name}')" if env.rules.global_words == "named" else ""
        env.fail(exc.code, f"Caller passes invalid args into func#{no}{name}")
    if env.log_level & LOG_LEVEL1:
        if env.rules.global_words == "named":
            env.verbose(f"Func#{no} ('{subprog.name}') is global and assumed valid.\n")
        else:
            env.verbose(f"Func#{no} is global and valid. Skipping.\n")


def _check_argument(env: Env, index: int, argument: Argument) -> None:
    regno = index + 1
    reg: Reg = env.regs[regno]
    if argument.kind == ANYTHING:
        if reg.type == rt.SCALAR_VALUE:
            return
        env.fail(E.INVAL, f"R{regno} is not a scalar")
    if argument.kind == CTX:
        from bpfctl.kernel.bpf.verifier.memory import check_ptr_off_reg

        if reg.type != rt.PTR_TO_CTX:
            env.fail(E.INVAL, f"arg#{index} expects pointer to ctx")
        try:
            check_ptr_off_reg(env, reg, regno)
        except Refused:
            env.fail(E.INVAL)
        return
    _check_mem(env, regno, reg, argument)


def _check_mem(env: Env, regno: int, reg: Reg, argument: Argument) -> None:
    """check_mem_reg(): NULL is good, a pointer that may be NULL is checked as if it were not."""
    from bpfctl.kernel.bpf.verifier.memory import check_helper_mem_access

    null = reg.type == rt.SCALAR_VALUE and not reg.mask and not reg.value
    if null:
        if argument.nullable:
            return
        env.fail(E.INVAL, f"arg#{regno - 1} expected to be non-NULL")
    saved = reg
    if reg.type & rt.PTR_MAYBE_NULL:
        from bpfctl.kernel.bpf.verifier.nullness import not_null

        env.regs[regno] = not_null(reg)
    try:
        check_helper_mem_access(env, regno, argument.size, READ, True)
        check_helper_mem_access(env, regno, argument.size, WRITE, True)
    except Refused:
        env.fail(E.INVAL)
    finally:
        env.regs[regno] = saved


def check_global_functions(env: Env, check: Callable[[Env, int], None]) -> None:
    """Verify global functions: all, or from 6.8 those that are called."""
    if not env.has_func_info or env.btf is None:
        return
    done: set[int] = set()
    lazily = env.rules.global_funcs == "after"
    again = True
    while again:
        again = False
        for no, subprog in enumerate(env.subprogs):
            if not no or not subprog.is_global or no in done:
                continue
            if lazily and not subprog.called:
                continue
            if env.log_level & LOG_LEVEL1:
                env.verbose(f"Validating {subprog.name}() func#{no}...\n")
            check(env, no)
            done.add(no)
            again = lazily


__all__ = ["arguments", "check_global_call", "check_global_functions", "set_arguments", "words"]
