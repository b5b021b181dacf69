"""Maps offloaded to a net device (kernel/bpf/offload.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import Task
from bpfctl.kernel.task import CAP_SYS_ADMIN, capable
from bpfctl.uapi import MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel


def device_map(kernel: Kernel, cls: type[MapType]) -> type[MapType]:
    """Return ``cls`` with the checks of bpf_map_offload_map_alloc() added.

    No device of the simulated machine can take a map, so creation always fails.
    """

    class OffloadedMap(cls):  # type: ignore[misc, valid-type]
        capability = ""
        capability_in_alloc_check = False

        def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
            if not capable(task, CAP_SYS_ADMIN):
                raise KernelError(E.PERM, "CAP_SYS_ADMIN")
            if self.name not in ("array", "hash"):
                raise KernelError(E.INVAL, f"{self.name} cannot be offloaded")
            if kernel.objects.netdev(attr.map_ifindex) is None:
                raise KernelError(E.INVAL, f"ifindex {attr.map_ifindex}")
            raise KernelError(E.OPNOTSUPP, "the device cannot run programs")

    return OffloadedMap
