"""The door: all that user space can do with a machine, as one protocol.

The command line, the samples and libbpf reach what they work on through :class:`System` and the
modules beside this one, and through nothing else. The simulated kernel is one such system, in
memory or in a state file; another may stand here one day. What has no system call or file in Linux
(other tasks' limits, the settings of the machine) is what a person at the machine's console does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bpfctl.uapi import Cmd, ProgRunAttr, ProgRunResult

if TYPE_CHECKING:
    from bpfctl.kernel.config import Config
    from bpfctl.kernel.context import Context
    from bpfctl.kernel.profile import Profile
    from bpfctl.kernel.records import File, Mapping, Memcg, Pin, SimObject, Task
    from bpfctl.kernel.storage import Registry, Storage


class Cgroups(Protocol):
    """The memory controller's cgroups (cgroupfs)."""

    mode: str
    page_size: int

    @property
    def tasks(self) -> Registry[Task]: ...

    def get(self, memcg_id: int) -> Memcg: ...

    def lookup(self, path: str) -> Memcg: ...

    def children(self, memcg_id: int) -> Iterator[Memcg]: ...

    def walk(self, memcg_id: int = 1, depth: int = 0) -> Iterator[tuple[int, Memcg]]: ...

    def create(self, path: str) -> Memcg: ...

    def remove(self, path: str) -> None: ...

    def move(self, task: Task, path: str) -> None: ...

    def current(self, memcg: Memcg) -> int: ...

    def stat(self, memcg: Memcg) -> dict[str, int]: ...

    def events(self, memcg: Memcg, local: bool = False) -> dict[str, int]: ...


class BpfFiles(Protocol):
    """Directories and pins (bpffs)."""

    def mount(self, path: str) -> None: ...

    def get(self, path: str) -> Pin | None: ...

    def is_bpffs(self, path: str) -> bool: ...

    def exists(self, path: str) -> bool: ...

    def is_dir(self, path: str) -> bool: ...

    def mkdir(self, path: str) -> None: ...

    def list(self, path: str) -> list[Pin]: ...

    def pins(self) -> Iterator[tuple[str, str, int]]: ...


class Objects(Protocol):
    """Sockets, inodes, devices and the like, made by a person."""

    @property
    def records(self) -> Registry[SimObject]: ...

    def create(self, kind: str, name: str = "", **attributes: Any) -> SimObject: ...

    def find_or_create(self, kind: str, name: str) -> SimObject: ...

    def netdev(self, ifindex: int) -> SimObject | None: ...

    def open(self, pid: int, obj_id: int) -> int: ...

    def remove(self, obj_id: int) -> None: ...


class OpenFiles(Protocol):
    """What tasks have open (/proc/PID/fd)."""

    @property
    def files(self) -> Registry[File]: ...

    def of_task(self, pid: int) -> list[File]: ...


class LockedMemory(Protocol):
    """Memory locked on the account of users (mlock, RLIMIT_MEMLOCK)."""

    def locked_pages(self, uid: int) -> int: ...

    def mlock(self, task: Task, nbytes: int) -> None: ...

    def pin(self, task: Task, nbytes: int) -> None: ...

    def unpin(self, task: Task) -> None: ...


class Memory(Protocol):
    """The machine's memory."""

    def in_use(self) -> int: ...


class Mappings(Protocol):
    """Memory that tasks have mapped (/proc/PID/maps)."""

    @property
    def records(self) -> Registry[Mapping]: ...


class Clock(Protocol):
    """The machine's clock."""

    def set_wall(self, nanoseconds: int) -> None: ...


class System(Protocol):
    """A machine with BPF. Calls raise :class:`~bpfctl.errors.KernelError` with the errno."""

    # --- system calls of task ``pid`` ------------------------------------------

    def bpf(self, pid: int, cmd: Cmd, attr: Any) -> Any: ...

    def map_lookup_each(
        self, pid: int, fd: int, keys: Sequence[bytes], from_prog: bool = False
    ) -> list[bytes | None]: ...

    def close(self, pid: int, fd: int) -> None: ...

    def mmap(
        self,
        pid: int,
        fd: int,
        offset: int,
        length: int,
        writable: bool,
        shared: bool = True,
        addr: int = 0,
    ) -> int: ...

    def munmap(self, pid: int, mapping: int) -> None: ...

    def mem_read(self, pid: int, mapping: int, at: int, size: int) -> bytes: ...

    def mem_write(self, pid: int, mapping: int, at: int, content: bytes) -> None: ...

    def setrlimit_memlock(self, pid: int, soft: int | None, hard: int | None) -> None: ...

    def sleep(self, pid: int, nsec: int) -> None: ...

    def perf_event_open(self, pid: int, cpu: int, pages: int) -> int: ...

    def perf_read(self, pid: int, fd: int) -> tuple[list[bytes], int]: ...

    # --- files ------------------------------------------------------------------

    @property
    def memcg(self) -> Cgroups: ...

    @property
    def bpffs(self) -> BpfFiles: ...

    @property
    def files(self) -> OpenFiles: ...

    @property
    def mappings(self) -> Mappings: ...

    @property
    def netlink(self) -> Any: ...

    @property
    def net(self) -> Any:
        """The wires: packets sent and received (``system.net``)."""

    @property
    def vm(self) -> Any:
        """What runs programs."""

    @property
    def ctx(self) -> Context: ...

    def unlink(self, path: str) -> None: ...

    def fdinfo(self, pid: int, fd: int) -> dict[str, str]: ...

    def trace_pipe_read(self, pid: int) -> list[bytes]: ...

    def memory_stat(self, memcg: Memcg) -> dict[str, int]: ...

    def set_memory_knob(self, path: str, knob: str, nbytes: int | None) -> list[int]: ...

    def possible_cpus(self) -> int: ...

    def page_size(self) -> int: ...

    def vmlinux_btf(self) -> bytes: ...

    def kconfig(self) -> dict[str, str]: ...

    def helper_known(self, number: int) -> bool: ...

    # --- tasks ------------------------------------------------------------------

    @property
    def tasks(self) -> Registry[Task]: ...

    @property
    def memlock(self) -> LockedMemory: ...

    def task(self, pid: int) -> Task: ...

    def spawn(
        self,
        comm: str = "task",
        uid: int = 0,
        caps: int = ...,
        cgroup: str = "/",
        memlock: int | None = -1,
        memlock_hard: int | None = -1,
        transient: bool = False,
    ) -> Task: ...

    def start_command(
        self,
        like: int | None = None,
        uid: int | None = None,
        caps: int | None = None,
        cgroup: str | None = None,
        memlock: int | None = -1,
        comm: str = "bpfctl",
    ) -> int: ...

    def fork(self, pid: int) -> int: ...

    def exit_task(self, pid: int) -> None: ...

    def default_memlock(self) -> int: ...

    # --- the machine --------------------------------------------------------------

    @property
    def config(self) -> Config: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def objects(self) -> Objects: ...

    @property
    def mm(self) -> Memory: ...

    @property
    def clock(self) -> Clock: ...

    engine: str
    """Which engine runs programs, "" for the setting's."""

    def execute(self, insns: bytes, memory: bytes) -> tuple[int, bytes]: ...

    def prog_trace(
        self, pid: int, attr: ProgRunAttr, tell: Callable[[Any], None]
    ) -> ProgRunResult: ...

    def reconfigure(self, **settings: Any) -> None: ...

    def watch(self, observers: list[str]) -> None: ...


__all__ = ["BpfFiles", "Cgroups", "Objects", "System"]
