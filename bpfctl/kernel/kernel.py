"""The simulated kernel: a machine with the BPF subsystem on it, and the doors to both.

Programs reach it through :meth:`Kernel.bpf` (bpf(2)), :attr:`Kernel.memcg` (cgroupfs),
:attr:`Kernel.bpffs` and the task calls; nothing here prints or stores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from bpfctl import plugins
from bpfctl.errors import E, Hint, KernelError, Refusal, TaskKilled
from bpfctl.kernel.bpf.commands import COMMANDS
from bpfctl.kernel.bpf.idr import Btfs, Maps
from bpfctl.kernel.bpf.inode import BpfFs
from bpfctl.kernel.bpf.kinds import KINDS, ObjectKind
from bpfctl.kernel.bpf.mmap import Mappings
from bpfctl.kernel.bpf.prog import Progs, map_ids
from bpfctl.kernel.config import Config
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.late import late
from bpfctl.kernel.machine import INIT_PID, Machine
from bpfctl.kernel.mm.charge import OomKill
from bpfctl.kernel.mm.memcg import ROOT_ID
from bpfctl.kernel.records import MapRecord, ProgRecord, SimObject, Task
from bpfctl.kernel.storage import Storage
from bpfctl.kernel.task import CAP_NET_ADMIN, CAP_SYS_ADMIN, bpf_capable, capable
from bpfctl.uapi import Cmd

if TYPE_CHECKING:
    from bpfctl.kernel.machine import Holder
    from bpfctl.uapi import ProgRunAttr, ProgRunResult

T = TypeVar("T")
P = TypeVar("P")

# Who keeps descriptors of kinds that are no objects, by the kind.
_HOLDERS = {"bpf_stats": "bpf.stats:StatsHolder"}


class _Kinds(dict[str, ObjectKind]):
    """Kinds of objects by name, made when they are first needed."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self._kernel = kernel

    def __missing__(self, name: str) -> ObjectKind:
        self[name] = found = late(KINDS[name])(self._kernel)
        return found  # type: ignore[no-any-return]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a kind, or ``default`` for what is no BPF object."""
        return self[name] if name in KINDS else default


