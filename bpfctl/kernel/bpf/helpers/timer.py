"""Timers in map values (kernel/bpf/helpers.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

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
