"""The simulated computer: memory, cgroups, tasks, open files, time and chance. It knows no BPF.

:class:`~bpfctl.kernel.kernel.Kernel` is a machine with the BPF subsystem on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from bpfctl.errors import E, KernelError
from bpfctl.kernel import profile as profiles
from bpfctl.kernel.clock import Clock
from bpfctl.kernel.config import Config
from bpfctl.kernel.context import Context
from bpfctl.kernel.fs import FileTable
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.mm.alloc import Allocators
from bpfctl.kernel.mm.memcg import MemcgTree
from bpfctl.kernel.mm.rlimit import MemlockAccount
from bpfctl.kernel.objects import SimObjects
from bpfctl.kernel.prandom import Prandom
from bpfctl.kernel.records import Counter, File, Memcg, Setting, Task, User
from bpfctl.kernel.storage import MemoryStorage, Storage
from bpfctl.kernel.task import CAP_SYS_RESOURCE, capable, rlimit_value
from bpfctl.light import altered
from bpfctl.uapi import ALL_CAPS

INIT_PID = 1
FIRST_TRANSIENT_PID = 1 << 22  # above what kernel.pid_max allows, so never kept


if TYPE_CHECKING:
    M = TypeVar("M", bound="Machine")

    class Holder(Protocol):
        """Objects of one kind as descriptors and pins hold them."""

        def inc(self, obj_id: int) -> None:
            """Take a descriptor's or pin's reference."""
            ...

        def put(self, obj_id: int) -> None:
            """Drop one; the last may free the object."""
            ...


class Machine:
    """One computer over a state; ``boot`` for a new one.

    ``ctx`` says who runs.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.config = config = Config.restore(storage.registry(Setting))
        self.profile = profiles.load(config.kernel, config.patch)
        self.counters = counters = storage.registry(Counter)
        self.clock = Clock(counters)
        self.rng = Prandom(counters, config.random_seed)
        self.ctx = Context(self.clock)
        self.tasks = storage.registry(Task)
        accounting = self.profile.accounting
        self.memcg = MemcgTree(
            storage,
            config.page_size,
            config.cgroup_memory,
            accounting.atomic_counts_max,
            accounting.nowait_counts_max,
            accounting.sock_throttled,
        )
        self.mm = Allocators(
            storage,
            self.memcg,
            config.page_size,
            config.possible_cpus,
            config.memory,
            accounting.percpu_owners,
            accounting.vmalloc_large_orders,
        )
        self.memlock = MemlockAccount(storage.registry(User), config.page_size)
        self.files = FileTable(
            storage, self.mm, self.profile.sizeof("dentry"), self.profile.sizeof("file")
        )
        self.objects = SimObjects(self)
        self._pids = Ids(storage, "pid", self.tasks)  # type: ignore[arg-type]

    def _sequences(self) -> list[Ids]:
        """Return the sequences of ids that begin when the machine boots."""
        return [self._pids]

    @classmethod
    def boot(cls: type[M], storage: Storage, config: Config) -> M:
        """Set up an empty state: init (root, all capabilities, root cgroup) and the devices."""
        config.save(storage.registry(Setting))
        machine = cls(storage)
        machine.memcg.boot()
        machine.mm.boot()
        for ids in machine._sequences():
            ids.boot()
        machine.objects.boot()
        machine.spawn("init")
        return machine

    @classmethod
    def in_memory(cls: type[M], profile: str = profiles.LONG_TERM, **settings: Any) -> M:
        """Boot a machine that goes with the process; ``settings`` are fields of Config."""
        return cls.boot(MemoryStorage(), Config(kernel=profile, **settings))

    def reconfigure(self, **settings: Any) -> None:
        """Change settings of a state. The caller says which may change while objects exist."""
        config = Config(**{**self.config.values(), **settings})
        config.save(self.storage.registry(Setting))
        if config.random_seed != self.config.random_seed:
            self.rng.seed(config.random_seed)

    def memory_stat(self, memcg: Memcg) -> dict[str, int]:
        """Return memory.stat in bytes: of the fields that BPF moves those that this kernel has."""
        known = self.profile.accounting.memory_stat
        return {name: value for name, value in self.memcg.stat(memcg).items() if name in known}

    def possible_cpus(self) -> int:
        """Number of possible CPUs."""
        return self.config.possible_cpus

    def page_size(self) -> int:
        """Bytes of a page (sysconf(_SC_PAGE_SIZE))."""
        return self.config.page_size

    # --- open files ------------------------------------------------------

    def close(self, pid: int, fd: int) -> None:
        """close(2).

        :raises KernelError: EBADF.
        """
        self._close(self.files.get(pid, fd))

    def _close(self, file: File) -> None:
        self.files.close(file)
        self.put_object(file.obj_kind, file.obj_id)

    def _holder(self, kind: str) -> Holder:
        """Return who counts the references to objects of a kind."""
        return self.objects

    def take_object(self, kind: str, obj_id: int) -> None:
        """Take a descriptor's or pin's reference."""
        self._holder(kind).inc(obj_id)

    def put_object(self, kind: str, obj_id: int) -> None:
        """Drop a descriptor's or pin's reference."""
        self._holder(kind).put(obj_id)

    # --- tasks -----------------------------------------------------------

    def task(self, pid: int) -> Task:
        """Return a live task.

        :raises KernelError: ENOENT.
        """
        task = self.tasks.get(pid)
        if task is None:
            raise KernelError(E.NOENT, f"pid {pid}")
        return task

    def default_memlock(self) -> int:
        """RLIMIT_MEMLOCK of a new task, in bytes."""
        return self.config.memlock_default or self.profile.memlock_default

    def spawn(
        self,
        comm: str = "task",
        uid: int = 0,
        caps: int = ALL_CAPS,
        cgroup: str = "/",
        memlock: int | None = -1,
        memlock_hard: int | None = -1,
        transient: bool = False,
    ) -> Task:
        """Start a task. Limits in bytes, None unlimited, -1 the default; hard follows soft."""
        soft = self.default_memlock() if memlock == -1 else rlimit_value(memlock)
        hard = soft if memlock_hard == -1 else rlimit_value(memlock_hard)
        memcg = self.memcg.lookup(cgroup)
        pid = self._transient_pid() if transient else self._pids.take()
        task = Task(pid, comm, uid, caps, memcg.id, soft, hard)
        task.transient = int(transient)
        self.tasks.add(task)
        return task

    def _transient_pid(self) -> int:
        pid = FIRST_TRANSIENT_PID
        while self.tasks.get(pid) is not None:
            pid += 1
        return pid

    def start_command(
        self,
        like: int | None = None,
        uid: int | None = None,
        caps: int | None = None,
        cgroup: str | None = None,
        memlock: int | None = -1,
        comm: str = "bpfctl",
    ) -> int:
        """Start the short-lived task of a command, a child of ``like`` (default: init).

        What is None (``memlock``: -1) is inherited; a child that gives up uid 0 loses its
        capabilities unless ``caps`` says otherwise.
        """
        parent = self.task(like if like is not None else INIT_PID)
        if uid is not None and caps is None and uid != parent.uid:
            caps = ALL_CAPS if uid == 0 else 0
        child = self.spawn(
            comm,
            parent.uid if uid is None else uid,
            parent.caps if caps is None else caps,
            self.memcg.get(parent.cgroup).path if cgroup is None else cgroup,
            parent.memlock_soft if memlock == -1 else memlock,
            parent.memlock_hard if memlock == -1 else memlock,
            transient=True,
        )
        return child.pid

    def fork(self, pid: int) -> int:
        """Start a child of task ``pid`` and return its pid: same credentials, limits and cgroup.

        The child has the parent's descriptors. An open file is shared, so it costs nothing more;
        the charge stays with the parent's descriptor.
        """
        parent = self.task(pid)
        child = self._transient_pid() if parent.transient else self._pids.take()
        self.tasks.add(altered(parent, pid=child))
        for file in self.files.of_task(pid):
            self.take_object(file.obj_kind, file.obj_id)
            self.files.share(file, child)
        return child

    def exit_task(self, pid: int) -> None:
        """End a task: its descriptors close."""
        for file in self.files.of_task(pid):
            self._close(file)
        task = self.tasks.get(pid)
        if task is not None:
            self.memlock.unpin(task)
        self.tasks.remove(pid)
        if task is not None and (not task.transient or self.objects.owns_storage(pid)):
            self.objects.task_exited(pid)

    def setrlimit_memlock(self, pid: int, soft: int | None, hard: int | None) -> None:
        """setrlimit(RLIMIT_MEMLOCK), in bytes, None for RLIM_INFINITY.

        :raises KernelError: EINVAL (soft above hard); EPERM (raising the hard limit without
            CAP_SYS_RESOURCE).
        """
        task = self.task(pid)
        soft, hard = rlimit_value(soft), rlimit_value(hard)
        if hard is not None and (soft is None or soft > hard):
            raise KernelError(E.INVAL, "rlim_cur > rlim_max")
        raises = task.memlock_hard is not None and (hard is None or hard > task.memlock_hard)
        if raises and not capable(task, CAP_SYS_RESOURCE):
            raise KernelError(E.PERM, "RLIMIT_MEMLOCK", hint="it takes CAP_SYS_RESOURCE")
        task.memlock_soft, task.memlock_hard = soft, hard

    # --- cgroups ---------------------------------------------------------

    def current_objcg(self) -> int:
        """Return the objcg id of the task in the system call, 0 for nobody."""
        task = self.ctx.task
        return self.memcg.objcg_of(task) if task is not None else 0

    def set_memory_knob(self, path: str, knob: str, nbytes: int | None) -> list[int]:
        """Write a memory.* limit of a cgroup and return the pids that were killed for it."""
        memcg = self.memcg.lookup(path)
        killed = []
        for task in self.memcg.set_knob(memcg, knob, nbytes):
            if memcg.max_pages is None or memcg.usage_pages <= memcg.max_pages:
                break
            self._oom_kill(memcg, task)
            killed.append(task.pid)
        return killed

    def _oom_kill(self, memcg: Memcg, victim: Task) -> None:
        charger = self.memcg.charger
        charger.event(memcg, "oom")
        charger.event(self.memcg.get(victim.cgroup), "oom_kill")
        self.exit_task(victim.pid)
        charger.drain(memcg.id)
        self.notify("oom", memcg=memcg.path, victim=victim.pid)

    # --- observers -------------------------------------------------------

    def notify(self, event: str, **arguments: Any) -> None:
        """Tell whoever watches of an event; nobody does by default."""


__all__ = ["FIRST_TRANSIENT_PID", "INIT_PID", "Holder", "Machine"]