class Kernel(Machine):
    """A booted kernel over a state; ``Kernel.boot`` for a new one.

    ``kinds`` are the BPF objects that descriptors and pins may be of.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.bpffs = BpfFs(storage)
        self.refuses_unmodelled = False
        """Programs that call what is not modelled are refused at load. A kernel that only measures
        takes them: its verdicts are then the real one's."""
        self.signals: list[tuple[int, int]] = []
        """Signals that programs sent and that nobody has taken yet: pid, number."""
        self.maps: Maps = Maps(self)
        self.btfs: Btfs = Btfs(storage)
        self.progs: Progs = Progs(self)
        self.mappings: Mappings = Mappings(self)
        self.memcg.removed.append(lambda memcg: self.attach.cgroup_removed(memcg.id))
        self._parts: dict[Any, Any] = {}
        self._vm: Any = None
        self.engine = ""
        """What runs programs, if not what the settings say."""
        self.kinds = _Kinds(self)
        self.maps.unheld.append(self._drop_timers)
        self.maps.freed.append(self._map_freed)
        self.progs.freed.append(self._prog_freed)
        self.objects.gone = self._object_gone

    def vmlinux_btf(self) -> bytes:
        """Return /sys/kernel/btf/vmlinux, as far as the simulator has it."""
        from bpfctl.kernel.vmlinux import vmlinux_btf

        return vmlinux_btf(self.profile)

    def helper_known(self, number: int) -> bool:
        """Tell whether the kernel has a helper of this number, for any program."""
        return 0 < number < self.profile.progs.nr_helpers

    def helpers_offered(self, prog_type: int, attach_type: int, sleepable: bool) -> set[int]:
        """Return the numbers of the helpers that a program may call, loaded by root."""
        found = late("bpf.progtypes:by_number")(prog_type)
        if found is None:
            return set()
        caps = frozenset(("bpf", "perfmon", "sys_admin"))
        profile = self.profile
        nr_helpers = profile.progs.nr_helpers
        offered = late("bpf.progtypes.release:offered")
        return set(offered(profile.name, nr_helpers, found, attach_type, caps, sleepable))

    def kconfig(self) -> dict[str, str]:
        """Return the options of /proc/config.gz, without those that are not set."""
        found = {f"CONFIG_{name}": text for name, text in self.profile.kconfig.items()}
        return {name: text for name, text in found.items() if text != "n"}

    def _sequences(self) -> list[Ids]:
        objects = (self.maps, self.btfs, self.progs, self.links, self.mappings)
        return [*(kind.ids for kind in objects), *super()._sequences()]

    @classmethod
    def boot(cls, storage: Storage, config: Config) -> Kernel:
        """Set up an empty state: what :meth:`Machine.boot` does, and /sys/fs/bpf."""
        kernel = super().boot(storage, config)
        kernel.bpffs.boot()
        return kernel

    pid_namespace = (4, 0xEFFFFFFC)
    """Device and inode of the initial pid namespace."""

    # --- parts that are made when they are first needed -------------------

    def part(self, cls: Callable[[Kernel], P]) -> P:
        """Return the one instance of a part of this kernel: ``kernel.part(Links)``."""
        found: P | None = self._parts.get(cls)
        if found is None:
            found = self._parts[cls] = cls(self)
        return found

    @property
    def vm(self) -> Any:
        """What runs programs: ``part(Vm)`` for those that are below it."""
        if self._vm is None:
            self._vm = self.part(late("bpf.vm.vm:Vm"))
        return self._vm

    @property
    def net(self) -> Any:
        """Packets on devices: ``part(Net)`` for those that are below it."""
        return self.part(late("net.dev:Net"))

    @property
    def netlink(self) -> Any:
        """The routing socket: ``part(Netlink)`` for those that are below it."""
        return self.part(late("net.netlink:Netlink"))

    @property
    def links(self) -> Any:
        """Live links: ``part(Links)`` for those that are below it."""
        return self.part(late("attach.link:Links"))

    @property
    def attach(self) -> Any:
        """Where programs are attached: ``part(AttachState)`` for those that are below it."""
        return self.part(late("attach.state:AttachState"))

    def _holder(self, kind: str) -> Holder:
        if kind in KINDS:
            return self.kinds[kind]
        if kind in _HOLDERS:
            holder: Holder = self.part(late(_HOLDERS[kind]))
            return holder
        return super()._holder(kind)

    def _drop_timers(self, rec: MapRecord) -> None:
        """Timers end when no process holds their map any more."""
        if "timer" in rec.fields:
            late("bpf.timers:Timers")(self).drop(rec.id)

    def _map_freed(self, rec: MapRecord) -> None:
        if self._vm is not None:
            self._vm.map_gone(rec.id)
        if rec.btf_id:
            self.btfs.put(rec.btf_id)
        self.notify("map_freed", map_id=rec.id)

    def _prog_freed(self, rec: ProgRecord) -> None:
        if self._vm is not None:
            self._vm.prog_gone(rec.id)
        for map_id in map_ids(rec):
            self.maps.put(map_id, user=False)
        if rec.btf_id:
            self.btfs.put(rec.btf_id)

    def prog_trace(
        self, pid: int, attr: ProgRunAttr, tell: Callable[[Any], None]
    ) -> ProgRunResult:
        """BPF_PROG_TEST_RUN, a step at a time: ``tell`` is called with every insn that ran.

        :raises KernelError: as the system call does.
        """
        self.vm.tracer = tracer = late("bpf.vm.trace:Tracer")(self.vm, tell)
        try:
            result: ProgRunResult = self.bpf(pid, Cmd.PROG_TEST_RUN, attr)
            return result
        finally:
            tracer.finish()
            self.vm.tracer = None

    def execute(self, insns: bytes, memory: bytes) -> tuple[int, bytes]:
        """Run instructions that nobody loaded or verified; return r0, and the memory afterwards.

        :raises Failure: they are no program, or do what they must not.
        """
        ran: tuple[int, bytes] = late("bpf.vm.execute:execute")(self.vm, insns, memory)
        return ran

    # --- bpf(2) ----------------------------------------------------------

    def bpf(self, pid: int, cmd: Cmd, attr: Any) -> Any:
        """Run one bpf(2) command as task ``pid``.

        :raises KernelError: the errno of the call.
        :raises TaskKilled: the OOM killer took the caller.
        """
        if self.profile.checks.unprivileged == "dispatch":
            self.check_unprivileged(self.task(pid))
        try:
            return self._run(pid, late(COMMANDS[cmd]), attr)
        except KernelError as exc:
            exc.call = cmd, attr
            raise

    def _run(self, pid: int, call: Callable[..., T], *args: Any) -> T:
        """Do ``call(kernel, task, *args)`` as task ``pid``."""
        task = self.task(pid)
        charger = self.memcg.charger
        charger.refusal = charger.kill = None
        try:
            with self.ctx.running(task):
                result = call(self, task, *args)
            if charger.kill is not None:
                raise charger.kill
            return result
        except OomKill as kill:
            hint = self._refusal()
            self.exit_task(pid)
            self.notify("oom", memcg=kill.memcg.path, victim=pid)
            raise TaskKilled(kill.memcg.path, hint) from None
        except KernelError as exc:
            if exc.code == E.NOMEM and not exc.hint:
                exc.hint = self._refusal()
            raise

    def map_lookup_each(
        self, pid: int, fd: int, keys: Sequence[bytes], from_prog: bool = False
    ) -> list[bytes | None]:
        """Look ``keys`` up in a map, in one go; None where there is no element.

        Equals one BPF_MAP_LOOKUP_ELEM a key or, ``from_prog``, a program run by the task that
        calls bpf_map_lookup_elem() for each: only the latter marks elements of an LRU map as used.

        :raises KernelError: EPERM, EBADF, EFAULT and the like, before the first lookup.
        """
        task = self.task(pid)
        with self.ctx.running(task):
            if not from_prog and self.profile.checks.unprivileged == "dispatch":
                self.check_unprivileged(task)
            found: list[bytes | None] = late("bpf.elem:map_lookup_each")(
                self, task, fd, keys, from_prog
            )
            return found

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

        See :meth:`bpfctl.kernel.bpf.mmap.Mappings.mmap` for the errors.

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

    def _object_gone(self, found: SimObject) -> None:
        self.maps.object_gone(found)
        if found.kind == "perf_event":
            late("trace.perf:closed")(self, found.id)

    def trace_pipe_read(self, pid: int) -> list[bytes]:
        """Read /sys/kernel/tracing/trace_pipe: lines that nobody has read yet."""
        self.task(pid)
        lines: list[bytes] = late("trace.pipe:read_pipe")(self)
        return lines

    # --- perf events -----------------------------------------------------

    def perf_event_open(self, pid: int, cpu: int, pages: int) -> int:
        """Open a BPF output event of a CPU with a ring of ``pages``; return a descriptor."""
        made = self.objects.create("perf_event", cpu=cpu, pages=pages)
        made.priv["unlinked"] = True
        return self.objects.open(pid, made.id)

    def perf_read(self, pid: int, fd: int) -> tuple[list[bytes], int]:
        """Read what waits in an event's ring: samples, and how many were lost.

        :raises KernelError: EBADF, also for another kind of file.
        """
        file = self.files.get(pid, fd)
        if file.obj_kind != "perf_event":
            raise KernelError(E.BADF, file.obj_kind)
        taken: tuple[list[bytes], int] = late("trace.perf:take")(self, file.obj_id)
        return taken

    # --- time -----------------------------------------------------------

    def sleep(self, pid: int, nsec: int) -> None:
        """nanosleep(2): let time pass, and what falls due with it."""
        self.task(pid)
        late("bpf.timers:Timers")(self).run_until(self.clock.ns + nsec)

    def _refusal(self) -> Hint:
        """Return the charge that a limit refused during this call, "" for none."""
        found, size = self.memcg.charger.refusal, self.config.page_size
        if found is None:
            return ""
        sizes = (found.max_pages * size, found.usage_pages * size, found.asked_pages * size)
        return Refusal("memory.max", found.path, *sizes)

    def unlink(self, path: str) -> None:
        """Remove a pin (or an empty directory) of the bpffs and drop its reference."""
        pin = self.bpffs.unlink(path)
        if pin.kind != "dir":
            self.put_object(pin.kind, pin.obj_id)

    def fdinfo(self, pid: int, fd: int) -> dict[str, str]:
        """Return the BPF lines of /proc/PID/fdinfo/FD."""
        file = self.files.get(pid, fd)
        kind = self.kinds.get(file.obj_kind)
        return kind.fdinfo(file.obj_id) if kind is not None else {}

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

    def fork(self, pid: int) -> int:
        """Start a child of task ``pid``, which has its mappings too."""
        child = super().fork(pid)
        self.mappings.fork(pid, child)
        return child

    def exit_task(self, pid: int) -> None:
        """End a task: its mappings go and its descriptors close."""
        self.mappings.drop_task(pid)
        super().exit_task(pid)

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

    def notify(self, event: str, **arguments: Any) -> None:
        """Call an observer hook, if anybody watches."""
        if self.mm.observe is not None:
            plugins.notify(event, **arguments)


__all__ = ["INIT_PID", "ROOT_ID", "Kernel"]
