"""What a state holds in numbers: objects, memory, and who pays for it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bpfctl import plugins
from bpfctl.kernel.mm.alloc import Mem
from bpfctl.kernel.records import (
    Alloc,
    BtfRecord,
    MapRecord,
    Memcg,
    ProgRecord,
    SimObject,
    Task,
    User,
)
from bpfctl.store.schema import Table
from bpfctl.store.sqlite import SqlStorage

if TYPE_CHECKING:
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.system import System

COUNTED = {
    "maps": MapRecord,
    "programs": ProgRecord,
    "btfs": BtfRecord,
    "tasks": Task,
    "cgroups": Memcg,
    "objects": SimObject,
}


def counts(storage: SqlStorage) -> dict[str, int]:
    """Return how many objects of each kind there are."""
    found = {kind: _count(storage, Table(cls).name) for kind, cls in COUNTED.items()}
    pins = "pin WHERE kind NOT IN ('dir', 'mount')"
    return {**found, "pins": _count(storage, pins)}


def _count(storage: SqlStorage, source: str) -> int:
    return int(storage.conn.execute(f"SELECT count(*) FROM {source}").fetchone()[0])


@dataclass(slots=True)
class Memory:
    """Bytes of machine memory in use; bytes charged to cgroups; what is charged to nobody.

    ``nobody`` has bytes in use by the reason why no cgroup pays for them; ``locked`` bytes by
    uid, held against RLIMIT_MEMLOCK.
    """

    in_use: int = 0
    charged: int = 0
    nobody: dict[str, int] = field(default_factory=dict)
    locked: dict[int, int] = field(default_factory=dict)


def memory(system: System, storage: SqlStorage) -> Memory:
    """Add up the live allocations and the users' locked_vm."""
    result = Memory()
    nobody: Tally[str] = Tally()
    from bpfctl.kernel.kernel import Kernel

    kernel = system if isinstance(system, Kernel) else Kernel(storage)
    reason = _reasons(kernel, storage)
    footprint = Mem(kernel.mm, "", 0, 0).footprint
    table = Table(Alloc)
    for row in storage.conn.execute(table.all_sql):
        alloc: Alloc = table.record(row)
        real = alloc.nr * footprint(alloc).real
        result.in_use += real
        if alloc.objcg:
            result.charged += alloc.nr * alloc.charge
        else:
            nobody[reason(alloc)] += real
    result.nobody = dict(nobody.most_common())
    users = Table(User)
    for row in storage.conn.execute(users.all_sql):
        user: User = users.record(row)
        if user.locked_vm_pages:
            result.locked[user.uid] = user.locked_vm_pages * kernel.config.page_size
    return result


def _reasons(kernel: Kernel, storage: SqlStorage) -> Callable[[Alloc], str]:
    """Return the function that tells why no cgroup is charged for an allocation."""
    mode = kernel.config.cgroup_memory
    release = f"Linux {kernel.profile.name}"
    accounting = kernel.profile.accounting
    maps = dict(_pairs(storage, "SELECT id, type, objcg FROM map"))
    progs = dict(_pairs(storage, "SELECT id, type, objcg FROM prog"))

    def reason(alloc: Alloc) -> str:
        if mode == "off":
            return "there is no memory controller"
        if mode == "nokmem" or (mode == "nobpf" and alloc.owner_kind != "file"):
            return f"the kernel was booted with cgroup.memory={mode}"
        family, objcg = "", 0
        if alloc.owner_kind == "prog":
            family, objcg = "prog", progs.get(alloc.owner_id, (0, 0))[1]
        elif alloc.owner_kind == "map":
            number, objcg = maps.get(alloc.owner_id, (0, 0))
            family = _family(number)
        if family and not {family, "area"} & accounting.accounted:
            return f"{release} does not account {_FAMILIES.get(family, 'maps of this type')}"
        if not objcg:
            return "a task of the root cgroup made it"
        if accounting.creation_hole:
            return "allocated by map helpers during creation, before the map knows who pays"
        return "not accounted at this place, or its cgroup is gone"

    return reason


_FAMILIES = {"prog": "programs"}


def _pairs(storage: SqlStorage, sql: str) -> list[tuple[int, tuple[int, int]]]:
    return [(at, (number, objcg)) for at, number, objcg in storage.conn.execute(sql)]


def _family(number: int) -> str:
    cls = plugins.type_class(number)
    return cls.family if cls is not None else ""
