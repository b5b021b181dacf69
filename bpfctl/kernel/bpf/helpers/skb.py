"""Packets as struct sk_buff (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

_LOAD = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE)
_TWO = (Arg.PTR_TO_CTX, Arg.ANYTHING)
_THREE = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING)

declare(
    9, "skb_store_bytes", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING),
    changes_pkt=True,
)  # fmt: skip
declare(13, "clone_redirect", Ret.INTEGER, _THREE, changes_pkt=True)
declare(23, "redirect", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING))
declare(23, "redirect", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING), variant="xdp")
declare(24, "get_route_realm", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(26, "skb_load_bytes", Ret.INTEGER, _LOAD)
for _kind in ("flow_dissector", "sk_reuseport"):
    declare(26, "skb_load_bytes", Ret.INTEGER, _LOAD, variant=_kind)
declare(31, "skb_change_proto", Ret.INTEGER, _THREE, changes_pkt=True)
declare(32, "skb_change_type", Ret.INTEGER, _TWO)
declare(34, "get_hash_recalc", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(38, "skb_change_tail", Ret.INTEGER, _THREE, changes_pkt=True)
declare(38, "skb_change_tail", Ret.INTEGER, _THREE, variant="sk_skb", changes_pkt=True)
declare(39, "skb_pull_data", Ret.INTEGER, _TWO, changes_pkt=True)
declare(39, "skb_pull_data", Ret.INTEGER, _TWO, variant="sk_skb", changes_pkt=True)
declare(41, "set_hash_invalid", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(43, "skb_change_head", Ret.INTEGER, _THREE, changes_pkt=True)
declare(43, "skb_change_head", Ret.INTEGER, _THREE, variant="sk_skb", changes_pkt=True)
declare(48, "set_hash", Ret.INTEGER, _TWO)
declare(50, "skb_adjust_room", Ret.INTEGER, (*_THREE, Arg.ANYTHING), changes_pkt=True)
declare(
    50, "skb_adjust_room", Ret.INTEGER, (*_THREE, Arg.ANYTHING), variant="sk_skb",
    changes_pkt=True,
)  # fmt: skip
declare(66, "skb_get_xfrm_state", Ret.INTEGER, (*_LOAD, Arg.ANYTHING))
declare(68, "skb_load_bytes_relative", Ret.INTEGER, (*_LOAD, Arg.ANYTHING))
declare(68, "skb_load_bytes_relative", Ret.INTEGER, (*_LOAD, Arg.ANYTHING), variant="sk_reuseport")
declare(97, "skb_ecn_set_ce", Ret.INTEGER, (Arg.PTR_TO_CTX,))
declare(
    152, "redirect_neigh", Ret.INTEGER,
    (Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING),
)  # fmt: skip
declare(155, "redirect_peer", Ret.INTEGER, (Arg.ANYTHING, Arg.ANYTHING))
declare(192, "skb_set_tstamp", Ret.INTEGER, _THREE)
