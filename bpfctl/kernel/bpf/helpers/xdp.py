"""Packets as struct xdp_buff (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

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
