"""Constant strings that helpers get, and the formats of bpf_snprintf."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.helpers.format import Rules, check
from bpfctl.kernel.bpf.verifier.env import Env, VMap
from bpfctl.kernel.bpf.verifier.memory import check_map_access
from bpfctl.kernel.bpf.verifier.state import Reg
from bpfctl.uapi import BPF_F_RDONLY_PROG


def check_const_str(env: Env, regno: int, reg: Reg) -> None:
    """Check a string in a frozen map (check_reg_const_str).

    :raises Refused: EACCES, EINVAL.
    """
    map_: VMap = reg.aux
    if not (map_.flags & BPF_F_RDONLY_PROG and map_.frozen):
        env.fail(E.ACCES, f"R{regno} does not point to a readonly map'")
    if reg.mask:
        env.fail(E.ACCES, f"R{regno} is not a constant address'")
    if map_.type not in ("array", "arena"):
        env.fail(E.ACCES, "no direct value access support for this map type")
    check_map_access(env, regno, reg, reg.off, map_.value_size - reg.off, False, True)
    if b"\0" not in map_value(map_)[reg.off + reg.value :]:
        env.fail(E.INVAL, "string is not zero-terminated")


def map_value(map_: VMap) -> bytes:
    """The bytes of an array's only element."""
    value = map_.map.lookup((0).to_bytes(map_.key_size, "little"))
    return bytes(value) if value is not None else b""


def check_snprintf(env: Env) -> None:
    """Check the format of bpf_snprintf against the number of its arguments.

    :raises Refused: EINVAL (check_bpf_snprintf_call).
    """
    fmt_reg, len_reg = env.regs[3], env.regs[5]
    if len_reg.value % 8:
        env.fail(E.INVAL)
    start = fmt_reg.off + fmt_reg.value
    text = map_value(fmt_reg.aux)[start:].split(b"\0")[0]
    rules = Rules(modern=True, high=env.kernel.profile.runtime.printk_high_bytes)
    try:
        check(text, len_reg.value // 8, rules)
    except KernelError:
        env.fail(E.INVAL, "Invalid format string")
