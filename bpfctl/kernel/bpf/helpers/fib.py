"""Routes: lookup and path MTU (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, declare, fixed

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
