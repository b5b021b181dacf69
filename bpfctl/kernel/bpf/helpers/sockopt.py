"""Socket options (net/core/filter.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

_SET = (Arg.ANYTHING, Arg.ANYTHING, Arg.PTR_TO_MEM_RDONLY, Arg.CONST_SIZE)
_GET = (Arg.ANYTHING, Arg.ANYTHING, Arg.PTR_TO_UNINIT_MEM, Arg.CONST_SIZE)

declare(49, "setsockopt", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SET))
declare(57, "getsockopt", Ret.INTEGER, (Arg.PTR_TO_CTX, *_GET))
for _kind in ("sock_addr", "sock_ops"):
    declare(49, "setsockopt", Ret.INTEGER, (Arg.PTR_TO_CTX, *_SET), variant=_kind)
    declare(57, "getsockopt", Ret.INTEGER, (Arg.PTR_TO_CTX, *_GET), variant=_kind)
for _kind in ("sk", "unlocked"):
    declare(49, "setsockopt", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON, *_SET), variant=_kind)
    declare(57, "getsockopt", Ret.INTEGER, (Arg.PTR_TO_BTF_ID_SOCK_COMMON, *_GET), variant=_kind)
