"""A fresh kernel with one task in a cgroup, and a map of the type under test."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bpfctl import plugins
from bpfctl.errors import Failure, KernelError, TaskKilled
from bpfctl.kernel.bpf.example import Element
from bpfctl.kernel.bpf.map import MapType
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store.check import check_state
from bpfctl.store.migrations import create
from bpfctl.store.sqlite import SqlStorage
from bpfctl.testbed import Bed
from bpfctl.uapi import MapCreateAttr

BOX = "/box"
CPUS = 2
SIMULATED = (KernelError, TaskKilled)


class Violation(AssertionError):
    """The type under test breaks a rule; the text says how, for its author."""


def demand(holds: bool, complaint: str) -> None:
    """Raise :class:`Violation` unless the rule ``holds``."""
    if not holds:
        raise Violation(complaint)


@dataclass
class Lab:
    """A kernel over SQLite tables (in memory) and the type that is tried out on it."""

    cls: type[MapType]
    profile: str
    conn: sqlite3.Connection
    storage: SqlStorage
    kernel: Kernel
    bpf: Bpf

    @classmethod
    def boot(cls, tested: type[MapType], profile: str, **settings: Any) -> Lab:
        """Boot ``profile`` with a root task in a cgroup of its own, without limits."""
        conn = sqlite3.connect(":memory:", isolation_level=None)
        create(conn)
        storage = SqlStorage(conn)
        bed = Bed.boot(profile, cpus=CPUS, cgroups=[BOX], storage=storage, **settings)
        return cls(tested, profile, conn, storage, bed.kernel, bed.task("conformance", BOX))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *unused: object) -> None:
        with closing(self.conn):
            pass

    @property
    def offered(self) -> bool:
        """Tell whether this kernel has the type."""
        return self.cls.offered(self.kernel.profile)

    def attr(self, **changed: Any) -> MapCreateAttr:
        """Return the attributes of the type's example, some of them ``changed``."""
        example = self.cls.example
        fields: dict[str, Any] = {
            "map_type": plugins.type_number(self.cls.name),
            "key_size": example.key_size,
            "value_size": example.value_size,
            "max_entries": example.max_entries,
            "map_flags": example.map_flags,
        }
        if example.prepare is not None:
            fields.update(example.prepare(self.bpf))
        return MapCreateAttr(**{**fields, **changed})

    def create(self, attr: MapCreateAttr | None = None) -> int:
        """Create the example map (or one with ``attr``) and return its descriptor."""
        return self.bpf.map_create(attr if attr is not None else self.attr())

    def elements(self, nr: int) -> list[Element]:
        """Return ``nr`` keys and values that the example map can take."""
        example = self.cls.example
        if example.elements is not None:
            return example.elements(self.bpf, nr)
        slots = CPUS if self.cls.percpu else 1
        size = -(-example.value_size // 8) * 8 if self.cls.percpu else example.value_size
        found: list[Element] = []
        for number in range(nr):
            key = number.to_bytes(max(example.key_size, 4), "little")[: example.key_size]
            value = (number + 1).to_bytes(max(size, 4), "little")[:size]
            found.append((key if example.key_size else None, value * slots))
        return found

    @property
    def room(self) -> int:
        """How many elements rules store: within the example's capacity, few enough to be quick."""
        return min(self.cls.example.max_entries or 8, 8)

    def map_of(self, fd: int) -> MapType:
        """Return the live map behind a descriptor."""
        return Bed(self.kernel).map_of(self.bpf, fd)

    def counters(self) -> dict[str, Any]:
        """Return everything that allocations and charges move."""
        return Bed(self.kernel).counters(BOX)

    def demand_unchanged(self, before: dict[str, Any], when: str) -> None:
        """Refuse counters that differ from ``before``."""
        now = self.counters()
        moved = [
            f"{name} {before[name]} -> {value}"
            for name, value in now.items()
            if value != before[name]
        ]
        demand(not moved, f"{self.profile}: {when}, yet {', '.join(moved)}")

    def demand_sound(self, when: str) -> None:
        """Refuse a state whose charges or references do not add up (``sim check``)."""
        findings = check_state(self.storage)
        demand(not findings, f"{self.profile}: {when}: {'; '.join(findings)}")

    def commit_and_reopen(self) -> None:
        """Write the state and boot from it again, as the next command would."""
        self.storage.flush()
        self.storage = SqlStorage(self.conn)
        self.kernel = Kernel(self.storage)
        self.bpf = Bpf(self.kernel, self.bpf.pid)


def attempt(call: Any, *args: Any) -> Any:
    """Return what a call returns or, as an exception object, the failure it simulates.

    :raises Violation: it fails with anything that is not a kernel's error.
    """
    try:
        return call(*args)
    except SIMULATED as exc:
        return exc
    except Failure:
        raise
    except Violation:
        raise
    except Exception as exc:
        where = getattr(call, "__name__", "call")
        raise Violation(
            f"{where} raised {type(exc).__name__}: {exc}; only KernelError may leave a map type"
        ) from exc
