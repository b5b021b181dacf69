"""Pointers that may be NULL, and what a check makes of them (mark_ptr_or_null_regs)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import Env, VMap
from bpfctl.kernel.bpf.verifier.packet import each_reg
from bpfctl.kernel.bpf.verifier.state import Reg, State


def not_null(reg: Reg) -> Reg:
    """The pointer after it was found not to be NULL (mark_ptr_not_null_reg)."""
    new = reg.copy()
    if reg.type & rt.BASE == rt.PTR_TO_MAP_VALUE and isinstance(reg.aux, VMap):
        map_ = reg.aux
        if map_.inner is not None:
            new.type = rt.CONST_PTR_TO_MAP
            new.aux = map_.inner
            if "timer" in map_.inner.fields or "wq" in map_.inner.fields:
                new.map_uid = reg.id
            return new
        if map_.type == "xskmap":
            new.type = rt.PTR_TO_XDP_SOCK
            return new
        if map_.type in ("sockmap", "sockhash"):
            new.type = rt.PTR_TO_SOCKET
            return new
    new.type &= ~rt.PTR_MAYBE_NULL
    return new


def _keeps_id(reg: Reg) -> bool:
    """Whether the id still says something: a value with a lock (reg_may_point_to_spin_lock)."""
    base = reg.type & rt.BASE
    if base == rt.PTR_TO_MAP_VALUE:
        fields = getattr(reg.aux, "fields", {})
        return "spin_lock" in fields or "res_spin_lock" in fields
    return bool(reg.type & rt.MEM_ALLOC and base == rt.PTR_TO_BTF_ID)


def mark_ptr_or_null(env: Env, state: State, regno: int, is_null: bool) -> None:
    """Resolve all copies of a pointer that was compared with NULL in one outcome."""
    reg = state.frames[-1].regs[regno]
    ident = reg.id
    if is_null and reg.ref_obj_id and reg.ref_obj_id == ident:
        state.refs = tuple(ref for ref in state.refs if ref.id != ident)

    def resolve(reg: Reg) -> Reg | None:
        if not reg.type & rt.PTR_MAYBE_NULL or reg.id != ident:
            return None
        if reg.value or reg.mask or reg.smin or reg.smax:
            return None
        if is_null:
            new = reg.copy()
            new.type = rt.SCALAR_VALUE
            new.id = new.ref_obj_id = 0
            return new
        new = not_null(reg)
        if not _keeps_id(new):
            new.id = 0
        return new

    each_reg(state, resolve)
