"""Infrared decoders (drivers/media/rc/bpf-lirc.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.helpers.decl import Arg, Ret, declare

declare(77, "rc_repeat", Ret.INTEGER, (Arg.PTR_TO_CTX,), gpl_only=True)
declare(
    78, "rc_keydown", Ret.INTEGER,
    (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING, Arg.ANYTHING), gpl_only=True,
)  # fmt: skip
declare(
    92, "rc_pointer_rel", Ret.INTEGER, (Arg.PTR_TO_CTX, Arg.ANYTHING, Arg.ANYTHING),
    gpl_only=True,
)  # fmt: skip
