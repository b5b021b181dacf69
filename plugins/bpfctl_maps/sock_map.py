"""Socket maps (net/core/sock_map.c): sockets to redirect messages and packets to."""

from __future__ import annotations

from abc import abstractmethod

from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.map import MapType, round_up, roundup_pow_of_two
from bpfctl.kernel.jhash import jhash
from bpfctl.kernel.net.sock import check_psock, check_user_data, socket_fd, sockfd_lookup
from bpfctl.kernel.records import SimObject, Task
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_WRONLY,
    BPF_NOEXIST,
    INT_MAX,
    U32_MAX,
    MapCreateAttr,
)
from bpfctl_maps import examples
from bpfctl_maps.arraymap import index_of
from bpfctl_maps.buckets import Buckets
from bpfctl_maps.sockets import SocketMap

CREATE_FLAGS = BPF_F_NUMA_NODE | BPF_F_RDONLY | BPF_F_WRONLY
MAX_BPF_STACK = 512
POINTER = 8
PSOCK = "sockmap"
ELEM = "elem"


class SockBase(SocketMap):
    """Acceptance of sockets, and values: descriptors in, cookies out."""

    family = "sock_map"
    capability = "net_admin"

    @staticmethod
    def check_value_and_flags(attr: MapCreateAttr) -> None:
        """Refuse sizes and flags that neither type has.

        :raises KernelError: EINVAL.
        """
        sizes = attr.max_entries and attr.value_size in (4, 8)
        if not sizes or attr.map_flags & ~CREATE_FLAGS:
            raise KernelError(E.INVAL, "sizes or map_flags")

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        if self.rec.value_size != 8:
            raise KernelError(E.NOSPC, "a cookie takes 8 bytes")
        return self.row(key)[0]

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        sock = sockfd_lookup(self.kernel, socket_fd(value))
        check_psock(self.kernel, sock)
        if flags > BPF_EXIST:
            raise KernelError(E.INVAL)
        self._insert(key, sock, flags)

    @abstractmethod
    def _insert(self, key: bytes, sock: SimObject, flags: int) -> None:
        """Store an acceptable socket."""

    def _check_link(self, key: bytes, sock: SimObject, flags: int) -> None:
        """Give the socket its psock (sock_map_link), then apply the flags.

        :raises KernelError: EBUSY; EEXIST; ENOENT.
        """
        if sock.priv.get("user_data") != PSOCK:
            check_user_data(sock)
        present = self.cells.get(key) is not None
        if present and flags == BPF_NOEXIST:
            raise KernelError(E.EXIST)
        if not present and flags == BPF_EXIST:
            raise KernelError(E.NOENT)

    def _psock_get(self, sock: SimObject) -> None:
        sock.priv["user_data"] = PSOCK
        sock.priv["psock"] = sock.priv.get("psock", 0) + 1

    def _left(self, sock: SimObject, payer: int) -> None:
        sock.priv["psock"] -= 1
        if not sock.priv["psock"]:
            del sock.priv["psock"], sock.priv["user_data"]


class SockMap(SockBase):
    """BPF_MAP_TYPE_SOCKMAP."""

    name = "sockmap"
    example = Example(elements=examples.opened("socket", 8))

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_value_and_flags(attr)
        too_many = self.kernel.profile.limits.sockmap_int_max and attr.max_entries > INT_MAX
        if attr.key_size != 4 or too_many:
            raise KernelError(E.INVAL, "key_size or max_entries")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        return self.rec.max_entries * POINTER

    def alloc(self) -> None:
        self.struct_alloc("stab", self.sizeof("bpf_stab"))
        self.area_alloc("slots", self.rec.max_entries * POINTER)

    def mem_usage(self) -> int:
        return self.sizeof("bpf_stab") + self.rec.max_entries * POINTER

    def _insert(self, key: bytes, sock: SimObject, flags: int) -> None:
        index = index_of(key)
        if index >= self.rec.max_entries:
            raise KernelError(E.BIG)
        self._check_link(key, sock, flags)
        self._psock_get(sock)
        self._link(key, sock, index)

    def delete(self, key: bytes) -> None:
        if self.cells.get(key) is None:
            raise KernelError(E.INVAL)
        self._remove(key)


class SockHash(SockBase):
    """BPF_MAP_TYPE_SOCKHASH."""

    name = "sockhash"
    example = Example(elements=examples.opened("socket", 8))

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        self.check_value_and_flags(attr)
        if not attr.key_size:
            raise KernelError(E.INVAL, "key_size")
        if attr.key_size > MAX_BPF_STACK:
            raise KernelError(E.BIG, "key_size")
        if self.nr_buckets > U32_MAX // self.sizeof("bpf_shtab_bucket"):
            raise KernelError(E.INVAL, "max_entries")

    @property
    def nr_buckets(self) -> int:
        """Hash buckets: max_entries rounded up to a power of two."""
        return roundup_pow_of_two(self.rec.max_entries)

    @property
    def elem_size(self) -> int:
        """Bytes of an element: struct and key."""
        return self.sizeof("bpf_shtab_elem") + round_up(self.rec.key_size, 8)

    @property
    def _buckets_size(self) -> int:
        return self.nr_buckets * self.sizeof("bpf_shtab_bucket")

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        cost = self._buckets_size + self.rec.max_entries * self.elem_size
        if cost >= U32_MAX - self.kernel.config.page_size:
            raise KernelError(E.INVAL, f"cost of {cost} bytes")
        return cost

    def alloc(self) -> None:
        self.struct_alloc("shtab", self.sizeof("bpf_shtab"))
        self.area_alloc("buckets", self._buckets_size)

    def mem_usage(self) -> int:
        elems = self.rec.nr_elems * self.elem_size
        return self.sizeof("bpf_shtab") + self._buckets_size + elems

    @property
    def buckets(self) -> Buckets:
        """The order of rows."""
        return Buckets(self.cells, self.rec)

    def _insert(self, key: bytes, sock: SimObject, flags: int) -> None:
        self._check_link(key, sock, flags)
        if self.cells.get(key) is None and self.rec.nr_elems >= self.rec.max_entries:
            raise KernelError(E.BIG)
        payer = self.map_mem().kmalloc(ELEM, self.elem_size, self.update_gfp())
        self._psock_get(sock)
        self._link(key, sock, self.buckets.head(jhash(key, 0) & self.nr_buckets - 1), payer)

    def _left(self, sock: SimObject, payer: int) -> None:
        super()._left(sock, payer)
        self.mem.free(ELEM, 1, payer)

    def delete(self, key: bytes) -> None:
        self._remove(key)

    def next_key(self, key: bytes | None) -> bytes:
        return self.buckets.next_key(key)

    def fill(self, entries: int) -> None:
        entries = min(entries, self.rec.max_entries - self.rec.nr_elems)
        self.map_mem().kmalloc(ELEM, self.elem_size, self.update_gfp(), entries)
        self.rec.nr_elems += entries


@hookimpl
def map_types() -> list[type[MapType]]:
    """Offer the types of this file."""
    return [SockMap, SockHash]
