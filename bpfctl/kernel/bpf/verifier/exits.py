"""What a program, or a callback, may return (check_return_code)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.progtypes.btf import LSM_CGROUP, LSM_MAC, MODIFY_RETURN, TRACE_RAW_TP
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier import tnum
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.precision import mark_chain_precision
from bpfctl.kernel.bpf.verifier.regs import read_reg, words
from bpfctl.kernel.bpf.verifier.state import S64_MAX, S64_MIN, Reg


def check_return_code(env: Env, regno: int = 0, reg_name: str = "R0") -> None:
    """Check the register that a program returns, at the exit of its outermost frame.

    :raises Refused: EACCES (leaks), EINVAL (range).
    """
    traits = prog_rules(env.kernel.profile.name).traits
    if env.type.name in ("struct_ops", "lsm") and env.extra.get("returns_void"):
        return
    reg = read_reg(env, regno)
    if env.is_pointer_value(regno):
        env.fail(E.ACCES, f"R{regno} leaks addr as return value")
    frame = env.frame
    if frame.in_async_callback_fn:
        _check_async(env, regno, reg, reg_name)
        return
    if _global_function(env, reg, regno):
        return
    allowed = _range(env, traits)
    if allowed is None:
        return
    if reg.type != rt.SCALAR_VALUE:
        kind = words(env, reg)
        env.fail(E.INVAL, f"At program exit the register {reg_name} is not a known value ({kind})")
    _check_range(env, regno, reg, reg_name, allowed, "program exit")


def _check_async(env: Env, regno: int, reg: Reg, reg_name: str) -> None:
    if reg.type != rt.SCALAR_VALUE:
        kind = words(env, reg)
        env.fail(
            E.INVAL, f"In async callback the register {reg_name} is not a known value ({kind})"
        )
    where = "async callback return"
    if "return_words_tnum" in prog_rules(env.kernel.profile.name).traits:
        where = "async callback"
    _check_range(env, regno, reg, reg_name, (0, 0), where)


def _global_function(env: Env, reg: Reg, regno: int) -> bool:
    """A global function that is verified on its own returns any number."""
    if env.frame.subprogno == 0:
        return False
    if reg.type != rt.SCALAR_VALUE:
        kind = words(env, reg)
        env.fail(
            E.INVAL,
            f"At subprogram exit the register R{regno} is not a scalar value ({kind})",
        )
    return True


def _range(env: Env, traits: frozenset[str]) -> tuple[int, int] | None:
    kind = env.type
    if kind.name == "lsm":
        return _lsm_range(env, traits)
    if kind.name == "tracing" and env.attach_type in (TRACE_RAW_TP, MODIFY_RETURN):
        return None
    rule = kind.return_range(env.attach_type, traits)
    return None if rule is None else (rule.low, rule.high)


BOOL_HOOKS = frozenset(
    ("bpf_lsm_audit_rule_known", "bpf_lsm_inode_xattr_skipcap", "bpf_lsm_inode_getattr_skipcap")
)
"""LSM hooks that answer yes or no (bool_lsm_hooks)."""


def _lsm_range(env: Env, traits: frozenset[str]) -> tuple[int, int] | None:
    if env.attach_type == LSM_CGROUP:
        return (0, 1) if not env.extra.get("void_hook") else (1, 1)
    if env.attach_type != LSM_MAC or "lsm_returns" not in traits:
        return None
    if env.extra.get("attach_name", "") in BOOL_HOOKS:
        return 0, 1
    return -4095, 0


def _check_range(
    env: Env, regno: int, reg: Reg, reg_name: str, allowed: tuple[int, int], where: str
) -> None:
    low, high = allowed
    traits = prog_rules(env.kernel.profile.name).traits
    if "return_words_tnum" in traits:
        # The range is a tnum: what the value may be must lie within it.
        wanted = tnum.range_(low, high)
        if tnum.in_(wanted, reg.var_off):
            return
        found = (
            f"has value {tnum.text(reg.var_off)}"
            if not (reg.value == 0 and reg.mask == (1 << 64) - 1)
            else "has unknown scalar value"
        )
        env.fail(
            E.INVAL,
            f"At {where} the register {reg_name} {found} should have been in {tnum.text(wanted)}",
        )
    mark_chain_precision(env, regno)
    if low <= reg.smin and reg.smax <= high:
        return
    known = []
    if reg.smin > S64_MIN:
        known.append(f" smin={reg.smin}")
    if reg.smax < S64_MAX:
        known.append(f" smax={reg.smax}")
    found = "".join(known) if known else " unknown scalar value"
    env.fail(
        E.INVAL,
        f"At {where} the register {reg_name} has{found} should have been in [{low}, {high}]",
    )
