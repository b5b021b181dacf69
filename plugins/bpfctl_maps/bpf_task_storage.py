"""Storage of tasks (kernel/bpf/bpf_task_storage.c); a key is a pidfd."""

from __future__ import annotations

from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import SimObject
from bpfctl_maps.bpf_local_storage import LocalStorage


class TaskStorage(LocalStorage):
    """BPF_MAP_TYPE_TASK_STORAGE."""

    name = "task_storage"
    example = LocalStorage.example_of("pidfd")
    kind = "task"

    def owner(self, fd: int, create: bool) -> SimObject | None:
        return self.kernel.objects.of_fd(fd, "pidfd")


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [TaskStorage]
