"""A task on a fresh simulated kernel, for tests of map types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfctl import uapi
from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf

GROUP = "/g"
KERNELS = ("5.10", "5.11", "5.15", "6.1", "6.6", "6.12", "6.18", "7.3")


class Machine(Bpf):
    """System calls of a root task in cgroup ``/g``."""

    kernel: Kernel

    def __init__(self, profile: str = "6.18", **settings: Any) -> None:
        settings.setdefault("possible_cpus", 2)
        kernel = Kernel.in_memory(profile, **settings)
        kernel.memcg.create(GROUP)
        super().__init__(kernel, kernel.spawn("test", cgroup=GROUP, memlock=None).pid)

    def create(
        self, kind: str, key: int, value: int, entries: int, flags: int = 0, **more: Any
    ) -> int:
        """Return the descriptor of a new map."""
        number = uapi.MAP_TYPE_NUMBER[kind]
        return self.map_create(
            uapi.MapCreateAttr(
                map_type=number, key_size=key, value_size=value, max_entries=entries,
                map_flags=flags, **more,
            )
        )

    def type_of(self, fd: int) -> Any:
        """Return the map behind ``fd``, as helpers of programs see it."""
        return self.kernel.maps.get(self.map_info(fd).id)

    def other_task(self, caps: int = 0, uid: int = 1000, cgroup: str = GROUP) -> Bpf:
        """Return the system calls of another task."""
        task = self.kernel.spawn("other", uid=uid, caps=caps, cgroup=cgroup, memlock=None)
        return Bpf(self.kernel, task.pid)

    def memlock(self, fd: int) -> int:
        return int(self.fdinfo(fd)["memlock"])

    def stat(self) -> dict[str, int]:
        """Return memory.stat of the task's cgroup."""
        return self.kernel.memcg.stat(self.kernel.memcg.lookup(GROUP))


def outcome(call: Callable[[], Any]) -> str:
    """Return "ok", or the symbol of the errno."""
    try:
        call()
    except KernelError as exc:
        return errno_name(exc.code)
    return "ok"


def cells(text: str) -> list[tuple[str, ...]]:
    """Return the rows of a table whose cells are separated by ``|``."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return [tuple(cell.strip() for cell in line.split("|")) for line in lines if line]
