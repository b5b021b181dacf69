"""Storage of cgroups (kernel/bpf/bpf_cgrp_storage.c); a key is a descriptor of its directory."""

from __future__ import annotations

from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import SimObject
from bpfctl_maps.bpf_local_storage import LocalStorage


class CgrpStorage(LocalStorage):
    """BPF_MAP_TYPE_CGRP_STORAGE."""

    name = "cgrp_storage"
    example = LocalStorage.example_of("cgroup")
    kind = "cgrp"

    def owner(self, fd: int, create: bool) -> SimObject | None:
        return self.kernel.objects.of_fd(fd, "cgroup")


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [CgrpStorage]
