"""What bodies of helpers share: the context by its kind, and how registers are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime
    from bpfctl.kernel.net.skb import Skb
    from bpfctl.kernel.net.xdp import XdpBuff

U32 = 0xFFFFFFFF
U64 = (1 << 64) - 1


def s32(value: int) -> int:
    """Read a register as an int."""
    return (value & U32 ^ 0x80000000) - 0x80000000


def s64(value: int) -> int:
    """Read a register as a long."""
    return (value & U64 ^ 1 << 63) - (1 << 63)


def skb_of(rt: Runtime) -> Skb:
    """Return the packet that a program of an skb type runs on."""
    return cast("Skb", rt.ctx)


def xdp_of(rt: Runtime) -> XdpBuff:
    """Return the frame that an XDP program runs on."""
    return cast("XdpBuff", rt.ctx)
