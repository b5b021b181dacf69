"""Checksums (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

_REPLACE = (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING)

declare(10, "l3_csum_replace", Ret.INTEGER, _REPLACE, changes_pkt=True)
declare(11, "l4_csum_replace", Ret.INTEGER, _REPLACE, changes_pkt=True)
declare(
    28, "csum_diff", Ret.INTEGER,
    (
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO,
        Arg.PTR_TO_MEM_RDONLY_OR_NULL, Arg.CONST_SIZE_OR_ZERO, Arg.ANYTHING,
    ),
    pkt_access=True,
)  # fmt: skip
declare(40, "csum_update", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
declare(135, "csum_level", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING))
