"""Find out who pays for a map's memory: the same steps on kernels of different releases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.testbed import NOBODY, Bed
from bpfctl.uapi import BPF_F_NO_PREALLOC, MAP_TYPE_NUMBER, MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel

SITE, CREATOR, UPDATER = "/site", "/site/creator", "/site/updater"
CPUS = 2
INSERTS = 100  # enough to use up what kernels with bpf_mem_alloc keep in store
WORDS = {CREATOR: "creator", UPDATER: "updater", SITE: "parent"}

KERNELS: tuple[tuple[str, str, int | None], ...] = (
    ("5.10", "5.10", None),
    ("5.10 + 34 (v7)", "5.10", 34),
    ("5.11 (merged)", "5.11", None),
    ("6.1", "6.1", None),
    ("6.12", "6.12", None),
    ("6.18", "6.18", None),
)


class Scene:
    """A map creator and an updater in cgroups of their own, below one parent."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.bed = Bed(kernel, [SITE, CREATOR, UPDATER])
        self.creator = self.bed.task("creator", CREATOR)
        self.updater = self.bed.task("updater", UPDATER)
        self._next_key = 0

    def create(self, name: str, flags: int = 0) -> int:
        """Make a map as the creator; return the updater's descriptor of it."""
        number = MAP_TYPE_NUMBER[name]
        fd = self.creator.map_create(MapCreateAttr(number, 4, 64, 1000, flags))
        return self.updater.map_get_fd_by_id(self.creator.map_info(fd).id)

    def insert(self, fd: int) -> None:
        """Add elements as the updater."""
        for _ in range(INSERTS):
            self._next_key += 1
            self.updater.map_update_elem(fd, self._next_key.to_bytes(4, "little"), bytes(64))

    def insert_in_interrupt(self, fd: int) -> None:
        """Add elements in an interrupt that hits the updater."""
        with self.kernel.ctx.interrupt():
            self.insert(fd)

    def remove_creator(self) -> None:
        """Take the creator and its cgroup away; the updater's descriptor keeps the map."""
        self.kernel.exit_task(self.creator.pid)
        self.kernel.memcg.remove(CREATOR)

    def payers(self, action: Callable[[], object]) -> str:
        """Return who was charged for map memory by ``action``: creator, updater, parent, nobody."""
        before = self._charged()
        action()
        after = self._charged()
        found = [WORDS[path] for path in after if after[path] > before.get(path, 0)]
        return " and ".join(found) or "nobody"

    def _charged(self) -> dict[str, int]:
        charged: dict[str, int] = {}
        for map_id in self.kernel.maps.records.keys_after(None):
            for path, nbytes in self.bed.paid("map", map_id).items():
                if path != NOBODY:
                    charged[path] = charged.get(path, 0) + nbytes
        return charged


def ask(kernel: Kernel) -> dict[str, str]:
    """Return situation -> who pays, on a kernel that was just booted."""
    scene = Scene(kernel)
    found = {"creation": scene.payers(lambda: scene.create("array"))}
    found["per-CPU values at creation"] = _percpu_values(scene)
    fd = scene.create("hash", BPF_F_NO_PREALLOC)
    found["update by another task"] = scene.payers(lambda: scene.insert(fd))
    found["update in an interrupt"] = scene.payers(lambda: scene.insert_in_interrupt(fd))
    scene.remove_creator()
    found["update, creator's cgroup gone"] = scene.payers(lambda: scene.insert(fd))
    found["interrupt, creator's cgroup gone"] = scene.payers(lambda: scene.insert_in_interrupt(fd))
    return found


def _percpu_values(scene: Scene) -> str:
    """Tell who pays for the values of a per-CPU array, its table of pointers apart."""
    fd = scene.create("percpu_array")
    map_id = scene.updater.map_info(fd).id
    allocs = scene.kernel.mm.allocs.find(owner_kind="map", owner_id=map_id)
    paid = any(alloc.objcg and alloc.allocator == "percpu" for alloc in allocs)
    return WORDS[CREATOR] if paid else "nobody"
