"""The MapType contract: what a map type is to the kernel (struct bpf_map_ops).

A map type is a class offered through the ``map_types`` hook; what is true of the type without a map
of it is in :mod:`bpfctl.kernel.bpf.facts`. The kernel makes one instance for
each live map; everything that must outlast a system call is in ``self.rec`` (a
:class:`~bpfctl.kernel.records.MapRecord`, whose ``priv`` is the type's own), in the map's
elements (``self.cells``) or in live allocations. Methods raise
:class:`~bpfctl.errors.KernelError` with the errno of the kernel's operation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.facts import MapFacts
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_ACCOUNT, GFP_ATOMIC, GFP_BY_NAME, GFP_USER
from bpfctl.kernel.mm.page import page_align
from bpfctl.kernel.records import MapRecord, ProgRecord, SimObject, Task
from bpfctl.kernel.storage import Cells
from bpfctl.uapi import (
    BPF_EXIST,
    BPF_F_ALL_CPUS,
    BPF_F_CPU,
    BPF_F_LOCK,
    BPF_F_NO_PREALLOC,
    BPF_F_NUMA_NODE,
    BPF_F_RDONLY,
    BPF_F_RDONLY_PROG,
    BPF_F_WRONLY,
    BPF_F_WRONLY_PROG,
    CPU_SHIFT,
    U32_MAX,
    MapCreateAttr,
)

if TYPE_CHECKING:
    from bpfctl.kernel.config import Config
    from bpfctl.kernel.context import Context
    from bpfctl.kernel.fs import FileTable
    from bpfctl.kernel.ids import Ids
    from bpfctl.kernel.mm.alloc import Allocators
    from bpfctl.kernel.mm.memcg import MemcgTree
    from bpfctl.kernel.mm.rlimit import MemlockAccount
    from bpfctl.kernel.objects import SimObjects
    from bpfctl.kernel.profile import Profile
    from bpfctl.kernel.storage import Storage

BPF_F_ACCESS_MASK = BPF_F_RDONLY | BPF_F_RDONLY_PROG | BPF_F_WRONLY | BPF_F_WRONLY_PROG
NUMA_NO_NODE = 0xFFFFFFFF


def round_up(size: int, to: int) -> int:
    """Round ``size`` up to a multiple of ``to``."""
    return -(-size // to) * to


def roundup_pow_of_two(number: int) -> int:
    """Smallest power of two that is at least ``number`` (1 for 0 and 1)."""
    return 1 << max(number - 1, 0).bit_length()


class MapTable(Protocol):
    """The live maps, as map types use them."""

    def get(self, map_id: int) -> MapType: ...

    def of_type(self, name: str) -> list[MapType]: ...

    def inc(self, map_id: int, user: bool) -> None: ...

    def put(self, map_id: int, user: bool) -> None: ...


class ProgTable(Protocol):
    """The loaded programs, as map types use them."""

    ids: Ids

    def get(self, prog_id: int) -> ProgRecord: ...

    def inc(self, prog_id: int) -> None: ...

    def put(self, prog_id: int) -> None: ...


class MapHost(Protocol):
    """What a map type has around it: the machine, other maps, and programs."""

    @property
    def maps(self) -> MapTable: ...

    @property
    def progs(self) -> ProgTable: ...

    @property
    def storage(self) -> Storage: ...

    @property
    def config(self) -> Config: ...

    @property
    def profile(self) -> Profile: ...

    @property
    def ctx(self) -> Context: ...

    @property
    def mm(self) -> Allocators: ...

    @property
    def memcg(self) -> MemcgTree: ...

    @property
    def memlock(self) -> MemlockAccount: ...

    @property
    def files(self) -> FileTable: ...

    @property
    def objects(self) -> SimObjects: ...

    def task(self, pid: int) -> Task: ...

    def current_objcg(self) -> int: ...

    def require(self, task: Task, capability: str) -> None:
        """Test a capability: "", "bpf" or "net_admin".

        :raises KernelError: EPERM.
        """
        ...

    def notify(self, event: str, **arguments: Any) -> None: ...


class MapType(MapFacts, ABC):
    """Base of all map types. Sizes are bytes, counts are entries."""

    def __init__(self, kernel: MapHost, rec: MapRecord) -> None:
        self.kernel = kernel
        self.rec = rec
        self.creating = False
        self.mem = Mem(kernel.mm, "map", rec.id, rec.objcg)
        self._cells: Cells | None = None

    # --- to be written by a type -----------------------------------------

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        """Refuse bad attributes before anything else is looked at (map_alloc_check)."""

    def attr_check(self, attr: MapCreateAttr, task: Task) -> None:
        """Refuse bad attributes as map_alloc() does, after the capability test."""

    def memlock_cost(self, bypass_spec_v1: bool) -> int:
        """Estimate, in bytes, what the rlimit era charges when the map is created."""
        raise KernelError(E.NOTSUPP, f"{self.name} did not exist before 5.11")

    @abstractmethod
    def alloc(self) -> None:
        """Allocate what a new map needs, through ``self.mem``; set up ``rec.priv``.

        Whatever was allocated when this raises is freed by the caller.
        """

    def free(self) -> None:
        """Let go of what elements hold (references, other objects). Memory is freed by the
        caller."""

    @abstractmethod
    def mem_usage(self) -> int:
        """Return map_mem_usage(), what fdinfo shows as memlock since 6.4, in bytes."""

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        """Return the value of ``key`` for a system call.

        ``value`` is what the caller's value buffer held, for types that read it.
        """
        raise KernelError(E.NOTSUPP)

    def prog_lookup(self, key: bytes) -> bytes | None:
        """Return what bpf_map_lookup_elem() gives a program, None for NULL."""
        try:
            return self.lookup(key)
        except KernelError:
            return None

    def prog_found(self, key: bytes) -> bool:
        """Told that a program looks up a resident ``key``; False: give it NULL."""
        return True

    def lookup_each(self, keys: Sequence[bytes], from_prog: bool) -> list[bytes | None]:
        """Look ``keys`` up one after the other, by a program or a system call; None: no element.

        A type that has a quicker way than one call a key may say so here; results are the same.
        """
        if from_prog:
            return [self.prog_lookup(key) for key in keys]
        return [self._lookup_or_none(key) for key in keys]

    def _lookup_or_none(self, key: bytes) -> bytes | None:
        try:
            return self.lookup(key)
        except KernelError as exc:
            if exc.code != E.NOENT:
                raise
            return None

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        """Store ``value``; ``flags`` are checked by the type."""
        raise KernelError(E.NOTSUPP)

    def delete(self, key: bytes) -> None:
        """Remove ``key``."""
        raise KernelError(E.NOTSUPP)

    def prog_update(self, key: bytes, value: bytes, flags: int) -> None:
        """Store a value for a program; ``value`` is a whole one also of a per-CPU map."""
        self.update(key, value, flags)

    def next_key(self, key: bytes | None) -> bytes:
        """Return the key behind ``key``, the first for None or an unknown key."""
        raise KernelError(E.NOTSUPP)

    def lookup_and_delete(self, key: bytes, flags: int) -> bytes:
        """Return the value and remove the element."""
        raise KernelError(E.NOTSUPP)

    def mmap(self, offset: int, length: int, writable: bool) -> None:
        """Check a shared mapping of ``length`` bytes at ``offset``."""
        raise KernelError(E.NOTSUPP)

    def get_unmapped_area(self, addr: int, free: int, length: int, offset: int) -> int:
        """Return the address to map at: ``addr`` if asked for (not 0), else ``free`` or above."""
        return addr or free

    def mapped(self, start: int, length: int) -> None:
        """Told that a task mapped ``length`` bytes at address ``start``."""

    def mapped_read(self, offset: int, size: int) -> bytes:
        """Return what a process reads through a mapping; ``offset`` as in :meth:`mmap`."""
        raise KernelError(E.NOTSUPP)

    def mapped_write(self, offset: int, content: bytes) -> None:
        """Store what a process writes through a mapping."""
        raise KernelError(E.NOTSUPP)

    def direct_value_size(self) -> int:
        """Return how many bytes behind the address of its value programs may name
        (map_direct_value_addr).

        :raises KernelError: EINVAL: it has no such address.
        """
        raise KernelError(E.INVAL, f"{self.name} has no direct values")

    def check_btf(self, key_type: Any, value_type: Any) -> None:
        """Refuse BTF types of key and value that the type cannot have (map_check_btf)."""
        if key_type is None:
            raise KernelError(E.INVAL, "key type")

    def meta_equal(self, template: MapRecord) -> bool:
        """Tell whether this map may stand where ``template`` was given as inner map."""
        rec = self.rec
        return (
            rec.type == template.type
            and rec.key_size == template.key_size
            and rec.value_size == template.value_size
            and rec.map_flags == template.map_flags
        )

    def object_gone(self, found: SimObject) -> None:
        """Remove the elements that refer to an object whose life ends now."""

    def release_uref(self) -> None:
        """Act on the loss of the last descriptor or pin."""

    def fill(self, entries: int) -> None:
        """Allocate and charge what ``entries`` distinct inserts would, without the elements.

        For sizing: the figures equal those of real inserts from one CPU. Types whose elements
        are all allocated at creation have nothing to do.
        """

    # --- the generic batch operations; see bpfctl.kernel.bpf.batch -------------

    def batch_rows(
        self, cursor: bytes | None, count: int
    ) -> tuple[list[tuple[bytes, bytes]], bytes | None, int]:
        """Read up to ``count`` elements from ``cursor`` (generic_map_lookup_batch).

        :return: elements, the next cursor, and an errno (ENOENT at the end).
        """
        rows: list[tuple[bytes, bytes]] = []
        key = cursor
        while len(rows) < count:
            try:
                key = self.next_key(key)
            except KernelError as exc:
                return rows, key, exc.code
            try:
                rows.append((key, self.lookup(key)))
            except KernelError as exc:
                if exc.code != E.NOENT:
                    return rows, key, exc.code
        return rows, key, 0

    # --- what types use ----------------------------------------------------

    def attached(self, path: str, attach_type: int) -> None:
        """A program that uses this map is being attached to the cgroup at ``path``."""

    def prog_compatible(self, prog: ProgRecord) -> bool:
        """Tell whether ``prog`` is of the kind that the map is for (bpf_prog_map_compatible).

        The first program that is asked about decides what the map is for.
        """
        kind = {"type": prog.type, "jited": int(prog.jited_len > 0)}
        if not self.rec.owner:
            self.rec.owner = kind
        return self.rec.owner == kind

    @property
    def cells(self) -> Cells:
        """The elements."""
        if self._cells is None:
            self._cells = self.kernel.storage.cells(self.rec.id)
        return self._cells

    def use_cells(self, cells: Cells) -> None:
        """Work on other cells, those of a map whose values are in the memory of programs."""
        self._cells = cells

    @property
    def prealloc(self) -> bool:
        """Tell whether all elements are allocated at creation (BPF_F_NO_PREALLOC not set)."""
        return not self.rec.map_flags & BPF_F_NO_PREALLOC

    @property
    def cpus(self) -> int:
        """Number of possible CPUs."""
        return self.kernel.config.possible_cpus

    def sizeof(self, struct: str) -> int:
        """Bytes of a kernel struct in this kernel's profile."""
        return self.kernel.profile.sizeof(struct)

    def page_align(self, size: int) -> int:
        """Round ``size`` up to whole pages."""
        return page_align(size, self.kernel.config.page_size)

    def account(self, site: str = "") -> int:
        """Return GFP_ACCOUNT if allocations of ``site`` (default: the family) are accounted."""
        if self.kernel.config.cgroup_memory == "nobpf":
            return 0
        return GFP_ACCOUNT if self.kernel.profile.accounts(site or self.family) else 0

    def area_alloc(self, label: str, size: int) -> None:
        """Allocate map storage, charged to the creating task (bpf_map_area_alloc)."""
        self.mem.area_alloc(label, size, self.account("area"))

    def struct_alloc(self, label: str, size: int) -> None:
        """Allocate the map struct: kzalloc before 6.0, bpf_map_area_alloc since."""
        if self.kernel.profile.accounting.map_struct == "area":
            self.area_alloc(label, size)
        else:
            self.mem.kmalloc(label, size, GFP_USER | self.account())

    def map_mem(self) -> Mem:
        """Return the allocators of bpf_map_kmalloc_node() and bpf_map_alloc_percpu().

        They charge the map's creator, or (v7 of the series) the current task outside of
        interrupts. While the map is created kernels since 6.0 charge nobody.
        """
        accounting = self.kernel.profile.accounting
        if self.creating:
            if not accounting.creation_hole:
                return self.mem
            return Mem(self.mem.mm, "map", self.rec.id, 0)
        if accounting.updates_charge == "current" and not self.kernel.ctx.in_interrupt:
            objcg = self.kernel.current_objcg()
            return Mem(self.mem.mm, "map", self.rec.id, objcg)
        return self.mem

    def update_gfp(self) -> int:
        """Return the GFP flags of allocations made by an update."""
        accounting = self.kernel.profile.accounting
        if self.family in accounting.atomic_families:
            return GFP_ATOMIC | self.account()
        return GFP_BY_NAME[accounting.update_gfp] | self.account()

    def next_seq(self) -> int:
        """Return a number that grows with every call on this map."""
        self.rec.seq += 1
        return self.rec.seq

    def check_percpu_flags(self, flags: int) -> int:
        """Refuse update flags that a per-CPU type does not take; return those that name CPUs."""
        known = self.kernel.profile.checks.cpu_flags
        named = flags & (BPF_F_CPU | BPF_F_ALL_CPUS) if known else 0
        plain = flags & U32_MAX if known else flags
        if plain > (BPF_F_ALL_CPUS if named else BPF_EXIST) or flags & BPF_F_LOCK:
            raise KernelError(E.INVAL, f"flags {flags:#x}")
        return named

    def one_value(self, stored: bytes, value: bytes, flags: int) -> bytes:
        """Return the value of all CPUs after an update with BPF_F_CPU or BPF_F_ALL_CPUS.

        ``stored`` is what was there before, ``value`` what one CPU gets.
        """
        slot = value.ljust(round_up(self.rec.value_size, 8), b"\0")
        if flags & BPF_F_ALL_CPUS:
            return slot * self.cpus
        start = len(slot) * (flags >> CPU_SHIFT)
        return stored[:start] + slot + stored[start + len(slot) :]

    @staticmethod
    def check_access_flags(flags: int, allowed: int) -> None:
        """Refuse flags outside of ``allowed``, and both PROG flags together."""
        both = BPF_F_RDONLY_PROG | BPF_F_WRONLY_PROG
        if flags & ~allowed or flags & both == both:
            raise KernelError(E.INVAL, f"map_flags {flags:#x}")

    @staticmethod
    def numa_node(attr: MapCreateAttr) -> int:
        """Return the node asked for, NUMA_NO_NODE for none."""
        return attr.numa_node if attr.map_flags & BPF_F_NUMA_NODE else NUMA_NO_NODE

    def check_lock(self, flags: int) -> None:
        """Refuse BPF_F_LOCK for values without a lock.

        :raises KernelError: EINVAL.
        """
        if flags & BPF_F_LOCK and "spin_lock" not in self.rec.fields:
            raise KernelError(E.INVAL, "no bpf_spin_lock in the value")

    @staticmethod
    def check_update_flags(flags: int) -> None:
        """Refuse update flags above BPF_EXIST, BPF_F_LOCK aside."""
        if flags & ~BPF_F_LOCK > 2:
            raise KernelError(E.INVAL, f"flags {flags:#x}")

    def need_capability(self, task: Task) -> None:
        """Test the capability within alloc_check, where old kernels do.

        :raises KernelError: EPERM.
        """
        if self.kernel.profile.checks.capability == "type":
            self.kernel.require(task, self.capability)
