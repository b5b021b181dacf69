"""The simulated kernel: one state, one profile, and the doors to them.

Programs reach it through :meth:`Kernel.bpf` (bpf(2)), :attr:`Kernel.memcg` (cgroupfs),
:attr:`Kernel.bpffs` and the task calls; nothing here prints or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bpfctl import plugins
from bpfctl.errors import E, KernelError, TaskKilled
from bpfctl.kernel import profile as profiles
from bpfctl.kernel.bpf.elem import map_lookup_each
from bpfctl.kernel.bpf.idr import Btfs, Ids, Maps
from bpfctl.kernel.bpf.inode import BpfFs
from bpfctl.kernel.bpf.prog import Progs
from bpfctl.kernel.bpf.syscall import COMMANDS
from bpfctl.kernel.clock import Clock
from bpfctl.kernel.config import Config
from bpfctl.kernel.fs import FileTable
from bpfctl.kernel.mm.alloc import Allocators
from bpfctl.kernel.mm.charge import OomKill
from bpfctl.kernel.mm.memcg import ROOT_ID, MemcgTree
from bpfctl.kernel.mm.mmap import Mappings
from bpfctl.kernel.mm.rlimit import MemlockAccount
from bpfctl.kernel.objects import SimObjects
from bpfctl.kernel.prandom import Prandom
from bpfctl.kernel.records import Counter, File, Memcg, Setting, Task, User
from bpfctl.kernel.storage import MemoryStorage, Storage
from bpfctl.kernel.task import (
    ALL_CAPS,
    CAP_NET_ADMIN,
    CAP_SYS_ADMIN,
    CAP_SYS_RESOURCE,
    bpf_capable,
    capable,
    rlimit_value,
)
from bpfctl.light import altered
from bpfctl.uapi import Cmd

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.vm.vm import Vm

T = TypeVar("T")

INIT_PID = 1
FIRST_TRANSIENT_PID = 1 << 22  # above what kernel.pid_max allows, so never kept


class Kernel:
    """A booted kernel over a state; ``Kernel.boot`` for a new one.

    ``current`` is the task in a system call; ``in_interrupt`` says that the code runs in an
    interrupt that hit it.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.config = config = Config.restore(storage.registry(Setting))
        self.profile = profiles.load(config.kernel, config.patch)
        accounting = self.profile.accounting
        self.tasks = storage.registry(Task)
        self.memcg = MemcgTree(
            storage, config.page_size, config.cgroup_memory, accounting.atomic_counts_max
        )
        self.mm = Allocators(
            storage, self.memcg, config.page_size, config.possible_cpus, config.memory
        )
        self.memlock = MemlockAccount(storage.registry(User), config.page_size)
        self.files = FileTable(
            storage, self.mm, self.profile.sizeof("dentry"), self.profile.sizeof("file")
        )
        self.bpffs = BpfFs(storage)
        self.counters = storage.registry(Counter)
        self.clock = Clock(self.counters)
        self.rng = Prandom(self.counters, config.hash_seed)
        self.maps: Maps = Maps(self)
        self.btfs: Btfs = Btfs(storage)
        self.progs: Progs = Progs(self)
        self.mappings: Mappings = Mappings(self)
        self.objects = SimObjects(self)
        self._pids = Ids(storage, "pid", self.tasks)  # type: ignore[arg-type]
        self.current: Task | None = None
        self.in_interrupt = False
        self.vm_made: Vm | None = None

    @classmethod
    def boot(cls, storage: Storage, config: Config) -> Kernel:
        """Set up an empty state: init (root, all capabilities, root cgroup) and /sys/fs/bpf."""
        config.save(storage.registry(Setting))
        kernel = cls(storage)
        kernel.memcg.boot()
        kernel.mm.boot()
        kernel.bpffs.boot()
        for ids in (
            kernel.maps.ids, kernel.btfs.ids, kernel.progs.ids, kernel.mappings.ids, kernel._pids
        ):
            ids.boot()
        kernel.objects.boot()
        kernel.spawn("init")
        return kernel

    @classmethod
    def in_memory(cls, profile: str = profiles.NEWEST, **settings: Any) -> Kernel:
        """Boot a kernel that goes with the process; ``settings`` are fields of Config."""
        return cls.boot(MemoryStorage(), Config(kernel=profile, **settings))

    def reconfigure(self, **settings: Any) -> None:
        """Change settings of a state. The caller says which may change while objects exist."""
        Config(**{**self.config.values(), **settings}).save(self.storage.registry(Setting))

    @property
    def vm(self) -> Vm:
        """What runs programs, made when the first one does."""
        if self.vm_made is None:
            from bpfctl.kernel.bpf.vm.vm import Vm

            self.vm_made = Vm(self)
        return self.vm_made

    # --- bpf(2) ----------------------------------------------------------

    def bpf(self, pid: int, cmd: Cmd, attr: Any) -> Any:
        """Run one bpf(2) command as task ``pid``.

        :raises KernelError: the errno of the call.
        :raises TaskKilled: the OOM killer took the caller.
        """
        if self.profile.checks.unprivileged == "dispatch":
            self.check_unprivileged(self.task(pid))
        return self._run(pid, COMMANDS[cmd], attr)

    def _run(self, pid: int, call: Callable[..., T], *args: Any) -> T:
        """Do ``call(kernel, task, *args)`` as task ``pid``."""
        task = self.task(pid)
        previous, self.current = self.current, task
        self.memcg.charger.refusal = None
        try:
            return call(self, task, *args)
        except OomKill as kill:
            hint = self._refusal_hint()
            self.exit_task(pid)
            self.notify("oom", memcg=kill.memcg.path, victim=pid)
            raise TaskKilled(kill.memcg.path, hint) from None
        except KernelError as exc:
            if exc.code == E.NOMEM and not exc.hint:
                exc.hint = self._refusal_hint()
            raise
        finally:
            self.current = previous

    def map_lookup_each(
        self, pid: int, fd: int, keys: Sequence[bytes], from_prog: bool = False
    ) -> list[bytes | None]:
        """Look ``keys`` up in a map, in one go; None where there is no element.

        Equals one BPF_MAP_LOOKUP_ELEM a key or, ``from_prog``, a program run by the task that
        calls bpf_map_lookup_elem() for each: only the latter marks elements of an LRU map as used.

        :raises KernelError: EPERM, EBADF, EFAULT and the like, before the first lookup.
        """
        previous, self.current = self.current, self.task(pid)
        try:
            if not from_prog and self.profile.checks.unprivileged == "dispatch":
                self.check_unprivileged(self.current)
            return map_lookup_each(self, self.current, fd, keys, from_prog)
        finally:
            self.current = previous

    # --- mmap(2) ---------------------------------------------------------

    def mmap(
        self,
        pid: int,
        fd: int,
        offset: int,
        length: int,
        writable: bool,
        shared: bool = True,
        addr: int = 0,
    ) -> int:
        """Map part of a map into task ``pid`` and return the mapping's id.

        See :meth:`bpfctl.kernel.mm.mmap.Mappings.mmap` for the errors.

        :raises TaskKilled: the OOM killer took the caller.
        """
        return self._run(
            pid,
            lambda _, task: self.mappings.mmap(task, fd, offset, length, writable, shared, addr),
        )

    def munmap(self, pid: int, mapping: int) -> None:
        """munmap(2) of a whole mapping.

        :raises KernelError: EINVAL.
        """
        self.mappings.munmap(pid, mapping)

    def mem_read(self, pid: int, mapping: int, at: int, size: int) -> bytes:
        """Read ``size`` bytes at ``at`` of a mapping, as the process would.

        :raises KernelError: EFAULT where it would get SIGSEGV.
        :raises TaskKilled: the OOM killer took it while the page was made.
        """
        return self._run(pid, lambda _, task: self.mappings.read(pid, mapping, at, size))

    def mem_write(self, pid: int, mapping: int, at: int, content: bytes) -> None:
        """Write to a mapping, as the process would; errors as in :meth:`mem_read`."""
        self._run(pid, lambda _, task: self.mappings.write(pid, mapping, at, content))

    def _refusal_hint(self) -> str:
        refusal = self.memcg.charger.refusal
        if refusal is None:
            return ""
        size = self.config.page_size
        needed = (refusal.usage_pages + refusal.asked_pages) * size
        return (
            f"memory.max of {refusal.path} is {refusal.max_pages * size} bytes, "
            f"{refusal.usage_pages * size} are in use and {refusal.asked_pages * size} more were "
            f"asked for: bpfctl memcg set {refusal.path} memory.max={needed} is the least it takes"
        )

    def possible_cpus(self) -> int:
        """Number of possible CPUs."""
        return self.config.possible_cpus

    def close(self, pid: int, fd: int) -> None:
        """close(2).

        :raises KernelError: EBADF.
        """
        self._close(self.files.get(pid, fd))

    def _close(self, file: File) -> None:
        self.files.close(file)
        self.put_object(file.obj_kind, file.obj_id)

    def take_object(self, kind: str, obj_id: int) -> None:
        """Take a descriptor's or pin's reference."""
        if kind == "map":
            self.maps.inc(obj_id, user=True)
        elif kind == "prog":
            self.progs.inc(obj_id)
        elif kind == "btf":
            self.btfs.inc(obj_id)
        else:
            self.objects.get(obj_id).refcnt += 1

    def put_object(self, kind: str, obj_id: int) -> None:
        """Drop a descriptor's or pin's reference."""
        if kind == "map":
            self.maps.put(obj_id, user=True)
        elif kind == "prog":
            self.progs.put(obj_id)
        elif kind == "btf":
            self.btfs.put(obj_id)
        else:
            self.objects.put(obj_id)

    def unlink(self, path: str) -> None:
        """Remove a pin (or an empty directory) of the bpffs and drop its reference."""
        pin = self.bpffs.unlink(path)
        if pin.kind != "dir":
            self.put_object(pin.kind, pin.obj_id)

    def fdinfo(self, pid: int, fd: int) -> dict[str, str]:
        """Return the BPF lines of /proc/PID/fdinfo/FD."""
        file = self.files.get(pid, fd)
        if file.obj_kind == "map":
            return self._map_fdinfo(file.obj_id)
        if file.obj_kind == "prog":
            return self.progs.fdinfo(file.obj_id)
        return {}

    def _map_fdinfo(self, map_id: int) -> dict[str, str]:
        found = self.maps.get(map_id)
        rec = found.rec
        info = {
            "map_type": str(rec.type),
            "key_size": str(rec.key_size),
            "value_size": str(rec.value_size),
            "max_entries": str(rec.max_entries),
            "map_flags": f"{rec.map_flags:#x}",
            "map_extra": f"{rec.map_extra:#x}",
            "memlock": str(self.memlock_shown(map_id)),
            "map_id": str(rec.id),
            "frozen": str(rec.frozen),
        }
        owner = rec.owner
        if owner:
            info["owner_prog_type"] = str(owner["type"])
            info["owner_jited"] = str(owner["jited"])
        return info

    def memlock_shown(self, map_id: int) -> int:
        """Return the ``memlock`` line of a map's fdinfo, in bytes, as this kernel computes it."""
        found = self.maps.get(map_id)
        rec = found.rec
        how = self.profile.accounting.memlock
        if how == "usage":
            return found.mem_usage()
        if how == "charged":
            return rec.memlock_pages * self.config.page_size
        value = -(-rec.value_size // 8) * 8 * found.cpus if found.percpu else rec.value_size
        return found.page_align(rec.max_entries * (-(-(rec.key_size + value) // 8) * 8))

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
        self.mappings.fork(pid, child)
        return child

    def exit_task(self, pid: int) -> None:
        """End a task: its mappings go and its descriptors close."""
        self.mappings.drop_task(pid)
        for file in self.files.of_task(pid):
            self._close(file)
        task = self.tasks.get(pid)
        if task is not None:
            self.memlock.unpin(task)
        self.tasks.remove(pid)
        if task is not None and not task.transient:
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

    def current_objcg(self) -> int:
        """Return the objcg id of the task in the system call, 0 for nobody."""
        return self.memcg.objcg_of(self.current) if self.current is not None else 0

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

    # --- capabilities ----------------------------------------------------

    def require(self, task: Task, capability: str) -> None:
        """Test what a map type wants: "", "bpf" or "net_admin".

        :raises KernelError: EPERM.
        """
        if capability == "bpf" and not bpf_capable(task):
            raise KernelError(E.PERM, "CAP_BPF")
        if capability == "net_admin":
            also = CAP_SYS_ADMIN if self.profile.checks.net_admin_by_sys_admin else 0
            if not capable(task, CAP_NET_ADMIN | also):
                raise KernelError(E.PERM, "CAP_NET_ADMIN")

    def check_unprivileged(self, task: Task) -> None:
        """Apply kernel.unprivileged_bpf_disabled.

        :raises KernelError: EPERM.
        """
        if self.config.unprivileged_bpf_disabled and not bpf_capable(task):
            raise KernelError(E.PERM, "unprivileged_bpf_disabled")

    # --- observers -------------------------------------------------------

    def watch(self, observers: list[str]) -> None:
        """Load observer plugins and tell them of everything from now on.

        :raises PluginError: one cannot be found or is broken.
        """
        plugins.load_observers(observers)
        self.mm.observe = self._charged

    def _charged(self, path: str, nbytes: int, kind: str, owner: int, gfp: int) -> None:
        if nbytes > 0:
            self.notify("charge", memcg=path, nr_bytes=nbytes, gfp=gfp, owner=(kind, owner))
        else:
            self.notify("uncharge", memcg=path, nr_bytes=-nbytes, owner=(kind, owner))

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call an observer hook, if anybody watches."""
        if self.mm.observe is not None:
            plugins.notify(hook, **arguments)


__all__ = ["ROOT_ID", "Kernel"]
