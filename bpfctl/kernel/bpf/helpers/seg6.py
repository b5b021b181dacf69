"""Light-weight tunnels and segment routing (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

_BYTES = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE)

declare(73, "lwt_push_encap", Ret.INTEGER, _BYTES, changes_pkt=True)
declare(73, "lwt_push_encap", Ret.INTEGER, _BYTES, variant="xmit", changes_pkt=True)
declare(74, "lwt_seg6_store_bytes", Ret.INTEGER, _BYTES, changes_pkt=True)
declare(
    75, "lwt_seg6_adjust_srh", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING),
    changes_pkt=True,
)  # fmt: skip
declare(76, "lwt_seg6_action", Ret.INTEGER, _BYTES, changes_pkt=True)
