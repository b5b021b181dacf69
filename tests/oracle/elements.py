"""Keys and values for the updates of a case, and the objects that these stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bpfctl import uapi
from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from oracle.compare import PAGE
from oracle.lab import Lab, Prep
from oracle.making import (
    DEFAULT_QUEUE_SIZE,
    LOOPBACK_IFINDEX,
    POPPED,
    counter_key,
    fd_key,
    fd_value,
    plain_value,
    straight,
)

Step = Callable[[], None]

# Map type -> what a value, or (storages) a key is a descriptor of.
VALUE_OBJECTS = {
    "perf_event_array": "perf_event",
    "cgroup_array": "cgroup",
    "xskmap": "xsk_socket",
    "sockmap": "tcp_socket",
    "sockhash": "tcp_socket",
    "reuseport_sockarray": "reuseport_socket",
}
KEY_OBJECTS = {
    "sk_storage": "tcp_socket",
    "inode_storage": "inode",
    "task_storage": "task",
    "cgrp_storage": "cgroup",
}
EACH_ITS_OWN = ("reuseport_sockarray",)
# The recorder put nothing in these, and noted EOPNOTSUPP itself.
NOTHING_PUT = ("ringbuf", "user_ringbuf")
DEVICES = ("devmap", "devmap_hash")


class Elements:
    """The elements that a case puts into its map, and takes out."""

    def __init__(
        self, lab: Lab, bpf: Bpf, spec: dict[str, Any], prep: Prep, count: int
    ) -> None:
        self.lab = lab
        self.bpf = bpf
        self.spec = spec
        self.kind = spec["type"]
        self.opened: list[int] = []
        self.fds: list[int] = []
        self.mapping: int | None = None
        if self.kind in KEY_OBJECTS:
            self.fds = [self._object(KEY_OBJECTS[self.kind]) for _ in range(count)]
        self.values = self._values(prep, count)

    def _object(self, kind: str) -> int:
        if kind == "tcp_socket" and self.spec.get("udp"):
            kind = "udp_socket"
        if kind == "xsk_socket" and self.spec.get("umem"):
            kind = "xsk_umem_socket"
        fd = self.lab.open_object(self.bpf, kind)
        self.opened.append(fd)
        return fd

    def key(self, number: int) -> bytes | None:
        """Return key ``number``."""
        return fd_key(self.fds[number]) if self.fds else counter_key(self.spec, number)

    def _values(self, prep: Prep, count: int) -> list[bytes]:
        spec, kind = self.spec, self.kind
        if kind in EACH_ITS_OWN:
            return [fd_value(spec, self._object(VALUE_OBJECTS[kind])) for _ in range(count)]
        if kind in VALUE_OBJECTS:
            value = fd_value(spec, self._object(VALUE_OBJECTS[kind]))
        elif kind in ("array_of_maps", "hash_of_maps"):
            value = fd_value(spec, prep.inner_fd)
        elif kind == "prog_array":
            value = fd_value(spec, self._program())
        elif kind in DEVICES:
            value = fd_value(spec, LOOPBACK_IFINDEX)
        elif kind == "cpumap":
            value = fd_value(spec, spec.get("qsize", DEFAULT_QUEUE_SIZE))
        else:
            value = plain_value(spec, self.lab.cpus)
        return [value] * count

    def _program(self) -> int:
        attr = uapi.ProgLoadAttr(
            prog_type=uapi.PROG_TYPE_NUMBER["socket_filter"], insns=straight(2)
        )
        fd = self.bpf.prog_load(attr)
        self.opened.append(fd)
        return fd

    def update(self, fd: int, number: int) -> None:
        """Do update ``number``."""
        if self.kind in NOTHING_PUT:
            raise KernelError(E.OPNOTSUPP, self.kind)
        if self.kind == "arena":
            self._touch(fd, number)
            return
        flags = self.spec.get("uflags", 0)
        self.bpf.map_update_elem(fd, self.key(number), self.values[number], flags)

    def _touch(self, fd: int, number: int) -> None:
        kernel, pid = self.lab.kernel, self.bpf.pid
        if self.mapping is None:
            self.mapping = kernel.mmap(pid, fd, 0, self.spec["max"] * PAGE, True)
        kernel.mem_write(pid, self.mapping, number * PAGE, b"\1")

    def updates(self, fd: int, first: int, count: int) -> Iterator[Step]:
        """Yield the updates ``first`` to ``first + count - 1``."""
        for number in range(first, first + count):
            yield partial(self.update, fd, number)

    def deletes(self, fd: int, count: int) -> Iterator[Step]:
        """Yield the deletes of the first ``count`` elements (queue, stack: pops)."""
        for index in range(count):
            if self.kind in POPPED:
                yield partial(self._pop, fd)
            else:
                yield partial(self.bpf.map_delete_elem, fd, self.key(index))

    def _pop(self, fd: int) -> None:
        self.bpf.map_lookup_and_delete_elem(fd, None)

    def close(self) -> None:
        """Close the objects of keys and values."""
        for fd in self.opened:
            self.bpf.close(fd)
        self.opened.clear()
        if self.mapping is not None:
            self.lab.kernel.munmap(self.bpf.pid, self.mapping)
            self.mapping = None
        self.lab.forget_objects()
