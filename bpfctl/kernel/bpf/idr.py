"""Ids and reference counts of maps and BTF objects (map_idr and friends of syscall.c)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl import plugins
from bpfctl.errors import E, KernelError
from bpfctl.kernel.ids import Ids
from bpfctl.kernel.records import BtfRecord, MapRecord, SimObject
from bpfctl.kernel.storage import Registry, Storage

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost, MapType


class Maps:
    """Live maps. References: ``refcnt`` of descriptors, pins and holders; ``usercnt`` of the
    first two.

    ``unheld`` is told of a map that no process holds any more, ``freed`` of one that is gone.
    """

    def __init__(self, kernel: MapHost) -> None:
        self._kernel = kernel
        self.records: Registry[MapRecord] = kernel.storage.registry(MapRecord)
        self.ids = Ids(kernel.storage, "map_id", self.records)  # type: ignore[arg-type]
        self.unheld: list[Callable[[MapRecord], None]] = []
        self.freed: list[Callable[[MapRecord], None]] = []
        self._live: dict[int, MapType] = {}

    def type_class(self, number: int) -> type[MapType]:
        """Return the class of a map type number.

        :raises KernelError: EINVAL when this kernel has no such type.
        """
        cls = plugins.type_class(number)
        if cls is None or not cls.offered(self._kernel.profile):
            raise KernelError(E.INVAL, f"map type {number}")
        return cls

    def get(self, map_id: int) -> MapType:
        """Return a live map.

        :raises KernelError: ENOENT.
        """
        found = self._live.get(map_id)
        if found is None:
            rec = self.records.get(map_id)
            if rec is None:
                raise KernelError(E.NOENT, f"map {map_id}")
            found = self._live[map_id] = self._made(rec)
        return found

    def _made(self, rec: MapRecord) -> MapType:
        reason = ""
        try:
            cls = plugins.type_class(rec.type)
        except plugins.PluginError as exc:
            cls, reason = None, exc.text
        if cls is not None:
            return cls(self._kernel, rec)
        from bpfctl.kernel.bpf.orphan import OrphanMap

        return OrphanMap(self._kernel, rec, reason)

    def of_type(self, name: str) -> list[MapType]:
        """Return all live maps of a type."""
        records = self.records.find(type=plugins.type_number(name))
        return [self.get(rec.id) for rec in list(records)]

    def object_gone(self, gone: SimObject) -> None:
        """Take an object that has ended out of the maps that refer to it."""
        for map_id in [int(word) for word in gone.priv.get("maps", ())]:
            self.get(map_id).object_gone(gone)
        if gone.kind == "netdev":
            # The kernel walks all device maps: an entry of every slot may be this device.
            for family in ("devmap", "devmap_hash"):
                for found in self.of_type(family):
                    found.object_gone(gone)

    def add(self, created: MapType) -> None:
        """Make a new map known under its id."""
        self.records.add(created.rec)
        self._live[created.rec.id] = created

    def inc(self, map_id: int, user: bool) -> None:
        """Take a reference; ``user``: a descriptor or pin."""
        rec = self.get(map_id).rec
        rec.refcnt += 1
        rec.usercnt += user

    def put(self, map_id: int, user: bool) -> None:
        """Drop a reference; the last one frees the map (bpf_map_put)."""
        found = self.get(map_id)
        rec = found.rec
        if user:
            rec.usercnt -= 1
            if rec.usercnt == 0:
                found.release_uref()
                for told in self.unheld:
                    told(rec)
        rec.refcnt -= 1
        if rec.refcnt == 0:
            self._free(found)

    def _free(self, dead: MapType) -> None:
        rec = dead.rec
        for told in self.unheld:
            told(rec)
        dead.free()
        self.discard(dead)
        self.records.remove(rec.id)
        self._live.pop(rec.id, None)
        for told in self.freed:
            told(rec)

    def discard(self, dead: MapType) -> None:
        """Give back memory and charges of a map."""
        dead.mem.free_all()
        dead.cells.clear()
        if dead.rec.memlock_pages:
            self._kernel.memlock.uncharge(dead.rec.uid, dead.rec.memlock_pages)
            dead.rec.memlock_pages = 0


class Btfs:
    """Loaded BTF objects, referenced by descriptors, maps and programs."""

    def __init__(self, storage: Storage) -> None:
        self.records: Registry[BtfRecord] = storage.registry(BtfRecord)
        self.ids = Ids(storage, "btf_id", self.records)  # type: ignore[arg-type]

    def get(self, btf_id: int) -> BtfRecord:
        """Return a loaded BTF.

        :raises KernelError: ENOENT.
        """
        found = self.records.get(btf_id)
        if found is None:
            raise KernelError(E.NOENT, f"btf {btf_id}")
        return found

    def inc(self, btf_id: int) -> None:
        """Take a reference."""
        self.get(btf_id).refcnt += 1

    def put(self, btf_id: int) -> None:
        """Drop a reference; the last one frees the object."""
        found = self.get(btf_id)
        found.refcnt -= 1
        if found.refcnt == 0:
            self.records.remove(btf_id)
