"""Strings and numbers (kernel/bpf/helpers.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Flag, Ret, args, declare, fixed

_NUMBER = (
    Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING,
    fixed(8, Flag.UNINIT | Flag.WRITE | Flag.ALIGNED),
)  # fmt: skip
_LONG = {
    "int_pointers": {
        "args": args(Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.ANYTHING, Arg.PTR_TO_LONG)
    }
}

declare(105, "strtol", Ret.INTEGER, _NUMBER, changes=_LONG)
declare(106, "strtoul", Ret.INTEGER, _NUMBER, changes=_LONG)
declare(182, "strncmp", Ret.INTEGER, (Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE, Arg.PTR_TO_CONST_STR))
