"""Maps as programs see them: an address, and the operations of the map helpers.

Errors are those of the map type, raised as KernelError; helpers turn them into negative numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.errors import E, KernelError
from bpfctl.kernel.bpf.vm.arena import Region
from bpfctl.kernel.bpf.vm.resident import ResidentCells, ResidentTable, make_resident, prog_perm

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapType
    from bpfctl.kernel.bpf.vm.vm import Vm

MIRROR_BYTES = 64
MIRROR_MAX_ENTRIES = 36
"""Where struct bpf_map keeps max_entries, for programs that follow the pointer."""


class MapHandle:
    """A map that a program uses. ``addr`` stands for it in registers.

    ``addr`` is the start of a read-only mirror of struct bpf_map.
    """

    def __init__(self, vm: Vm, map_: MapType) -> None:
        self.vm = vm
        self.map = map_
        self.rec = map_.rec
        self.id = map_.rec.id
        self._mirror: Region = vm.arena.alloc(MIRROR_BYTES, "mirror", 1, self.id)
        self.addr = self._mirror.start
        self.resident: ResidentTable | ResidentCells | None = make_resident(map_, vm.arena)
        self._slot = -(-self.rec.value_size // 8) * 8
        self._copies: dict[bytes, tuple[Region, bytes]] = {}
        self._fill_mirror()

    def _fill_mirror(self) -> None:
        rec = self.rec
        words = (rec.type, rec.key_size, rec.value_size, rec.max_entries)
        packed = b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)
        self.vm.arena.poke(self.addr + MIRROR_MAX_ENTRIES - 12, packed)

    # --- values ------------------------------------------------------------

    def address(self, key: bytes, cpu: int = 0) -> int:
        """Return where the value of ``key`` is (bpf_map_lookup_elem), 0 for NULL."""
        if self.resident is not None and not self.map.prog_found(key):
            return 0
        return self.value_at(key, cpu)

    def value_at(self, key: bytes, cpu: int = 0) -> int:
        """Return where a value is, as :meth:`address`, without counting as its use."""
        map_ = self.map
        if self.resident is not None:
            addr = self.resident.address(key)
            return addr + cpu * self._slot if addr and map_.percpu else addr
        if map_.is_map_in_map:
            return self._inner(key)
        return self._copy(key, cpu)

    def all_keys(self) -> list[bytes]:
        """Return the keys of all elements, in the order of a walk."""
        found: list[bytes] = []
        key = None
        while True:
            try:
                key = self.map.next_key(key)
            except KernelError:
                return found
            found.append(key)

    def _inner(self, key: bytes) -> int:
        cell = self.map.cells.get(key)
        return self.vm.handle(int.from_bytes(cell[0], "little")).addr if cell else 0

    def _copy(self, key: bytes, cpu: int) -> int:
        """Serve a type that has no values in memory: copy one out, write it back later."""
        held = self._copies.get(key)
        if held is None:
            value = self.map.prog_lookup(key)
            if value is None:
                return 0
            perm = prog_perm(self.rec.map_flags)
            region = self.vm.arena.alloc(len(value), "map", perm, self.id)
            self.vm.arena.poke(region.start, value)
            held = self._copies[key] = (region, value)
        return held[0].start + (cpu * self._slot if self.map.percpu else 0)

    def element_at(self, addr: int) -> tuple[bytes, int] | None:
        """Return key and offset of the value that ``addr`` is in, None outside of all values."""
        size = self._slot * (self.map.cpus if self.map.percpu else 1)
        resident = self.resident
        if isinstance(resident, ResidentTable):
            index, offset = divmod(addr - resident.region.start, size)
            if 0 <= index < self.rec.max_entries:
                return index.to_bytes(4, "little"), offset
        elif isinstance(resident, ResidentCells):
            for name, start in resident.table.items():
                if start <= addr < start + size:
                    if isinstance(name, int):
                        name = name.to_bytes(self.rec.key_size, "little")
                    return name, addr - start
        return None

    def address_of(self, key: bytes, cpu: int = 0) -> int:
        """Return where a value is without a lookup that its type would notice, 0 for none."""
        if self.resident is None:
            return self.address(key, cpu)
        addr = self.resident.address(key)
        return addr + cpu * self._slot if addr and self.map.percpu else addr

    def values(self) -> int:
        """Return the address of the first value of an array, for direct access."""
        if isinstance(self.resident, ResidentTable):
            return self.resident.region.start
        return self.address(bytes(self.rec.key_size))

    # --- changes by programs --------------------------------------------------

    def update(self, key: bytes, value: bytes, flags: int, cpu: int = 0) -> None:
        """Update an element as a program on ``cpu`` does: only its own per-CPU value.

        :raises KernelError: what the type says.
        """
        map_ = self.map
        if map_.percpu and not map_.fd_values:
            value = self._percpu_value(key, value, cpu)
        self.write_back()
        map_.prog_update(key, value, flags)

    def _percpu_value(self, key: bytes, value: bytes, cpu: int) -> bytes:
        slot, copies = self._slot, self.map.cpus
        try:
            whole = bytearray(self.map.lookup(key))
        except KernelError:
            whole = bytearray(slot * copies)
        if len(whole) != slot * copies:
            whole = bytearray(slot * copies)
        whole[cpu * slot : cpu * slot + len(value)] = value
        return bytes(whole)

    def delete(self, key: bytes) -> None:
        """Delete an element.

        :raises KernelError: what the type says.
        """
        self.write_back()
        self.map.delete(key)

    def write_back(self) -> None:
        """Store what programs wrote into copied values."""
        if not self._copies:
            return
        held, self._copies = self._copies, {}
        for key, (region, was) in held.items():
            now = bytes(self.vm.arena.buf[region.start : region.start + len(was)])
            if now != was:
                try:
                    self.map.update(key, now, 0)
                except KernelError as exc:
                    if exc.code not in (E.NOENT, E.INVAL, E.NOTSUPP):
                        raise
            self.vm.retire(region)

    def flush(self) -> None:
        """Write everything that programs changed back to the storage."""
        self.write_back()
        if self.resident is not None:
            self.resident.flush()
            self.resident.settle()

    def release(self) -> None:
        """Leave the arena: the map is gone."""
        for region, _ in self._copies.values():
            self.vm.arena.free(region)
        if self.resident is not None:
            self.resident.release()
        self.vm.arena.free(self._mirror)

    def prog_id(self, index: int) -> int:
        """Return the program in a slot of a program array, 0 for none."""
        if index >= self.rec.max_entries:
            return 0
        cell = self.map.cells.get(index.to_bytes(4, "little"))
        return int.from_bytes(cell[0], "little") if cell else 0
