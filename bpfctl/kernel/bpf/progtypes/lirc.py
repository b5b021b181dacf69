"""Infrared decoders (drivers/media/rc/bpf-lirc.c)."""

from __future__ import annotations

from bpfctl.kernel.bpf.progtypes.decl import (
    BASE_SETS,
    CAP_NET_ADMIN,
    CtxLayout,
    Field,
    ProgType,
    declare,
)

declare(
    ProgType(
        "lirc_mode2",
        20,
        CAP_NET_ADMIN,
        CtxLayout("lirc_sample", 4, (Field("sample", 0),)),
        (*BASE_SETS, "lirc"),
        built_in=False,
    )
)
