"""Timers in map values (kernel/bpf/helpers.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.bpf.timers import Timers, place
from bpfctl.kernel.bpf.vm.program import CODE_BASE

declare(
    169, "timer_init", Ret.INTEGER, (Arg.PTR_TO_TIMER, Arg.CONST_MAP_PTR, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(170, "timer_set_callback", Ret.INTEGER, (Arg.PTR_TO_TIMER, Arg.PTR_TO_FUNC), gpl_only=True)
declare(
    171, "timer_start", Ret.INTEGER, (Arg.PTR_TO_TIMER, Arg.ANYTHING, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
declare(172, "timer_cancel", Ret.INTEGER, (Arg.PTR_TO_TIMER,), gpl_only=True)


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime



def _find(rt: Runtime, timer: int) -> tuple[int, bytes, int]:
    """Return map, key and place of a timer."""
    region = rt.mem.find(timer)
    if region is None or not region.owner:
        raise KernelError(E.INVAL, "not in a map")
    return region.owner, *place(rt.map(region.owner), timer)


@body(169)
def timer_init(rt: Runtime, timer: int, map_: MapHandle, flags: int) -> int:
    """Make a timer: EBUSY, EINVAL (clock), EPERM."""
    Timers(rt.kernel).init(map_.id, *place(map_, timer), flags)
    return 0


@body(170)
def timer_set_callback(rt: Runtime, timer: int, func: int) -> int:
    """Set what a timer calls: EINVAL, EPERM."""
    Timers(rt.kernel).set_callback(*_find(rt, timer), rt.prog, func - CODE_BASE)
    return 0


@body(171)
def timer_start(rt: Runtime, timer: int, nsec: int, flags: int) -> int:
    """Let a timer fire: EINVAL."""
    known = rt.kernel.profile.runtime.timer_flags
    Timers(rt.kernel).start(*_find(rt, timer), nsec, flags, known)
    return 0


@body(172)
def timer_cancel(rt: Runtime, timer: int) -> int:
    """Stop a timer: 1 if it was to fire, EINVAL."""
    return Timers(rt.kernel).cancel(*_find(rt, timer))
