"""A kernel booted in memory for one question, and the loader's steps on it.

Everything is created through bpf(2), in the order in which libbpf does it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bpfctl.cost.choices import Machine
from bpfctl.cost.plan import MapItem, ProgItem, Source
from bpfctl.kernel.bpf.map import round_up
from bpfctl.kernel.bpf.progtypes import by_number
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.records import Memcg, Objcg
from bpfctl.libbpf.mapspec import MapSpec
from bpfctl.libbpf.steps import ANY_BTF_ID, Steps
from bpfctl.testbed import NOBODY, Bed
from bpfctl.uapi import ALL_CAPS, MapCreateAttr, ProgLoadAttr

if TYPE_CHECKING:
    from bpfctl.libbpf.object_progs import ProgramSpec

CGROUP = "/cost"
# Any map that a profile allows shall be possible: the host's memory is not the question.
_MEMORY_BYTES = 1 << 62
_NUMA_NODES = 64
_NO_SUCH_TYPE = 0x7FFFFFFF
_CACHE_LINE = 64
_SOCKET_FILTER = 1
_RETURN_0 = bytes((0xB7, *bytes(7), 0x95, *bytes(7)))


@dataclass(frozen=True, slots=True)
class Actor:
    """Who creates the objects: uid and capability mask."""

    uid: int = 0
    caps: int = ALL_CAPS


@dataclass(slots=True)
class Standing:
    """Counters of the cgroup and the user at one moment, in bytes and pages.

    ``charged`` is exact; ``slab``, ``percpu`` and ``vmalloc`` are parts of it as memory.stat has
    them, the rest is single pages.
    """

    charged: int
    slab: int
    percpu: int
    vmalloc: int
    locked_pages: int


@dataclass(slots=True)
class Live:
    """A map that exists: its descriptor, id and elements so far.

    ``locked_pages`` is what the user had locked while it was made, an inner template included.
    """

    item: MapItem
    fd: int
    map_id: int
    locked_pages: int
    elements: int = 0


class _Loading(Steps):
    """The loader of one source: libbpf's steps, and what it has made so far by name."""

    def __init__(self, world: World, fds: dict[str, int]) -> None:
        super().__init__(world.bpf, _say_nothing, symbol_id=ANY_BTF_ID)
        self.world = world
        self.fds = fds
        self.item: MapItem | None = None
        self.locked_pages = 0

    def adjust(self, spec: MapSpec, attr: MapCreateAttr) -> None:
        if self.item is None or spec is self.world.resolved(self.item).inner:
            return
        if self.item.ifindex:
            attr.map_ifindex = self.world.netdev(self.item.ifindex)
        if self.item.ops:
            self.world.name_kernel_struct(attr, self.item.ops, self.btf_fd)

    def made(self, spec: MapSpec) -> None:
        self.locked_pages = self.world.locked_pages()

    def target(self, spec: ProgramSpec, label: str) -> int:
        """Return any id where the type wants one: to what it is attached costs nothing."""
        prog_type = by_number(spec.type)
        return ANY_BTF_ID if prog_type is not None and prog_type.attach_btf else 0


def _say_nothing(message: str) -> None:
    """Take what the library warns of: a refusal is part of the answer."""


