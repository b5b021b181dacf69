"""Storage of sockets (net/core/bpf_sk_storage.c), held against the socket's option memory."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.net.sock import sockfd_lookup
from bpfctl.kernel.records import SimObject
from bpfctl_maps.bpf_local_storage import LocalStorage


class SkStorage(LocalStorage):
    """BPF_MAP_TYPE_SK_STORAGE."""

    name = "sk_storage"
    example = LocalStorage.example_of("socket")
    kind = "sk"

    def owner(self, fd: int, create: bool) -> SimObject | None:
        return sockfd_lookup(self.kernel, fd)

    def charge_owner(self, owner: SimObject, nbytes: int) -> None:
        limit = self.kernel.profile.net.optmem_max
        used = int(owner.priv.get("omem", 0))
        if nbytes > limit or used + nbytes >= limit:
            raise KernelError(
                E.NOMEM,
                f"sk_omem_alloc of socket {owner.id}",
                f"net.core.optmem_max is {limit} bytes: socket {owner.id} has {used}, "
                f"{nbytes} more were asked for",
            )
        owner.priv["omem"] = used + nbytes

    def uncharge_owner(self, owner: SimObject, nbytes: int) -> None:
        owner.priv["omem"] -= nbytes


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [SkStorage]
