"""Names of programs: the kernel keeps 15 bytes, their BTF has the rest."""

from __future__ import annotations

import os
import struct

from bpfctl.cli.app.session import App
from bpfctl.cli.btf.source import kernel_btf
from bpfctl.errors import Failure, KernelError
from bpfctl.uapi import BPF_OBJ_NAME_LEN, PROG_TYPES, ProgInfo

FULL_NAME_MAX = 127


def full_name(app: App, info: ProgInfo) -> str:
    """Return a program's name; one that the kernel has cut is completed from BTF."""
    name = os.fsdecode(info.name)
    if len(info.name) < BPF_OBJ_NAME_LEN - 1 or not (info.btf_id and info.func_info):
        return name
    _, type_id = struct.unpack_from("<2I", info.func_info)
    try:
        found = kernel_btf(app, info.btf_id).type(type_id)
    except (KernelError, Failure):
        return name
    if found.kind.name == "FUNC" and len(found.name) > len(name):
        return found.name[:FULL_NAME_MAX]
    return name


def type_name(info: ProgInfo) -> str | None:
    """Return the type as bpftool spells it, None if it has no word for it."""
    return PROG_TYPES[info.type] if info.type < len(PROG_TYPES) else None
