"""VLAN tags and tunnel metadata (net/core/filter.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E
from bpfctl.kernel.bpf.helpers.ctx import U32, skb_of
from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, body, declare
from bpfctl.kernel.net import eth, tunnel

declare(
    18, "skb_vlan_push", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING),
    changes_pkt=True,
)  # fmt: skip
declare(19, "skb_vlan_pop", Ret.INTEGER, (Arg.PTR_TO_CTX,), changes_pkt=True)
declare(
    20, "skb_get_tunnel_key", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE, Arg.ANYTHING),
)  # fmt: skip
declare(
    21, "skb_set_tunnel_key", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING),
)  # fmt: skip
declare(
    29, "skb_get_tunnel_opt", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE),
)  # fmt: skip
declare(
    30, "skb_set_tunnel_opt", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE),
)  # fmt: skip


if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.runtime import Runtime



@body(18)
def skb_vlan_push(rt: Runtime, ctx: int, protocol: int, tci: int) -> int:
    """Put a tag on; other protocols than 802.1q and 802.1ad become 802.1q."""
    kind = protocol & 0xFFFF
    if kind not in eth.VLAN_PROTOCOLS:
        kind = eth.P_8021Q
    result = skb_of(rt).vlan_push(kind, tci & 0xFFFF)
    skb_of(rt).sync()
    return result


@body(19)
def skb_vlan_pop(rt: Runtime, ctx: int) -> int:
    """Take the outer tag off."""
    result = skb_of(rt).vlan_pop()
    skb_of(rt).sync()
    return result


@body(20)
def skb_get_tunnel_key(rt: Runtime, ctx: int, key: int, size: int, flags: int) -> int:
    """Copy tunnel metadata out: EINVAL, EPROTO, with zeros."""
    known = tunnel.TUNINFO_IPV6
    if rt.kernel.profile.runtime.tunnel_flags & tunnel.NO_TUNNEL_KEY:
        known |= tunnel.TUNINFO_FLAGS
    found = tunnel.get_key(skb_of(rt).tunnel, size & U32, flags, known)
    if isinstance(found, int):
        rt.mem.write(key, bytes(size))
        return found
    rt.mem.write(key, found)
    return 0


@body(21)
def skb_set_tunnel_key(rt: Runtime, ctx: int, key: int, size: int, flags: int) -> int:
    """Give the packet tunnel metadata: EINVAL."""
    known = rt.kernel.profile.runtime.tunnel_flags
    made = tunnel.set_key(rt.mem.read(key, size), flags, known)
    if isinstance(made, int):
        return made
    skb_of(rt).tunnel = made
    return 0


@body(29)
def skb_get_tunnel_opt(rt: Runtime, ctx: int, to: int, size: int) -> int:
    """Copy tunnel options out and return their size: ENOENT, ENOMEM, with zeros."""
    info = skb_of(rt).tunnel
    if info is None or not info["options"]:
        rt.mem.write(to, bytes(size))
        return -E.NOENT
    if size < len(info["options"]):
        rt.mem.write(to, bytes(size))
        return -E.NOMEM
    rt.mem.write(to, info["options"].ljust(size, b"\0"))
    return len(info["options"])


@body(30)
def skb_set_tunnel_opt(rt: Runtime, ctx: int, data: int, size: int) -> int:
    """Set the options of metadata that a program has set: EINVAL, ENOMEM."""
    info = skb_of(rt).tunnel
    if info is None or size & 3:
        return -E.INVAL
    if size > tunnel.OPTIONS_MAX:
        return -E.NOMEM
    info["options"] = rt.mem.read(data, size)
    return 0
