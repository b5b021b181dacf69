"""Memory cgroups (v2): the tree, its files, and who a task or a map charges.

A cgroup is named by its path below the mount, "/" for the root. The root is neither limited nor
charged. Cgroup files take and give bytes; counters are kept in pages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bpfctl.errors import E, KernelError
from bpfctl.kernel.mm.charge import Charger
from bpfctl.kernel.records import Counter, Memcg, Objcg, Task
from bpfctl.kernel.storage import Storage

ROOT_ID = 1
MODES = ("on", "nokmem", "nobpf", "off")
KNOBS = ("min", "low", "high", "max")
EVENTS = ("low", "high", "max", "oom", "oom_kill")
NAME_MAX = 255


class MemcgTree:
    """All memory cgroups of one kernel.

    ``mode``: ``on``; ``nokmem`` or ``nobpf`` as the boot option cgroup.memory=; ``off`` without
    a memory controller. ``removed`` is told of a cgroup that goes.
    """

    def __init__(
        self,
        storage: Storage,
        page_size: int,
        mode: str,
        atomic_counts_max: bool,
        nowait_counts_max: bool = False,
        sock_throttled: bool = False,
    ) -> None:
        self.memcgs = storage.registry(Memcg)
        # Ids by path of what was looked up; checked when it is used.
        self._found: dict[str, int] = {}
        self.objcgs = storage.registry(Objcg)
        self.tasks = storage.registry(Task)
        self.counters = storage.registry(Counter)
        self.page_size = page_size
        self.mode = mode
        self.removed: list[Callable[[Memcg], None]] = []
        self.charger = Charger(
            self.memcgs, self.objcgs, page_size, atomic_counts_max, nowait_counts_max
        )
        self._sock_throttled = sock_throttled

    def boot(self) -> None:
        """Make the root cgroup."""
        self.memcgs.add(Memcg(ROOT_ID))
        self.counters.add(Counter("memcg", ROOT_ID))
        self.counters.add(Counter("objcg", 0))

    # --- the tree --------------------------------------------------------

    def get(self, memcg_id: int) -> Memcg:
        """Return a cgroup that must exist."""
        memcg = self.memcgs.get(memcg_id)
        if memcg is None:
            raise KernelError(E.NOENT, f"memcg {memcg_id}")
        return memcg

    def lookup(self, path: str) -> Memcg:
        """Return the cgroup at ``path``.

        :raises KernelError: ENOENT.
        """
        parts = [part for part in path.split("/") if part]
        depth, memcg = self._nearest(parts)
        for name in parts[depth:]:
            found = next(self.memcgs.find(parent=memcg.id, name=name), None)
            if found is None:
                raise KernelError(E.NOENT, path)
            memcg = found
        if parts:
            self._found["/" + "/".join(parts)] = memcg.id
        return memcg

    def _nearest(self, parts: list[str]) -> tuple[int, Memcg]:
        """Return how many levels down a cgroup is that was looked up before, and it."""
        for depth in (len(parts), len(parts) - 1):
            path = "/" + "/".join(parts[: max(depth, 0)])
            found = self.memcgs.get(self._found.get(path, 0))
            if depth > 0 and found is not None and found.path == path:
                return depth, found
        return 0, self.get(ROOT_ID)

    def find(self, memcg_id: int) -> Memcg | None:
        """Return the cgroup of that id, None if there is none (any more)."""
        return self.memcgs.get(memcg_id)

    def parent(self, memcg: Memcg) -> Memcg | None:
        """Return the cgroup above, None for the root."""
        return self.memcgs.get(memcg.parent) if memcg.parent else None

    def children(self, memcg_id: int) -> Iterator[Memcg]:
        """Yield the direct children of a cgroup."""
        return self.memcgs.find(parent=memcg_id)

    def walk(self, memcg_id: int = ROOT_ID, depth: int = 0) -> Iterator[tuple[int, Memcg]]:
        """Yield (depth, cgroup) of a subtree, parents first, siblings by name."""
        waiting = [(depth, self.get(memcg_id))]
        while waiting:
            depth, found = waiting.pop()
            yield depth, found
            below = sorted(self.children(found.id), key=lambda m: m.name, reverse=True)
            waiting += [(depth + 1, child) for child in below]

    def _next(self, name: str) -> int:
        counter = self.counters.get(name)
        assert counter is not None
        counter.value += 1
        return counter.value

    def create(self, path: str) -> Memcg:
        """Make a cgroup (mkdir).

        :raises KernelError: EEXIST; ENOENT without the parent; EINVAL for a bad name.
        """
        parts = [part for part in path.split("/") if part]
        if not parts:
            raise KernelError(E.EXIST, path)
        name = parts[-1]
        if name in (".", "..") or "\n" in name:
            raise KernelError(E.INVAL, path)
        try:
            length = len(name.encode())
        except UnicodeEncodeError:
            raise KernelError(E.INVAL, "not Unicode") from None
        if length > NAME_MAX:
            raise KernelError(E.NAMETOOLONG, path)
        parent = self.lookup("/".join(parts[:-1]))
        if next(self.memcgs.find(parent=parent.id, name=name), None) is not None:
            raise KernelError(E.EXIST, path)
        objcg = Objcg(self._next("objcg"))
        memcg = Memcg(self._next("memcg"), parent.id, name, "/" + "/".join(parts), objcg.id)
        objcg.memcg = memcg.id
        self.memcgs.add(memcg)
        self.objcgs.add(objcg)
        return memcg

    def remove(self, path: str) -> None:
        """Remove a cgroup (rmdir): what it paid for stays charged to its ancestors.

        :raises KernelError: ENOENT; EBUSY for the root, or with children or tasks.
        """
        memcg = self.lookup(path)
        occupied = any(True for _ in self.tasks.find(cgroup=memcg.id))
        if memcg.id == ROOT_ID or occupied or any(True for _ in self.children(memcg.id)):
            raise KernelError(E.BUSY, path)
        for told in self.removed:
            told(memcg)
        self._reparent(memcg)
        self.memcgs.remove(memcg.id)

    def _reparent(self, memcg: Memcg) -> None:
        """Point the cgroup's objcgs at its parent (memcg_reparent_objcgs).

        The ancestors' counters include the charges already.
        """
        for objcg in list(self.objcgs.find(memcg=memcg.id)):
            objcg.memcg = memcg.parent
            if not objcg.nbytes and not objcg.pages:
                self.charger.release(objcg)
                self.objcgs.remove(objcg.id)

    def move(self, task: Task, path: str) -> None:
        """Move ``task`` to another cgroup; existing charges stay where they are."""
        task.cgroup = self.lookup(path).id

    # --- who pays --------------------------------------------------------

    def objcg_of(self, task: Task) -> int:
        """Return the objcg id that ``task`` charges, 0 for nobody (root cgroup, no memcg)."""
        if self.mode in ("nokmem", "off"):
            return 0
        return self.get(task.cgroup).objcg

    def pays(self, objcg_id: int) -> Objcg | None:
        """Return the live objcg that a charge goes to; None once it climbed to the root.

        For an objcg that was re-pointed that is the new cgroup's own (set_active_memcg()).
        """
        objcg = self.objcgs.get(objcg_id) if objcg_id else None
        if objcg is None or objcg.memcg == ROOT_ID:
            return None
        return self.objcgs.get(self.get(objcg.memcg).objcg)

    # --- files -----------------------------------------------------------

    def set_knob(self, memcg: Memcg, knob: str, nbytes: int | None) -> list[Task]:
        """Write memory.min, low, high or max; None is "max". Rounded down to pages.

        :return: tasks that the OOM killer takes since the usage does not fit; the caller ends
            them.
        :raises KernelError: ENOENT on the root, which has no such files.
        """
        if memcg.id == ROOT_ID or self.mode == "off":
            raise KernelError(E.NOENT, f"memory.{knob}")
        pages = None if nbytes is None else nbytes // self.page_size
        setattr(memcg, f"{knob}_pages", pages)
        if pages is None or knob not in ("high", "max") or memcg.usage_pages <= pages:
            return []
        self.charger.drain(memcg.id)
        if memcg.usage_pages <= pages:
            return []
        if knob == "high":
            self.charger.event(memcg, "high")
            return []
        levels = self.charger.subtree(memcg.id)
        return [task for level in levels for task in self.tasks.find(cgroup=level)]

    def stat(self, memcg: Memcg) -> dict[str, int]:
        """Return memory.stat in bytes: the fields that BPF moves."""
        return {
            "kernel": self.current(memcg),
            "slab_reclaimable": memcg.slab_reclaimable,
            "slab_unreclaimable": memcg.slab_unreclaimable,
            "slab": memcg.slab_reclaimable + memcg.slab_unreclaimable,
            "pagetables": memcg.pagetables,
            "percpu": memcg.percpu,
            "vmalloc": memcg.vmalloc,
            "sock": memcg.sock,
        }

    def current(self, memcg: Memcg) -> int:
        """Return memory.current in bytes."""
        return memcg.kernel_pages * self.page_size

    def events(self, memcg: Memcg, local: bool = False) -> dict[str, int]:
        """Return memory.events, or memory.events.local. Nothing here throttles sockets."""
        prefix = "local_" if local else "ev_"
        found = {name: getattr(memcg, prefix + name) for name in EVENTS}
        return {**found, "sock_throttled": 0} if self._sock_throttled else found
