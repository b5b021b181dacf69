"""Routes: lookup and path MTU (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, body, declare, fixed
from bpfctl.kernel.net.device import net_device
from bpfctl.kernel.net.xdp import XdpBuff

_FIB = (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_WRITE, Arg.CONST_SIZE, Arg.ANYTHING)
_MTU = (
    Arg.PTR_TO_CTX, Arg.ANYTHING, fixed(4, Flag.WRITE | Flag.ALIGNED), Arg.ANYTHING,
    Arg.ANYTHING,
)  # fmt: skip
_INT = {
    "int_pointers": {
        "args": args(Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_INT, Arg.ANYTHING, Arg.ANYTHING)
    }
}

for _kind in ("", "xdp"):
    declare(69, "fib_lookup", Ret.INTEGER, _FIB, variant=_kind, gpl_only=True, pkt_access=True)
    declare(163, "check_mtu", Ret.INTEGER, _MTU, variant=_kind, gpl_only=True, changes=_INT)


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime
    from bpfctl.kernel.net.skb import Skb

U32 = 0xFFFFFFFF
MTU_CHK_SEGS = 1
MTU_SUCCESS, MTU_FRAG_NEEDED, MTU_SEGS_TOOBIG = range(3)
HARD_HEADER = 14


@body(163)
def check_mtu(rt: Runtime, ctx: int, ifindex: int, mtu_len: int, diff: int, flags: int) -> int:
    """Tell whether the packet, ``diff`` bytes longer, fits a device's MTU."""
    packet = rt.ctx
    is_xdp = isinstance(packet, XdpBuff)
    diff = (diff & U32 ^ 0x80000000) - 0x80000000
    given = rt.mem.load(mtu_len, 4)
    if flags & ~(0 if is_xdp else MTU_CHK_SEGS):
        return -E.INVAL
    if flags and (diff or given):
        return -E.INVAL
    device = net_device(rt.kernel, ifindex & U32 or packet.ifindex)
    if device is None:
        return -E.NODEV
    length = given + HARD_HEADER if given else packet.linear_len if is_xdp else packet.len
    result = MTU_SUCCESS
    if length + diff > device.mtu + HARD_HEADER:
        result = MTU_FRAG_NEEDED
        if not is_xdp and packet.gso_size:
            result = _segments(packet, device.mtu, flags)
    rt.mem.store(mtu_len, 4, device.mtu)
    return result


def _segments(skb: Skb, mtu: int, flags: int) -> int:
    """A packet that is cut later may be longer than the MTU, its segments may not."""
    if flags & MTU_CHK_SEGS and skb.gso_size > mtu:
        return MTU_SEGS_TOOBIG
    return MTU_SUCCESS
