"""The attach subsystem of a kernel: its points, and what other parts of the kernel ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.kernel.attach.link import Links
from bpfctl.kernel.attach.points import AttachPoints
from bpfctl.kernel.records import Memcg, ProgRecord, Task

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

INIT_NETNS = "init"
FIRST_NETNS_INO = 0xF0000000
NEXT_INO = 0xF0000100


class AttachState:
    """Made when something is attached, detached or fired for the first time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.points = AttachPoints(kernel.storage)

    def cgroup_removed(self, cgroup_id: int) -> None:
        """Detach everything from a cgroup that goes (cgroup_bpf_release)."""
        from bpfctl.kernel.attach.types import cgroup_hooks

        for row in self.points.forget(cgroup_id, cgroup_hooks()):
            if row.link_id:
                self._kernel.part(Links).get(row.link_id).attached = 0
            else:
                self._kernel.progs.put(row.prog_id)

    def alloc_storages(self, prog: ProgRecord, cgroup: Memcg, attach_type: int) -> None:
        """Make the cgroup storages of the maps that a program uses (bpf_cgroup_storages_alloc).

        :raises KernelError: ENOMEM; EPERM past RLIMIT_MEMLOCK.
        """
        from bpfctl.kernel.bpf.prog import map_ids

        for map_id in map_ids(prog):
            self._kernel.maps.get(map_id).attached(cgroup.path, attach_type)

    def netns_of(self, task: Task) -> int:
        """Return the network namespace of a task, the id of its object: all are in the first."""
        return self._kernel.objects.find_or_create("netns", INIT_NETNS).id

    def netns_ino(self, netns: int) -> int:
        """Return the inode number of a network namespace."""
        first = self._kernel.objects.find("netns", INIT_NETNS)
        return FIRST_NETNS_INO if first is not None and first.id == netns else NEXT_INO + netns
