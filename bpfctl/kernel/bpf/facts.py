"""What is true of a map type without a map of it: facts on its class.

Kernel core, state file, command line and conformance suite ask these, so that a third-party type
needs no entry in any table of theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar, Final

from bpfctl.kernel.bpf.example import Example
from bpfctl.map_values import (
    BYTES,
    CGROUP,
    FD_VALUES,
    MAP,
    NONE,
    PERCPU,
    PERF_EVENT,
    PROG,
    SOCKET,
    VALUES,
)
from bpfctl.uapi import BPF_F_LOCK, MAP_TYPE_NUMBER

if TYPE_CHECKING:
    from bpfctl.kernel.profile import Profile
    from bpfctl.kernel.records import MapRecord
    from bpfctl.kernel.storage import Pos

BATCH_OPERATIONS: Final = frozenset({"lookup", "lookup_and_delete", "update", "delete"})

# Key, value, position and private number of an element, as Cells.rows() gives them.
Row = tuple[bytes, bytes, "Pos", int]
# Possible lengths of a key or value, None for any.
Sizes = tuple[int, ...] | None
# Kind and id of an object.
Ref = tuple[str, int]


class MapFacts:
    """Class attributes and class methods that say what kind of map this is."""

    name: ClassVar[str]
    """As bpftool spells it. Third-party types have any other name."""
    family: ClassVar[str]
    """The kernel source file without ``.c``: the accounting site of its own allocations."""

    # --- what it takes -----------------------------------------------------------

    capability: ClassVar[str] = ""
    """What it takes to create one: "", "bpf" or "net_admin"."""
    capability_in_alloc_check: ClassVar[bool] = False
    """Kernels before 6.9 test the capability before (not after) ``alloc_check``."""
    charge_errno: ClassVar[int] = 0
    """Errno that replaces the one of a refused RLIMIT_MEMLOCK charge, 0 for none."""
    map_extra: ClassVar[str] = ""
    """What ``map_extra`` means to it, "" if it must be 0."""
    inner_allowed: ClassVar[bool] = True
    """May be the inner map of a map-in-map."""
    can_freeze: ClassVar[bool] = True

    # --- what a value is ---------------------------------------------------------

    values: ClassVar[str] = BYTES
    """What a value is: one of ``VALUES``. ``percpu``: a slot of ``value_size`` bytes, rounded up
    to 8, for each possible CPU; ``map``, ``prog``, ``cgroup``, ``perf_event``: a descriptor goes
    in and an id comes out, 4 bytes; ``socket``: a descriptor in ``value_size`` bytes; ``none``:
    system calls read and write no values."""
    percpu: ClassVar[bool] = False
    """Follows from ``values``, as ``fd_values`` and ``is_map_in_map`` do."""
    fd_values: ClassVar[bool] = False
    is_map_in_map: ClassVar[bool] = False
    btf_allowed: ClassVar[bool] = False
    vmlinux_value: ClassVar[bool] = False
    """The value is a type of the kernel's own BTF (``btf_vmlinux_value_type_id``)."""
    special_fields: ClassVar[frozenset[str]] = frozenset()
    """BTF fields that the value may hold: spin_lock, timer, kptr, list, rbtree."""

    # --- what can be done with it ------------------------------------------------

    mmapable: ClassVar[bool] = False
    faults: ClassVar[bool] = False
    """Pages of a mapping appear when they are touched, not when they are mapped."""
    tail_calls: ClassVar[bool] = False
    """Programs jump through it: those in it and those that use it are of one kind."""
    one_per_prog: ClassVar[bool] = False
    """A program may use one map of the type at most."""
    cpu_flags: ClassVar[bool] = False
    """Updates may name one CPU (BPF_F_CPU) or give one value for all (BPF_F_ALL_CPUS), from 7.3 on.

    They go through :meth:`MapType.one_value`.
    """
    lookup_and_delete_flags: ClassVar[int] = BPF_F_LOCK
    batch: ClassVar[frozenset[str]] = BATCH_OPERATIONS
    """Batch operations that it has. Of the kernel's own types the profile knows better."""
    batch_is_walk: ClassVar[bool] = False
    """A lookup batch finds what get_next_key and lookup find, one after the other."""

    resident: ClassVar[str] = ""
    """How values may live in the memory of programs while they run: "table" (an element for each
    index), "cells" (what is there, by key), or "": programs get copies."""
    example: ClassVar[Example] = Example()
    """With what the conformance suite tries the type out."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for derived in ("percpu", "fd_values", "is_map_in_map"):
            if derived in cls.__dict__:
                raise TypeError(f"{cls.__name__}.{derived} follows from 'values': set that")
        if cls.values not in VALUES:
            raise TypeError(f"{cls.__name__}.values is {cls.values!r}, not one of {VALUES}")
        cls.percpu = cls.values == PERCPU
        cls.fd_values = cls.values in FD_VALUES
        cls.is_map_in_map = cls.values == MAP

    # --- which kernels have what -------------------------------------------------

    @classmethod
    def offered(cls, profile: Profile) -> bool:
        """Tell whether kernels of ``profile`` have the type.

        The profile lists those of Linux. A third-party type is on every kernel, unless it says
        otherwise here.
        """
        return cls.name in profile.map_types or cls.name not in MAP_TYPE_NUMBER

    @classmethod
    def batch_offered(cls, profile: Profile) -> frozenset[str]:
        """Return the batch operations that kernels of ``profile`` have for the type."""
        if cls.name in profile.map_types:
            return profile.batch.get(cls.name, frozenset())
        return cls.batch

    @classmethod
    def lookup_and_delete_offered(cls, profile: Profile) -> bool:
        """Tell whether BPF_MAP_LOOKUP_AND_DELETE_ELEM reaches the type."""
        known = profile.checks.lookup_and_delete
        return cls.name in known or cls.name not in profile.map_types

    @classmethod
    def fields_allowed(cls, profile: Profile) -> frozenset[str]:
        """Return the special fields that a value may hold on kernels of ``profile``."""
        refused = {"kptr"} if cls.name in profile.checks.kptr_refused else set()
        return cls.special_fields - refused

    # --- what is stored of a map of it ---------------------------------------------

    counts_rows: ClassVar[bool] = False
    """``rec.nr_elems`` is the number of its rows."""
    priv_kept: ClassVar[dict[str, type] | None] = None
    """What may be in ``rec.priv``, None for anything; those of ``priv_needed`` must be."""
    priv_needed: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def row_sizes(cls, rec: MapRecord, cpus: int) -> tuple[Sizes, Sizes]:
        """Return how many bytes keys and values of rows may have, None for any number.

        Rows of a type may differ from the elements that programs see: say so here.
        """
        if cls.values == PERCPU:
            slot = -(-rec.value_size // 8) * 8
            return (rec.key_size,), (slot, slot * cpus)
        if cls.values == NONE:
            return None, None
        if cls.values == SOCKET:
            return (rec.key_size,), (8,)
        return (rec.key_size,), (4 if cls.fd_values else rec.value_size,)

    @classmethod
    def odd_row(cls, rec: MapRecord, row: Row) -> str:
        """Return what is wrong with a row beside its sizes, "" for nothing."""
        return ""

    # --- what a map of it holds, told from what is stored ------------------------

    @classmethod
    def holds(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        """Yield (kind, id) of a map, program or BTF for each reference that the map has.

        ``rows`` are its elements. By default, values of maps and programs are their ids.
        """
        if cls.values in (MAP, PROG):
            for _, value, _, _ in rows:
                yield cls.values, int.from_bytes(value[:4], "little")

    @classmethod
    def refers(cls, rec: MapRecord, rows: Iterable[Row]) -> Iterator[Ref]:
        """Yield ("object", id) or ("cgroup", id of its memcg) for each element that is there as
        long as such a thing is, and which that thing counts."""
        return iter(())


__all__ = [
    "BATCH_OPERATIONS",
    "BYTES",
    "CGROUP",
    "MAP",
    "NONE",
    "PERCPU",
    "PERF_EVENT",
    "PROG",
    "SOCKET",
    "VALUES",
    "MapFacts",
    "Ref",
    "Row",
]
