"""Packets as struct xdp_buff (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.bpf.helpers.ctx import U32, s32, xdp_of
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare

declare(44, "xdp_adjust_head", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING), changes_pkt=True)
declare(51, "redirect_map", Ret.INTEGER, (Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.ANYTHING))
declare(54, "xdp_adjust_meta", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING), changes_pkt=True)
declare(65, "xdp_adjust_tail", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING), changes_pkt=True)
declare(188, "xdp_get_buff_len", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(
    189, "xdp_load_bytes", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    190, "xdp_store_bytes", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE),
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.maps import MapHandle
    from bpfctl.kernel.bpf.vm.runtime import Runtime


XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = range(5)
ACTION_MASK = 3
BROADCAST, EXCLUDE_INGRESS = 8, 16
DEV_MAPS = ("devmap", "devmap_hash")


@body(44)
def xdp_adjust_head(rt: Runtime, ctx: int, delta: int) -> int:
    """Move the packet's start: EINVAL."""
    return xdp_of(rt).adjust_head(s32(delta))


@body(54)
def xdp_adjust_meta(rt: Runtime, ctx: int, delta: int) -> int:
    """Move the metadata's start: EINVAL, EACCES."""
    return xdp_of(rt).adjust_meta(s32(delta))


@body(65)
def xdp_adjust_tail(rt: Runtime, ctx: int, delta: int) -> int:
    """Move the packet's end: EINVAL."""
    return xdp_of(rt).adjust_tail(s32(delta))


@body(188)
def xdp_get_buff_len(rt: Runtime, ctx: int) -> int:
    """Return the length with all fragments."""
    return xdp_of(rt).len


@body(189)
def xdp_load_bytes(rt: Runtime, ctx: int, offset: int, to: int, size: int) -> int:
    """Copy out of the packet, fragments included: EINVAL, EFAULT."""
    found = xdp_of(rt).load(offset & U32, size & U32)
    if isinstance(found, int):
        return found
    rt.mem.write(to, found)
    return 0


@body(190)
def xdp_store_bytes(rt: Runtime, ctx: int, offset: int, data: int, size: int) -> int:
    """Copy into the packet, fragments included: EINVAL, EFAULT."""
    return xdp_of(rt).store(offset & U32, rt.mem.read(data, size))


@body(51)
def redirect_map(rt: Runtime, map_: MapHandle, key: int, flags: int) -> int:
    """Choose a target out of a map; low bits of ``flags`` are the answer without one."""
    known = ACTION_MASK
    if map_.map.name in DEV_MAPS and rt.kernel.profile.runtime.redirect_broadcast:
        known |= BROADCAST | EXCLUDE_INGRESS
    if flags & ~known:
        return XDP_ABORTED
    raw = (key & U32).to_bytes(4, "little")
    found = map_.map.cells.get(raw) is not None
    if not found and not flags & BROADCAST:
        return flags & ACTION_MASK
    rt.state["redirect"] = (map_.id, key & U32, flags)
    return XDP_REDIRECT
