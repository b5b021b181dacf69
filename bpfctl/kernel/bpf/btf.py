"""BTF objects, and the checks of a map's key and value types (map_check_btf)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import BtfRecord, Task
from bpfctl.uapi import BtfLoadAttr, MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


def btf_load(kernel: Kernel, task: Task, attr: BtfLoadAttr) -> int:
    """BPF_BTF_LOAD: keep a blob and return its descriptor."""
    rec = BtfRecord(kernel.btfs.ids.take(), attr.btf, 1)
    kernel.btfs.records.add(rec)
    try:
        return kernel.files.open(task, "btf", rec.id, 3)
    except BaseException:
        kernel.btfs.put(rec.id)
        raise


def attach_to_map(kernel: Kernel, task: Task, new: MapType, attr: MapCreateAttr) -> None:
    """Check and remember the BTF types of a new map (map_create's btf part)."""
    if not (attr.btf_key_type_id or attr.btf_value_type_id):
        return
    raise KernelError(E.INVAL, "not here yet")
