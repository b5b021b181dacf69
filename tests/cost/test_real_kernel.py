"""`cost` against the kernel of this machine: the memlock of every map type that it has."""

from __future__ import annotations

import os
from typing import Any

import pytest

from bpfctl.cost.choices import Machine
from bpfctl.uapi import MAP_TYPE_NUMBER, MAP_TYPES
from cost import real
from cost.specs import only_map, priced
from oracle.making import blob_of

NO_PREALLOC, NO_COMMON_LRU, MMAPABLE = 0x1, 0x2, 0x400
INNER = {"type": "array", "key": 4, "value": 8, "max": 4}
# key, value, entries, flags: a few sizes of each type
SIZES: dict[str, list[tuple[int, int, int, int]]] = {
    "hash": [(4, 8, 1, 0), (16, 64, 1000, 0), (13, 7, 5000, NO_PREALLOC)],
    "array": [(4, 8, 100, 0), (4, 4096, 16, 0), (4, 24, 77, MMAPABLE)],
    "prog_array": [(4, 4, 64, 0)],
    "perf_event_array": [(4, 4, 8, 0)],
    "percpu_hash": [(8, 24, 1000, 0), (8, 24, 1000, NO_PREALLOC)],
    "percpu_array": [(4, 64, 128, 0)],
    "stack_trace": [(4, 1016, 1000, 0)],
    "cgroup_array": [(4, 4, 3, 0)],
    "lru_hash": [(4, 8, 1000, 0), (4, 8, 1001, NO_COMMON_LRU)],
    "lru_percpu_hash": [(4, 8, 100, 0)],
    "lpm_trie": [(8, 16, 1000, NO_PREALLOC)],
    "array_of_maps": [(4, 4, 9, 0)],
    "hash_of_maps": [(4, 4, 16, 0)],
    "devmap": [(4, 4, 64, 0)],
    "sockmap": [(4, 4, 1000, 0)],
    "cpumap": [(4, 4, 64, 0)],
    "xskmap": [(4, 4, 64, 0)],
    "sockhash": [(16, 4, 1000, 0)],
    "cgroup_storage": [(8, 64, 0, 0)],
    "reuseport_sockarray": [(4, 8, 64, 0)],
    "percpu_cgroup_storage": [(8, 64, 0, 0)],
    "queue": [(0, 16, 1000, 0)],
    "stack": [(0, 16, 1000, 0)],
    "sk_storage": [(4, 40, 0, NO_PREALLOC)],
    "devmap_hash": [(4, 4, 100, 0)],
    "ringbuf": [(0, 0, 65536, 0)],
    "inode_storage": [(4, 40, 0, NO_PREALLOC)],
    "task_storage": [(4, 40, 0, NO_PREALLOC)],
    "bloom_filter": [(0, 8, 1000, 0)],
    "user_ringbuf": [(0, 0, 4096, 0)],
    "cgrp_storage": [(4, 40, 0, NO_PREALLOC)],
    "arena": [(0, 0, 100, MMAPABLE)],
}
# Made by the kernel's own types only (struct_ops), or newer than the kernels that tests run on.
ELSEWHERE = ("unspec", "struct_ops", "insn_array", "rhash")
CASES = [(name, sizes) for name, found in SIZES.items() for sizes in found]


def spec_of(name: str, sizes: tuple[int, int, int, int]) -> dict[str, Any]:
    key, value, entries, flags = sizes
    spec: dict[str, Any] = {
        "type": name, "key": key, "value": value, "max": entries, "flags": flags
    }  # fmt: skip
    if name.endswith("_of_maps"):
        spec["inner"] = INNER
    if name.endswith("_storage") and "cgroup" not in name:
        spec["btf"] = 1
    return spec


def create(spec: dict[str, Any]) -> int:
    """Create the map for real and return its descriptor."""
    inner_fd = create(spec["inner"]) if "inner" in spec else 0
    blob = blob_of(spec)
    btf_fd = real.btf_load(blob[0]) if blob else 0
    types = blob[1:] if blob else (0, 0)
    try:
        kind = MAP_TYPE_NUMBER[spec["type"]]
        sizes = (spec["key"], spec["value"], spec["max"], spec.get("flags", 0))
        return real.map_create(kind, *sizes, inner_fd, btf_fd, *types)
    finally:
        for fd in filter(None, (inner_fd, btf_fd)):
            os.close(fd)


@pytest.mark.parametrize(("name", "sizes"), CASES, ids=lambda value: str(value).replace(" ", ""))
def test_memlock(name: str, sizes: tuple[int, int, int, int]) -> None:
    machine = Machine(real.profile(), None, real.possible_cpus())
    spec = spec_of(name, sizes)
    found = only_map(priced(machine, [], spec))
    try:
        fd = create(spec)
    except real.RealError as exc:
        # Not in this kernel's configuration, or not for this caller: the model may know better.
        if found.refused is None:
            pytest.skip(f"the running kernel refuses {name}: {exc}")
        assert found.refused.errno == exc.errno
        return
    try:
        assert found.refused is None
        assert found.created.memlock == real.memlock(fd)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("name", "sizes", "count"),
    [("hash", (4, 8, 1000, NO_PREALLOC), 300), ("lpm_trie", (8, 16, 1000, NO_PREALLOC), 300)],
    ids=["hash", "lpm_trie"],
)
def test_memlock_with_elements(name: str, sizes: tuple[int, int, int, int], count: int) -> None:
    machine = Machine(real.profile(), None, real.possible_cpus())
    spec = spec_of(name, sizes)
    fd = create(spec)
    try:
        for number in range(count):
            lead = (32).to_bytes(4, "little") if name == "lpm_trie" else b""
            key = lead + number.to_bytes(4, "big")
            real.map_update(fd, key, bytes(sizes[1]))
        assert only_map(priced(machine, [count], spec)).figures[1].memlock == real.memlock(fd)
    finally:
        os.close(fd)


def test_every_type_is_here() -> None:
    assert set(MAP_TYPES) - set(SIZES) == set(ELSEWHERE)
