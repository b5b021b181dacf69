"""Keys that are known: a lookup in an array cannot fail then (get_constant_map_key)."""

from __future__ import annotations

from bpfctl.kernel.bpf.verifier import regtype as rt
from bpfctl.kernel.bpf.verifier.env import Env
from bpfctl.kernel.bpf.verifier.precision import mark_stack_slot_precise
from bpfctl.kernel.bpf.verifier.state import SPILL, ZERO, Reg


def constant_map_key(env: Env, reg: Reg, key_size: int) -> int:
    """Return the number that a key on the stack holds, -1 if it is not known.

    The slot is marked precise: the outcome of the call depends on it.
    """
    if not env.bpf_capable or reg.type != rt.PTR_TO_STACK or reg.mask:
        return -1
    frame = env.func(reg)
    value = reg.value - (1 << 64) if reg.value >> 63 else reg.value
    slot_no = -(reg.off + value) - 1
    spi, index = slot_no // 8, slot_no % 8
    if spi >= len(frame.stack):
        return -1
    slot = frame.stack[spi]
    kinds = slot.types[max(index - key_size + 1, 0) : index + 1]
    if kinds == bytes((ZERO,)) * key_size:
        return 0
    spilled = slot.types[7] == SPILL and slot.reg.type == rt.SCALAR_VALUE
    if not spilled or index != 7 or slot.types[8 - key_size] != SPILL:
        return -1
    if key_size < 8 and slot.types[7 - key_size] == SPILL:
        return -1
    if slot.reg.mask:
        return -1
    mark_stack_slot_precise(env, frame, spi)
    return slot.reg.value
