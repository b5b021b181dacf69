"""Arrays of reuseport sockets (kernel/bpf/reuseport_array.c)."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.map import BPF_F_ACCESS_MASK, MapType
from bpfctl.kernel.net.sock import check_reuseport, socket_fd, sockfd_lookup
from bpfctl.kernel.records import SimObject, Task
from bpfctl.uapi import BPF_EXIST, BPF_F_NUMA_NODE, BPF_NOEXIST, MapCreateAttr
from bpfctl_maps import examples
from bpfctl_maps.arraymap import index_of
from bpfctl_maps.sockets import SocketMap

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_ACCESS_MASK
POINTER = 8
USER = "reuseport"


class ReuseportArray(SocketMap):
    """BPF_MAP_TYPE_REUSEPORT_SOCKARRAY: descriptors in, cookies out; a socket in one slot only."""

    name = "reuseport_sockarray"
    family = "reuseport_array"
    example = Example(
        elements=examples.opened("socket", 8, proto="udp", reuseport=True)
    )
    capability = "bpf"
    btf_allowed = True

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_access_flags(attr.map_flags, CREATE_FLAGS)
        if not attr.max_entries or attr.key_size != 4 or attr.value_size not in (4, 8):
            raise KernelError(E.INVAL, "sizes")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("reuseport_array") + self.rec.max_entries * POINTER

    def alloc(self) -> None:
        self.area_alloc("array", self.sizeof("reuseport_array") + self.rec.max_entries * POINTER)

    def mem_usage(self) -> int:
        return self.sizeof("reuseport_array") + self.rec.max_entries * POINTER

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        if self.rec.value_size != 8:
            raise KernelError(E.NOSPC, "a cookie takes 8 bytes")
        return self.row(key)[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        # Only the wide value is checked for its range; the narrow one is an int as it stands.
        fd = socket_fd(value) if len(value) == 8 else int.from_bytes(value, "little", signed=True)
        sock = sockfd_lookup(self.kernel, fd)
        present = self.cells.get(key) is not None
        if present and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if not present and flags == BPF_EXIST:
            raise KernelError(E.NOENT)
        check_reuseport(sock)
        sock.priv["user_data"] = USER
        self._link(key, sock, index)

    def _left(self, sock: SimObject, payer: int) -> None:
        del sock.priv["user_data"]

    def delete(self, key: bytes) -> None:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.BIG)
        self._remove(key)


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [ReuseportArray]