class World:
    """A booted kernel, and a task in a cgroup of its own that creates things.

    ``memlock`` and ``memory_max`` are limits in bytes, None for no limit. Methods raise
    :class:`KernelError`, or :class:`TaskKilled` when the OOM killer takes the task.
    """

    def __init__(
        self,
        machine: Machine,
        actor: Actor,
        memlock: int | None = None,
        memory_max: int | None = None,
    ) -> None:
        self.machine = machine
        self.bed = Bed.boot(
            machine.kernel,
            machine.patch,
            cpus=machine.cpus,
            cgroups=[CGROUP],
            page_size=machine.page_size,
            memory=_MEMORY_BYTES,
            numa_nodes=_NUMA_NODES,
        )
        self.kernel = kernel = self.bed.kernel
        self.memcg: Memcg = kernel.memcg.lookup(CGROUP)
        self.bpf = self.bed.task(
            "loader", CGROUP, uid=actor.uid, caps=actor.caps, memlock=memlock
        )
        self.task = kernel.task(self.bpf.pid)
        objcg = kernel.memcg.objcgs.get(self.memcg.objcg)
        assert objcg is not None
        self._objcg: Objcg = objcg
        self._loaded: dict[int, _Loading] = {}
        self._scopes: dict[str, dict[str, int]] = {}
        self._resolved: dict[int, MapSpec] = {}
        if memory_max is not None:
            self.bed.limit(CGROUP, memory_max)

    # --- counters ----------------------------------------------------------

    def standing(self) -> Standing:
        """Read the counters."""
        memcg, objcg = self.memcg, self._objcg
        return Standing(
            objcg.nbytes + objcg.pages * self.machine.page_size,
            memcg.slab_unreclaimable + memcg.slab_reclaimable,
            memcg.percpu,
            memcg.vmalloc,
            self.locked_pages(),
        )

    def locked_pages(self) -> int:
        """Return what the user has locked."""
        return self.bed.locked_pages(self.task.uid)

    def current(self) -> int:
        """Return memory.current, in bytes."""
        return self.kernel.memcg.current(self.memcg)

    def most_pages(self) -> int:
        """Return the highest that the cgroup's page counter has been."""
        return self.kernel.memcg.charger.most_pages

    def owned(self, kind: str, obj_id: int) -> tuple[int, int]:
        """Return what an object has: bytes charged to the cgroup, bytes charged to nobody."""
        paid = self.bed.paid(kind, obj_id)
        free = paid.pop(NOBODY, 0)
        return sum(paid.values()), free

    # --- the loader's steps --------------------------------------------------

    def start(self, source: Source) -> None:
        """Load the BTF of a source; a kernel that refuses it does without."""
        fds = self._scopes.setdefault(source.scope, {}) if source.scope else {}
        loading = self._loaded[id(source)] = _Loading(self, fds)
        if source.btf is not None:
            loading.load_btf(source.btf)

    def resolved(self, item: MapItem) -> MapSpec:
        """Return the definition of a map as it is created on this machine."""
        spec = self._resolved.get(id(item))
        if spec is None:
            spec = item.spec.resolve(self.machine.cpus, self.machine.page_size)
            self._resolved[id(item)] = spec
        return spec

    def create(self, source: Source, item: MapItem) -> Live:
        """Create a map; its inner template lives only meanwhile."""
        loading = self._loaded[id(source)]
        loading.item = item
        fd = loading.create_map(self.resolved(item), item.name)
        loading.fds.setdefault(item.key or item.name, fd)
        map_id = self.kernel.files.get(self.task.pid, fd).obj_id
        return Live(item, fd, map_id, loading.locked_pages)

    def name_kernel_struct(self, attr: MapCreateAttr, name: str, btf_fd: int) -> None:
        """Fill in what a loader finds in the kernel's own BTF: the value type and its size."""
        if not self.kernel.progs.ids.peek() > 1:
            # libbpf has tried what the kernel can do by then; old kernels read their BTF for it.
            self.bpf.close(self.bpf.prog_load(ProgLoadAttr(_SOCKET_FILTER, _RETURN_0)))
        profile = self.kernel.profile
        attr.btf_fd, attr.btf_key_type_id, attr.btf_value_type_id = btf_fd, 0, 0
        attr.btf_vmlinux_value_type_id = _NO_SUCH_TYPE
        for ops in profile.struct_ops.types:
            if ops.name == name:
                attr.btf_vmlinux_value_type_id = ops.type_id
                value = profile.sizeof("bpf_struct_ops_value") + ops.size
                attr.value_size = round_up(value, _CACHE_LINE)

    def netdev(self, ifindex: int) -> int:
        """Return ``ifindex``, of a device that exists."""
        objects = self.kernel.objects
        if objects.netdev(ifindex) is None:
            objects.create("netdev", f"dev{ifindex}", ifindex=ifindex)
        return ifindex

    def store_initial(self, source: Source, live: Live) -> None:
        """Store the maps that a map of maps is declared with (init_map_in_map_slots)."""
        loading, spec = self._loaded[id(source)], live.item.spec
        slots = {slot: name for slot, name in spec.slots.items() if name in loading.fds}
        if spec.inner is not None:
            loading.fill_slots(live.fd, spec.name, slots, "map", loading.fds)
            live.elements += len(slots)

    def fill(self, live: Live, target: int) -> None:
        """Bring a map to ``target`` elements, as distinct inserts by one CPU would."""
        if target <= live.elements:
            return
        self.bed.fill(self.bpf, live.map_id, target - live.elements)
        live.elements = target

    def checkpoint(self, live: Live) -> Callable[[], None]:
        """Return a function that undoes what filling a map does from now on."""
        kernel, elements = self.kernel, live.elements
        mem = Mem(kernel.mm, "map", live.map_id, 0)
        allocs = kernel.mm.allocs
        records = [
            *kernel.memcg.memcgs.find(),
            *kernel.memcg.objcgs.find(),
            *kernel.mm.counters.find(),
            *kernel.memlock.users.find(),
            kernel.maps.get(live.map_id).rec,
        ]
        saved = [(record, _values(record)) for record in records]
        saved_allocs = [(alloc, _values(alloc)) for alloc in mem.allocations()]

        def restore() -> None:
            for alloc in mem.allocations():
                allocs.remove((alloc.owner_kind, alloc.owner_id, alloc.label, alloc.objcg))
            for record, values in (*saved, *saved_allocs):
                for name, value in values.items():
                    setattr(record, name, value)
            for alloc, _ in saved_allocs:
                allocs.add(alloc)
            live.elements = elements

        return restore

    def load(self, source: Source, item: ProgItem) -> int:
        """Load a program and return its id."""
        loading = self._loaded[id(source)]
        fd = loading.load_program(item.spec, loading.fds, source.license)
        return self.kernel.files.get(self.task.pid, fd).obj_id


def _values(record: Any) -> dict[str, Any]:
    """Return the fields of a record, their dicts copied."""
    return {
        name: deepcopy(value) if isinstance(value := getattr(record, name), dict) else value
        for name in record.__match_args__
    }
