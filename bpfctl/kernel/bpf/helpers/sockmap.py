"""Redirection between sockets, and messages (net/core/sock_map.c, net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

_REDIRECT = (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.ANYTHING, Arg.ANYTHING)
_HASH = (Arg.PTR_TO_CTX, Arg.CONST_MAP_PTR, Arg.PTR_TO_MAP_KEY, Arg.ANYTHING)
_RANGE = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING)

declare(52, "sk_redirect_map", Ret.INTEGER, _REDIRECT)
declare(53, "sock_map_update", Ret.INTEGER, _HASH, pkt_access=True)
declare(60, "msg_redirect_map", Ret.INTEGER, _REDIRECT)
declare(61, "msg_apply_bytes", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(62, "msg_cork_bytes", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(63, "msg_pull_data", Ret.INTEGER, _RANGE, changes_pkt=True)
declare(70, "sock_hash_update", Ret.INTEGER, _HASH, pkt_access=True)
declare(71, "msg_redirect_hash", Ret.INTEGER, _HASH)
declare(72, "sk_redirect_hash", Ret.INTEGER, _HASH)
declare(90, "msg_push_data", Ret.INTEGER, _RANGE, changes_pkt=True)
declare(91, "msg_pop_data", Ret.INTEGER, _RANGE, changes_pkt=True)
