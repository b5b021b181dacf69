"""Clocks (kernel/bpf/helpers.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.helpers.decl import body, declare

declare(5, "ktime_get_ns")
declare(118, "jiffies64")
declare(125, "ktime_get_boot_ns")
declare(160, "ktime_get_coarse_ns")
declare(208, "ktime_get_tai_ns")


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime


HZ = 250
JIFFY_NS = 1_000_000_000 // HZ
INITIAL_JIFFIES = (1 << 32) - 300 * HZ
"""jiffies begin five minutes before they wrap in 32 bits."""
TAI_OFFSET_NS = 37 * 1_000_000_000


@body(5)
def ktime_get_ns(rt: Runtime) -> int:
    """CLOCK_MONOTONIC in ns."""
    return rt.kernel.clock.now()


@body(118)
def jiffies64(rt: Runtime) -> int:
    """Ticks since five minutes before the boot."""
    return INITIAL_JIFFIES + rt.kernel.clock.ns // JIFFY_NS


@body(125)
def ktime_get_boot_ns(rt: Runtime) -> int:
    """CLOCK_BOOTTIME in ns: the machine is never suspended."""
    return rt.kernel.clock.now()


@body(160)
def ktime_get_coarse_ns(rt: Runtime) -> int:
    """CLOCK_MONOTONIC_COARSE in ns: the time of the last tick."""
    return rt.kernel.clock.ns // JIFFY_NS * JIFFY_NS


@body(208)
def ktime_get_tai_ns(rt: Runtime) -> int:
    """CLOCK_TAI in ns."""
    rt.kernel.clock.now()
    return rt.kernel.clock.wall() + TAI_OFFSET_NS
