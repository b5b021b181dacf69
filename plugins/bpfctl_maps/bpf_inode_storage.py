"""Storage of inodes (kernel/bpf/bpf_inode_storage.c); any descriptor has an inode."""

from __future__ import annotations

from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import SimObject
from bpfctl_maps.bpf_local_storage import LocalStorage


class InodeStorage(LocalStorage):
    """BPF_MAP_TYPE_INODE_STORAGE."""

    name = "inode_storage"
    example = LocalStorage.example_of("inode")
    kind = "inode"

    def owner(self, fd: int, create: bool) -> SimObject | None:
        return self.kernel.objects.inode_of_fd(fd, create)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [InodeStorage]
