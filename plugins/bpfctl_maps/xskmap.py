"""AF_XDP socket maps (net/xdp/xskmap.c): sockets that take packets from a driver's queues."""

from __future__ import annotations

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.net.sock import sockfd_lookup
from bpfctl.kernel.records import SimObject, Task
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_WRONLY,
    BPF_NOEXIST,
    MapCreateAttr,
)
from bpfctl_maps import examples
from bpfctl_maps.arraymap import index_of
from bpfctl_maps.sockets import SocketMap

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
POINTER = 8
NODE = "node"


class XskMap(SocketMap):
    """BPF_MAP_TYPE_XSKMAP: each entry is a list node of its socket."""

    name = "xskmap"
    family = "xskmap"
    example = Example(value_size=4, elements=examples.opened("socket", proto="xdp"))
    capability = "net_admin"

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        sizes = attr.max_entries and attr.key_size == 4 and attr.value_size == 4
        if not sizes or attr.map_flags & ~CREATE_FLAGS:
            raise KernelError(E.INVAL, "sizes or map_flags")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.sizeof("xsk_map") + self.rec.max_entries * POINTER

    def alloc(self) -> None:
        self.area_alloc("xsk_map", self.sizeof("xsk_map") + self.rec.max_entries * POINTER)

    def mem_usage(self) -> int:
        slots = self.rec.max_entries * POINTER
        return self.sizeof("xsk_map") + slots + self.rec.nr_elems * self.sizeof("xsk_map_node")

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        raise KernelError(E.OPNOTSUPP)

    def prog_lookup(self, key: bytes) -> bytes | None:
        cell = self.cells.get(key)
        return None if cell is None else cell[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        sock = sockfd_lookup(self.kernel, int.from_bytes(value, "little"))
        if sock.priv["proto"] != "xdp":
            raise KernelError(E.OPNOTSUPP, sock.priv["proto"])
        if self.kernel.profile.net.xsk_needs_umem and not sock.priv.get("umem", True):
            raise KernelError(E.NOBUFS, "a socket without umem")
        mem = self.map_mem()
        payer = mem.kmalloc(NODE, self.sizeof("xsk_map_node"), self.update_gfp())
        try:
            stored = self._check_presence(key, sock, flags)
        except BaseException:
            mem.free(NODE, 1, payer)
            raise
        if stored:
            mem.free(NODE, 1, payer)
        else:
            self._link(key, sock, index, payer)

    def _check_presence(self, key: bytes, sock: SimObject, flags: int) -> bool:
        """Tell whether the slot has the socket already, which is fine whatever the flags.

        :raises KernelError: EEXIST; ENOENT.
        """
        old = self.cells.get(key)
        if old is not None and int.from_bytes(old[0], "little") == sock.id:
            return True
        if old is not None and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if old is None and flags == BPF_EXIST:
            raise KernelError(E.NOENT)
        return False

    def _left(self, sock: SimObject, payer: int) -> None:
        self.mem.free(NODE, 1, payer)

    def delete(self, key: bytes) -> None:
        if index_of(key) >= self.rec.max_entries:
            raise KernelError(E.INVAL)
        if self.cells.get(key) is not None:
            self._remove(key)

    def fill(self, entries: int) -> None:
        entries = min(entries, self.rec.max_entries - self.rec.nr_elems)
        self.map_mem().kmalloc(NODE, self.sizeof("xsk_map_node"), self.update_gfp(), entries)
        self.rec.nr_elems += entries


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the type of this file."""
    return [XskMap]
