"""mmap(2) of BPF maps: what is mapped where, who may write, what a mapping costs.

A mapping is a ``vm_area_struct`` and page tables, charged to the task that maps. It holds the map.
Which bytes of a map lie in which page is the map type's business (``mapped_read`` and
``mapped_write`` of :class:`~bpfctl.kernel.bpf.map.MapType`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.fs import FMODE_READ, FMODE_WRITE
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.mm.gfp import GFP_KERNEL, GFP_KERNEL_ACCOUNT
from bpfctl.kernel.mm.page import page_align
from bpfctl.kernel.records import File, Mapping, Task
from bpfctl.uapi import BPF_F_RDONLY_PROG

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost, MapType

# Where the first mapping of a task goes, and the end of its address space (x86-64).
MMAP_BASE = 0x7F0000000000
TASK_SIZE = 0x7FFFFFFFF000
POINTER = 8

VMA, VMA_LOCK, TABLE = "vma", "vma_lock", "pagetable"


class Mappings:
    """All mappings of maps. Lengths and offsets are bytes."""

    def __init__(self, kernel: MapHost) -> None:
        self._kernel = kernel
        self.records = kernel.storage.registry(Mapping)
        self.ids = Ids(kernel.storage, "mapping_id", self.records)  # type: ignore[arg-type]

    # --- mmap and munmap -------------------------------------------------

    def mmap(
        self,
        task: Task,
        fd: int,
        offset: int,
        length: int,
        writable: bool,
        shared: bool = True,
        addr: int = 0,
    ) -> int:
        """Map part of a map and return the mapping's id (do_mmap, bpf_map_mmap).

        With ``addr`` at that address and nowhere else (MAP_FIXED_NOREPLACE).

        :raises KernelError: EBADF; ENODEV (not a map); EINVAL (offset, length, a private mapping,
            what the type refuses); EACCES (mode of the descriptor, BPF_F_RDONLY_PROG); EPERM
            (frozen, or not to be written there); EEXIST (``addr`` is taken); 524 for types that
            cannot be mapped; ENOMEM.
        """
        size = self._kernel.config.page_size
        if offset % size:
            raise KernelError(E.INVAL, f"offset {offset}")
        file = self._kernel.files.get(task.pid, fd)
        if length <= 0:
            raise KernelError(E.INVAL, f"length {length}")
        length = page_align(length, size)
        found = self._kernel.maps.get(file.obj_id) if file.obj_kind == "map" else None
        start = self._place(task, found, addr, length, offset)
        self._check_mode(file, writable, shared)
        if found is None:
            raise KernelError(E.NODEV, file.obj_kind)
        objcg = self._kernel.memcg.objcg_of(task)
        new = Mapping(
            self.ids.peek(), task.pid, found.rec.id, start, offset, length, int(writable), objcg
        )
        # A descriptor that cannot write makes a mapping that is not really shared.
        self._set_up(found, new, shared and bool(file.fmode & FMODE_WRITE))
        self.records.add(new)
        self.ids.take()
        self._hold(found, new)
        found.mapped(start, length)
        return new.id

    def _place(self, task: Task, found: MapType | None, addr: int, length: int, offset: int) -> int:
        mine = list(self.records.find(pid=task.pid))
        free = max([MMAP_BASE, *(other.start + other.length for other in mine)])
        start = addr or free
        if found is not None:
            start = found.get_unmapped_area(addr, free, length, offset)
        if start % self._kernel.config.page_size:
            raise KernelError(E.INVAL, f"address {start:#x}")
        if start + length > TASK_SIZE:
            raise KernelError(E.NOMEM, "beyond the address space")
        for other in mine:
            if start < other.start + other.length and other.start < start + length:
                raise KernelError(E.EXIST, f"address {start:#x} is mapped")
        return start

    @staticmethod
    def _check_mode(file: File, writable: bool, shared: bool) -> None:
        need = FMODE_READ | (FMODE_WRITE if writable and shared else 0)
        if need & ~file.fmode:
            raise KernelError(E.ACCES, "mode of the descriptor")

    def _set_up(self, found: MapType, new: Mapping, shared: bool) -> None:
        mem = self._mem(new)
        sizeof = self._kernel.profile.sizeof
        try:
            mem.kmem_cache_alloc(VMA, sizeof("vm_area_struct"), GFP_KERNEL, reclaimable=False)
            if sizeof("vma_lock"):
                mem.kmem_cache_alloc(VMA_LOCK, sizeof("vma_lock"), GFP_KERNEL, reclaimable=False)
            self._check(found, new, shared)
            if not found.faults:
                self._add_tables(new, 0, new.length)
        except BaseException:
            mem.free_all()
            raise

    def _check(self, found: MapType, new: Mapping, shared: bool) -> None:
        """Ask whether the map may be mapped so, in the order of bpf_map_mmap()."""
        rec = found.rec
        if not found.mmapable or rec.fields:
            raise KernelError(E.NOTSUPP, f"{found.name} cannot be mapped")
        if not shared:
            raise KernelError(E.INVAL, "not a shared mapping")
        if new.writable and rec.frozen:
            raise KernelError(E.PERM, "frozen")
        if new.writable and rec.map_flags & BPF_F_RDONLY_PROG:
            raise KernelError(E.ACCES, "BPF_F_RDONLY_PROG")
        found.mmap(new.offset, new.length, bool(new.writable))
        # Before "mm: convert page kmemcg type to a page memcg flag" the mark of an accounted page
        # lay over the count of its user mappings; vm_insert_page() refuses such a page.
        if not self._kernel.profile.accounting.accounted_pages_mappable and any(
            alloc.objcg and alloc.allocator in ("vmalloc", "page")
            for alloc in found.mem.allocations()
        ):
            raise KernelError(E.INVAL, "accounted pages cannot be mapped before patch 4")

    def _hold(self, found: MapType, new: Mapping) -> None:
        self._kernel.maps.inc(found.rec.id, user=True)
        found.rec.mappings += new.writable

    def munmap(self, pid: int, mapping_id: int) -> None:
        """Undo a whole mapping; page tables and all go back.

        :raises KernelError: EINVAL for a mapping that the task does not have.
        """
        mapping = self.records.get(mapping_id)
        if mapping is None or mapping.pid != pid:
            raise KernelError(E.INVAL, f"mapping {mapping_id}")
        self._mem(mapping).free_all()
        self.records.remove(mapping.id)
        self._kernel.maps.get(mapping.map_id).rec.mappings -= mapping.writable
        self._kernel.maps.put(mapping.map_id, user=True)

    def of_task(self, pid: int) -> list[Mapping]:
        """Return the mappings of a task."""
        return list(self.records.find(pid=pid))

    def drop_task(self, pid: int) -> None:
        """Undo all mappings of a task that ends (exit_mm)."""
        for mapping in self.of_task(pid):
            self.munmap(pid, mapping.id)

    def fork(self, parent: int, child: int) -> None:
        """Give a child what its parent has mapped (dup_mmap); the child's cgroup pays its part."""
        objcg = self._kernel.memcg.objcg_of(self._kernel.task(child))
        for mapping in self.of_task(parent):
            found = self._kernel.maps.get(mapping.map_id)
            copy = Mapping(
                self.ids.take(),
                child,
                mapping.map_id,
                mapping.start,
                mapping.offset,
                mapping.length,
                mapping.writable,
                objcg,
            )
            self.records.add(copy)
            mem = self._mem(copy)
            for alloc in self._mem(mapping).allocations():
                if alloc.label in (VMA, VMA_LOCK):
                    mem.kmem_cache_alloc(alloc.label, alloc.size, GFP_KERNEL, reclaimable=False)
            self._hold(found, copy)

    # --- page tables -----------------------------------------------------

    def _mem(self, mapping: Mapping) -> Mem:
        return Mem(self._kernel.mm, "mapping", mapping.id, mapping.objcg)

    def _add_tables(self, mapping: Mapping, at: int, size: int) -> None:
        """Allocate the last-level page tables that lead to ``size`` bytes at ``at``."""
        page = self._kernel.config.page_size
        reach = page // POINTER * page
        first = (mapping.start + at) // reach
        last = (mapping.start + at + size - 1) // reach
        present = mapping.priv.setdefault("tables", [])
        missing = [number for number in range(first, last + 1) if number not in present]
        if missing:
            self._mem(mapping).alloc_pagetables(TABLE, len(missing), GFP_KERNEL_ACCOUNT)
            present.extend(missing)

    # --- loads and stores ------------------------------------------------

    def read(self, pid: int, mapping_id: int, at: int, size: int) -> bytes:
        """Return ``size`` bytes at ``at`` of a mapping.

        :raises KernelError: EFAULT where a process would get SIGSEGV.
        """
        mapping, found = self._access(pid, mapping_id, at, size)
        return found.mapped_read(mapping.offset + at, size)

    def write(self, pid: int, mapping_id: int, at: int, content: bytes) -> None:
        """Store ``content`` at ``at`` of a mapping.

        :raises KernelError: EFAULT where a process would get SIGSEGV.
        """
        mapping, found = self._access(pid, mapping_id, at, len(content))
        if not mapping.writable:
            raise KernelError(E.FAULT, f"mapping {mapping_id} is read-only")
        found.mapped_write(mapping.offset + at, content)

    def _access(self, pid: int, mapping_id: int, at: int, size: int) -> tuple[Mapping, MapType]:
        mapping = self.records.get(mapping_id)
        if mapping is None or mapping.pid != pid:
            raise KernelError(E.FAULT, f"mapping {mapping_id}")
        if at < 0 or size < 0 or at + size > mapping.length:
            raise KernelError(E.FAULT, f"{size} bytes at {at} of {mapping.length}")
        if size:
            self._add_tables(mapping, at, size)
        return mapping, self._kernel.maps.get(mapping.map_id)
