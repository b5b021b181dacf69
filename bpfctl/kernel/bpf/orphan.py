"""Maps of a type that no installed plugin offers: they can be listed and let go, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from bpfctl.errors import PluginMissing
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.records import Alloc, MapRecord, Task

if TYPE_CHECKING:
    from bpfctl.kernel.bpf.map import MapHost
    from bpfctl.uapi import MapCreateAttr

# What a map of a third party's type remembers of where it came from.
ORIGIN = "plugin"


class OrphanMap(MapType):
    """Stands in for the missing class. What the map holds alive stays held."""

    name = "orphan"
    family = "orphan"

    def __init__(self, kernel: MapHost, rec: MapRecord, reason: str = "") -> None:
        super().__init__(kernel, rec)
        self._reason = reason

    def _missing(self) -> NoReturn:
        origin = self.rec.priv.get(ORIGIN) or {}
        kind, package = origin.get("type", ""), origin.get("package", "")
        named = f"of type {kind}" if kind else "of an unknown type"
        what = f" of {package}" if package else ""
        why = self._reason or "no installed plugin offers it"
        raise PluginMissing(
            f"map {self.rec.id} is {named}{what}: {why}",
            hint=f"install {package or 'the plugin that it was created with'}; without it the map "
            "can be shown and unpinned",
        )

    def alloc(self) -> None:
        self._missing()

    def mem_usage(self) -> int:
        """Return what its live allocations are charged, in bytes: the type knows better."""
        allocs = self.kernel.storage.registry(Alloc).find(owner_kind="map", owner_id=self.rec.id)
        return sum(alloc.nr * alloc.charge for alloc in allocs)

    def alloc_check(self, attr: MapCreateAttr, task: Task) -> None:
        self._missing()

    def lookup(self, key: bytes, value: bytes | None = None) -> bytes:
        self._missing()

    def update(self, key: bytes, value: bytes, flags: int) -> None:
        self._missing()

    def delete(self, key: bytes) -> None:
        self._missing()

    def next_key(self, key: bytes | None) -> bytes:
        self._missing()

    def lookup_and_delete(self, key: bytes, flags: int) -> bytes:
        self._missing()
