"""VLAN tags and tunnel metadata (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

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
