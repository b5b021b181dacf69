"""The kinds of BPF objects, each described once: references, ids, info, fdinfo, pinning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol

from bpfctl.kernel.bpf.idr import Btfs, Maps
from bpfctl.kernel.bpf.prog import Progs
from bpfctl.kernel.ids import Ids
from bpfctl.uapi import BtfInfo, MapInfo


class Tables(Protocol):
    """Where the objects are."""

    @property
    def maps(self) -> Maps: ...

    @property
    def progs(self) -> Progs: ...

    @property
    def btfs(self) -> Btfs: ...

    def memlock_shown(self, map_id: int) -> int: ...


class ObjectKind(ABC):
    """What system calls do with objects of one kind, whatever the kind."""

    name: ClassVar[str]
    """The word for it: obj_kind of open files and pins."""
    pinnable: ClassVar[bool] = True
    """BPF_OBJ_PIN takes it."""

    def __init__(self, kernel: Tables) -> None:
        self.kernel = kernel

    @property
    @abstractmethod
    def ids(self) -> Ids:
        """The ids given out, for BPF_*_GET_NEXT_ID."""

    @abstractmethod
    def inc(self, obj_id: int) -> None:
        """Take a descriptor's or pin's reference.

        :raises KernelError: ENOENT.
        """

    @abstractmethod
    def put(self, obj_id: int) -> None:
        """Drop one; the last frees the object."""

    @abstractmethod
    def info(self, obj_id: int) -> Any:
        """Return what BPF_OBJ_GET_INFO_BY_FD tells."""

    def fdinfo(self, obj_id: int) -> dict[str, str]:
        """Return the lines of /proc/PID/fdinfo/FD that are about the object."""
        return {}


class MapKind(ObjectKind):
    """Maps: user space's references count twice, see :class:`~bpfctl.kernel.bpf.idr.Maps`."""

    name = "map"

    @property
    def ids(self) -> Ids:
        return self.kernel.maps.ids

    def inc(self, obj_id: int) -> None:
        self.kernel.maps.inc(obj_id, user=True)

    def put(self, obj_id: int) -> None:
        self.kernel.maps.put(obj_id, user=True)

    def info(self, obj_id: int) -> MapInfo:
        rec = self.kernel.maps.get(obj_id).rec
        return MapInfo(
            rec.type,
            rec.id,
            rec.key_size,
            rec.value_size,
            rec.max_entries,
            rec.map_flags,
            rec.name,
            rec.ifindex,
            rec.btf_vmlinux_value_type_id,
            rec.btf_id,
            rec.btf_key_type_id,
            rec.btf_value_type_id,
            rec.map_extra,
        )

    def fdinfo(self, obj_id: int) -> dict[str, str]:
        rec = self.kernel.maps.get(obj_id).rec
        info = {
            "map_type": str(rec.type),
            "key_size": str(rec.key_size),
            "value_size": str(rec.value_size),
            "max_entries": str(rec.max_entries),
            "map_flags": f"{rec.map_flags:#x}",
            "map_extra": f"{rec.map_extra:#x}",
            "memlock": str(self.kernel.memlock_shown(obj_id)),
            "map_id": str(rec.id),
            "frozen": str(rec.frozen),
        }
        owner = rec.owner
        if owner:
            info["owner_prog_type"] = str(owner["type"])
            info["owner_jited"] = str(owner["jited"])
        return info


class ProgKind(ObjectKind):
    """Programs."""

    name = "prog"

    @property
    def ids(self) -> Ids:
        return self.kernel.progs.ids

    def inc(self, obj_id: int) -> None:
        self.kernel.progs.inc(obj_id)

    def put(self, obj_id: int) -> None:
        self.kernel.progs.put(obj_id)

    def info(self, obj_id: int) -> Any:
        return self.kernel.progs.info(obj_id)

    def fdinfo(self, obj_id: int) -> dict[str, str]:
        return self.kernel.progs.fdinfo(obj_id)


class BtfKind(ObjectKind):
    """BTF objects: they have descriptors but no place in the bpffs."""

    name = "btf"
    pinnable = False

    @property
    def ids(self) -> Ids:
        return self.kernel.btfs.ids

    def inc(self, obj_id: int) -> None:
        self.kernel.btfs.inc(obj_id)

    def put(self, obj_id: int) -> None:
        self.kernel.btfs.put(obj_id)

    def info(self, obj_id: int) -> BtfInfo:
        return BtfInfo(obj_id, self.kernel.btfs.get(obj_id).blob)


# A new kind of object is one line here; by name where its family is seldom needed.
KINDS = {
    "map": "bpf.kinds:MapKind",
    "prog": "bpf.kinds:ProgKind",
    "btf": "bpf.kinds:BtfKind",
    "link": "attach.link:LinkKind",
}
