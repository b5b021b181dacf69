"""GFP flags: what an allocation may do to get memory, and whether a memcg pays for it."""

from __future__ import annotations

from enum import Enum

GFP_HIGH = 0x20
GFP_IO = 0x40
GFP_FS = 0x80
GFP_DIRECT_RECLAIM = 0x400
GFP_KSWAPD_RECLAIM = 0x800
GFP_RETRY_MAYFAIL = 0x4000
GFP_NORETRY = 0x10000
GFP_HARDWALL = 0x100000
GFP_ACCOUNT = 0x400000

GFP_RECLAIM = GFP_DIRECT_RECLAIM | GFP_KSWAPD_RECLAIM
GFP_KERNEL = GFP_RECLAIM | GFP_IO | GFP_FS
GFP_USER = GFP_KERNEL | GFP_HARDWALL
GFP_NOWAIT = GFP_KSWAPD_RECLAIM
GFP_ATOMIC = GFP_HIGH | GFP_KSWAPD_RECLAIM
GFP_KERNEL_ACCOUNT = GFP_KERNEL | GFP_ACCOUNT


class Reclaim(Enum):
    """How an accounted allocation behaves at memory.max (mm/memcontrol.c, try_charge_memcg)."""

    OOM = "oom"  # plain blocking: the OOM killer acts
    MAYFAIL = "mayfail"  # retries, then fails
    NORETRY = "noretry"  # one reclaim, then fails
    NOWAIT = "nowait"  # fails silently
    ATOMIC = "atomic"  # forced through


def reclaim(gfp: int) -> Reclaim:
    """Return what ``gfp`` means at the limit."""
    if not gfp & GFP_DIRECT_RECLAIM:
        return Reclaim.ATOMIC if gfp & GFP_HIGH else Reclaim.NOWAIT
    if gfp & GFP_NORETRY:
        return Reclaim.NORETRY
    if gfp & GFP_RETRY_MAYFAIL:
        return Reclaim.MAYFAIL
    return Reclaim.OOM


# Names as used in profiles.
GFP_BY_NAME = {
    "GFP_KERNEL": GFP_KERNEL,
    "GFP_USER": GFP_USER,
    "GFP_NOWAIT": GFP_NOWAIT,
    "GFP_ATOMIC": GFP_ATOMIC,
}
