"""BTF objects of the kernel, read once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from bpfctl.cli.app.session import App
from bpfctl.errors import E, KernelError
from bpfctl.uapi import BtfInfo

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf


@lru_cache(maxsize=8)
def _parsed(blob: bytes) -> Btf:
    # Few commands need types, and the parser takes its time to import.
    from bpfctl.btf.parse import parse_btf

    return parse_btf(blob)


def btf_info(app: App, btf_id: int) -> BtfInfo:
    """Return a BTF object by id.

    :raises KernelError: ENOENT; EPERM without CAP_SYS_ADMIN.
    """
    fd = app.bpf.btf_get_fd_by_id(btf_id)
    app.opened(fd)
    info = app.bpf.obj_info(fd)
    if not isinstance(info, BtfInfo):
        raise KernelError(E.INVAL, "not BTF")
    return info


def kernel_btf(app: App, btf_id: int) -> Btf:
    """Return the types of a BTF object.

    :raises KernelError: as :func:`btf_info`.
    :raises BtfError: the kernel holds a blob that is none.
    """
    return _parsed(btf_info(app, btf_id).btf)
