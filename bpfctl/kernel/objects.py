"""Small models of the rest of the kernel: what maps have as keys and values.

Sockets, inodes, net devices and the like are :class:`~bpfctl.kernel.records.SimObject` records.
A task opens one to have a descriptor of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.idr import Ids
from bpfctl.kernel.records import SimObject

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

KINDS = ("netdev", "socket", "inode", "pidfd", "cgroup", "perf_event")
LOOPBACK_IFINDEX = 1


class SimObjects:
    """Objects by id. A net device's ``priv["ifindex"]`` is its interface index."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(SimObject)
        self.ids = Ids(kernel.storage, "object_id", self.records)  # type: ignore[arg-type]

    def boot(self) -> None:
        """Start with the loopback device."""
        self.ids.boot()
        self.create("netdev", "lo")

    def create(self, kind: str, name: str = "", **facts: Any) -> SimObject:
        """Make an object.

        :raises KernelError: EINVAL for an unknown kind; EEXIST for a second device of a name.
        """
        if kind not in KINDS:
            raise KernelError(E.INVAL, kind)
        if kind == "netdev":
            if any(True for _ in self.records.find(kind=kind, name=name)):
                raise KernelError(E.EXIST, name)
            facts.setdefault("ifindex", self._next_ifindex())
        made = SimObject(self.ids.take(), kind, name, 0, facts)
        self.records.add(made)
        return made

    def _next_ifindex(self) -> int:
        taken = [dev.priv["ifindex"] for dev in self.records.find(kind="netdev")]
        return max(taken, default=0) + 1

    def get(self, obj_id: int) -> SimObject:
        """Return an object.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(obj_id)
        if found is None:
            raise KernelError(E.NOENT, f"object {obj_id}")
        return found

    def netdev(self, ifindex: int) -> SimObject | None:
        """Return the net device with that index."""
        devices = self.records.find(kind="netdev")
        return next((dev for dev in devices if dev.priv["ifindex"] == ifindex), None)

    def open(self, pid: int, obj_id: int) -> int:
        """Return a new descriptor of task ``pid`` for an object."""
        made = self.get(obj_id)
        fd = self._kernel.files.open(self._kernel.task(pid), made.kind, obj_id, 3)
        made.refcnt += 1
        return fd

    def put(self, obj_id: int) -> None:
        """Drop a descriptor's reference; objects stay until they are removed."""
        found = self.records.get(obj_id)
        if found is not None:
            found.refcnt -= 1
