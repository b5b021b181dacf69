"""A simulated machine as the measurements were made: a booted kernel, groups, a worker process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bpfctl import uapi
from bpfctl.errors import KernelError, errno_name
from bpfctl.kernel import task as caps
from bpfctl.kernel.config import Config
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_ACCOUNT, GFP_KERNEL
from bpfctl.kernel.records import File, Memcg, Objcg, Task
from bpfctl.kernel.storage import MemoryStorage
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import ALL_CAPS
from oracle.cases import boots
from oracle.compare import PAGE
from oracle.making import blob_of, map_attr, straight

MEMORY = 6 << 30
INFINITY = (1 << 64) - 1
ACCOUNTED = GFP_KERNEL | GFP_ACCOUNT
FIRST_UID = 1000

# Who does it: (an ordinary uid?, capabilities); see "mode" in the data's README.
MODES: dict[int, tuple[bool, int]] = {
    0: (False, ALL_CAPS),
    1: (True, ALL_CAPS),
    2: (True, caps.CAP_BPF | caps.CAP_PERFMON | caps.CAP_NET_ADMIN),
    3: (True, 0),
    4: (False, caps.CAP_BPF),
    5: (True, ALL_CAPS & ~(caps.CAP_SYS_RESOURCE | caps.CAP_IPC_LOCK)),
}

# Structures of a new group that its parent pays for, in bytes: slab objects, and per-CPU memory on
# each CPU (measured: `parent_before` of the `who` cases).
GROUP_STRUCTS: dict[str, tuple[tuple[int, ...], int]] = {
    "6.1": ((), 1752),
    "6.12": ((2048, 1024), 1520),
    "7.3": ((2048, 2048), 2080),
}

# What keys and values stand for -> kind and facts of a simulated object.
OBJECTS: dict[str, tuple[str, dict[str, Any]]] = {
    "perf_event": ("perf_event", {}),
    "cgroup": ("cgroup", {}),
    "inode": ("inode", {}),
    "task": ("pidfd", {}),
    "tcp_socket": ("socket", {"proto": "tcp"}),
    "udp_socket": ("socket", {"proto": "udp"}),
    "reuseport_socket": ("socket", {"proto": "udp", "reuseport": True}),
    "xsk_socket": ("socket", {"proto": "xdp", "umem": False}),
    "xsk_umem_socket": ("socket", {"proto": "xdp"}),
}


class PrepError(Exception):
    """A prerequisite failed; the case itself was not tried."""

    def __init__(self, errno: str) -> None:
        super().__init__(errno)
        self.errno = errno


def name_of(error: KernelError) -> str:
    """Symbol of the errno, as the data spells it."""
    return errno_name(error.code)


@dataclass(slots=True)
class Prep:
    """What a map needs before it can be made."""

    inner_fd: int = 0
    btf_fd: int = 0
    fds: list[int] = field(default_factory=list)


class Lab:
    """A kernel of one release and CPU count. Cases share it: each has its own group and worker."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.release = kernel.config.kernel
        self.cpus = kernel.config.possible_cpus
        self._next_uid = FIRST_UID
        self._groups: list[str] = []
        self._next_group = 0
        self._without_jit: Lab | None = None

    @classmethod
    def boot(cls, config: Config) -> Lab:
        """Boot a machine whose state goes with the process.

        The measured ones had loaded a program: then the kernel's own BTF has been read.
        """
        lab = cls(Kernel.boot(MemoryStorage(), config))
        with lab.worker() as bpf:
            bpf.prog_load(uapi.ProgLoadAttr(uapi.PROG_TYPE_NUMBER["socket_filter"], straight(2)))
        return lab

    def with_jit(self, enable: int) -> Lab:
        """Return this machine, or one like it, with the sysctl bpf_jit_enable set."""
        if enable == self.kernel.config.jit_enable:
            return self
        if self._without_jit is None:
            self._without_jit = Lab.boot(replace(self.kernel.config, jit_enable=enable))
        return self._without_jit

    # --- groups ----------------------------------------------------------

    def new_group(self, parent: str = "") -> str:
        """Make a group and return its path. Its parent, if not the root, pays for it.

        The group's own charges then take the place of the parent's object stock.
        """
        self._next_group += 1
        path = f"{parent}/g{self._next_group}"
        made = self.kernel.memcg.create(path)
        self._groups.append(path)
        slab, percpu = GROUP_STRUCTS.get(self.release, ((), 0))
        if parent and percpu:
            mem = self._struct_mem(made)
            for size in slab:
                mem.kmalloc(f"slab{size}", size, ACCOUNTED)
            mem.alloc_percpu("percpu", percpu, ACCOUNTED)
            self.kernel.memcg.charger.drain(made.parent)
        return path

    def _struct_mem(self, group: Memcg) -> Mem:
        """Return the allocators of a group's structures, paid for by its parent."""
        parent = self.kernel.memcg.get(group.parent)
        return Mem(self.kernel.mm, "memcg", group.id, parent.objcg)

    def tidy(self) -> None:
        """Remove the groups of a case that has ended."""
        while self._groups:
            self.remove(self._groups[-1])
        if self._without_jit is not None:
            self._without_jit.tidy()

    def remove(self, path: str) -> None:
        """Remove a group (rmdir)."""
        mem = self._struct_mem(self.group(path))
        self.kernel.memcg.remove(path)
        mem.free_all()
        self._groups.remove(path)

    def group(self, path: str) -> Memcg:
        return self.kernel.memcg.lookup(path)

    def counters(self, path: str) -> dict[str, int]:
        """Read memory.stat and memory.current of a group.

        The measuring reader first made an allocation of its own on every CPU, which takes the
        place of the group's object stock there.
        """
        memcg = self.group(path)
        self.kernel.memcg.charger.drain(memcg.id)
        found = dict(self.kernel.memcg.stat(memcg))
        found["current"] = self.kernel.memcg.current(memcg)
        return found

    def charged_bytes(self, path: str) -> int:
        """Return the exact bytes that a group pays for, page charges included."""
        objcgs = self.kernel.storage.registry(Objcg).find(memcg=self.group(path).id)
        return sum(objcg.nbytes + objcg.pages * PAGE for objcg in objcgs)

    def events(self, path: str, local: bool = False) -> dict[str, int]:
        """Read memory.events or memory.events.local."""
        found = dict(self.kernel.memcg.events(self.group(path), local))
        found.setdefault("oom_group_kill", 0)
        return found

    def limit(self, path: str, nbytes: int) -> None:
        """Write memory.max."""
        self.kernel.set_memory_knob(path, "max", nbytes)

    # --- tasks -----------------------------------------------------------

    def spawn(self, mode: int = 0, memlock: int | None = None, group: str = "/") -> Bpf:
        """Start a process; ordinary uids have nothing charged yet."""
        bpf = Bpf(self.kernel, self.kernel.spawn("worker").pid)
        # Like every process it has a standard input; an attribute left out names that: fd 0.
        self.kernel.files.files.add(File(bpf.pid, 0, "stdin"))
        self.become(bpf, mode, memlock)
        self.move(bpf, group)
        return bpf

    def task(self, bpf: Bpf) -> Task:
        return self.kernel.task(bpf.pid)

    def become(self, bpf: Bpf, mode: int, memlock: int | None, uid: int | None = None) -> None:
        """Change credentials and RLIMIT_MEMLOCK (bytes; None is unlimited) of a process."""
        ordinary, capabilities = MODES[mode]
        if uid is None:
            self._next_uid += ordinary
            uid = self._next_uid if ordinary else 0
        task = self.task(bpf)
        task.uid, task.caps = uid, capabilities
        task.memlock_soft = task.memlock_hard = None if memlock == INFINITY else memlock

    def move(self, bpf: Bpf, group: str) -> None:
        self.kernel.memcg.move(self.task(bpf), group)

    def open_fds(self, bpf: Bpf) -> list[int]:
        """Return the open descriptors of a process."""
        return [file.fd for file in self.kernel.files.of_task(bpf.pid)]

    def exit(self, bpf: Bpf) -> None:
        """End a process, if it still lives."""
        if self.kernel.tasks.get(bpf.pid) is not None:
            self.kernel.exit_task(bpf.pid)

    @contextmanager
    def worker(self, group: str = "/") -> Iterator[Bpf]:
        """Run a root process without limits for the time of a case."""
        bpf = self.spawn(group=group)
        try:
            yield bpf
        finally:
            self.exit(bpf)

    # --- other objects ---------------------------------------------------

    def open_object(self, bpf: Bpf, kind: str) -> int:
        """Make an object of the rest of the kernel; return a descriptor of it."""
        name, facts = OBJECTS[kind]
        made = self.kernel.objects.create(name, **facts)
        return self.kernel.objects.open(bpf.pid, made.id)

    def forget_objects(self) -> None:
        """Remove the objects that no descriptor holds."""
        objects = self.kernel.objects
        for made in list(objects.records.find()):
            if made.kind != "netdev" and not made.refcnt:
                objects.remove(made.id)

    # --- maps ------------------------------------------------------------

    def prepare(self, bpf: Bpf, spec: dict[str, Any]) -> Prep:
        """Make the inner map and the BTF object that ``spec`` wants.

        :raises PrepError: that failed.
        """
        prep = Prep()
        try:
            if "inner" in spec:
                inner = self.prepare(bpf, spec["inner"])
                prep.inner_fd = self.create(bpf, spec["inner"], inner)
                prep.fds += [*inner.fds, prep.inner_fd]
            blob = blob_of(spec)
            if blob is not None:
                prep.btf_fd = bpf.btf_load(blob[0])
                prep.fds.append(prep.btf_fd)
        except KernelError as exc:
            raise PrepError(name_of(exc)) from exc
        return prep

    def create(self, bpf: Bpf, spec: dict[str, Any], prep: Prep) -> int:
        """Make the map that ``spec`` describes."""
        return bpf.map_create(map_attr(spec, prep.inner_fd, prep.btf_fd))


def changed(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return the change of every counter."""
    return {name: after[name] - before[name] for name in after}


def measured_config(directory: Path, kernel: str, cpus: int) -> Config:
    """Return the settings of the measured machine of a release with ``cpus`` possible CPUs."""
    boot = boots(directory).get(kernel, {}).get("boots", {}).get(str(cpus), {})
    return Config(
        kernel=kernel,
        possible_cpus=cpus,
        memory=MEMORY,
        unprivileged_bpf_disabled=boot.get("unprivileged_bpf_disabled", 2),
        jit_enable=boot.get("bpf_jit_enable", 1),
    )
