"""Filling a map and inserting for real come to the same: figures, and where a limit breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfctl.cost.choices import MEMLOCK, MEMORY_MAX, Limit, Machine
from bpfctl.cost.measure import OOM_KILL
from bpfctl.errors import KernelError, TaskKilled, errno_name
from bpfctl.kernel.config import Config
from bpfctl.kernel.profile import PROFILES, load
from cost.specs import broken, only_map, priced
from oracle.elements import Elements
from oracle.lab import Lab
from oracle.making import blob_of

NO_PREALLOC, NO_COMMON_LRU, MMAPABLE = 0x1, 0x2, 0x400
ARRAYS = ("array", "percpu_array")
HASHES = ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash")
# With fixed sizes of key and value; what elements are is the business of oracle.elements.
FIXED: dict[str, tuple[int, int]] = {
    "devmap": (4, 4),
    "devmap_hash": (4, 8),
    "cpumap": (4, 4),
    "xskmap": (4, 4),
    "sockmap": (4, 8),
    "perf_event_array": (4, 4),
    "cgroup_array": (4, 4),
    "prog_array": (4, 4),
}
STORAGES = ("sk_storage", "inode_storage", "task_storage", "cgrp_storage")
INNER = {"type": "array", "key": 4, "value": 8, "max": 4}
TYPES = (
    *ARRAYS, *HASHES, *FIXED, *STORAGES,
    "lpm_trie", "queue", "stack", "bloom_filter", "sockhash", "array_of_maps", "hash_of_maps",
)  # fmt: skip
MOST = 300


@st.composite
def maps(draw: st.DrawFn) -> dict[str, Any]:
    """Any map that can hold up to MOST elements."""
    name = draw(st.sampled_from(TYPES))
    size = st.integers(1, 300)
    spec: dict[str, Any] = {"type": name, "key": 4, "value": draw(size), "flags": 0}
    spec["max"] = draw(st.integers(1, MOST))
    if name == "array":
        spec["flags"] = draw(st.sampled_from((0, MMAPABLE)))
    elif name in HASHES:
        lru = name.startswith("lru")
        spec["key"] = draw(st.integers(2, 300))
        spec["flags"] = draw(st.sampled_from((0, NO_COMMON_LRU if lru else NO_PREALLOC)))
    elif name in FIXED:
        spec["key"], spec["value"] = FIXED[name]
        spec["umem"] = 1
    elif name in STORAGES:
        spec |= {"max": 0, "flags": NO_PREALLOC, "btf": 1}
    elif name == "lpm_trie":
        spec |= {"key": draw(st.integers(6, 20)), "flags": NO_PREALLOC}
    elif name in ("queue", "stack", "bloom_filter"):
        spec["key"] = 0
    elif name == "sockhash":
        spec |= {"key": draw(st.integers(2, 100)), "value": 4}
    elif name.endswith("_of_maps"):
        spec |= {"value": 4, "inner": INNER}
        if name == "hash_of_maps":
            spec["flags"] = draw(st.sampled_from((0, NO_PREALLOC)))
    return spec


class ByHand:
    """A kernel on which a map is created and filled through bpf(2)."""

    def __init__(self, machine: Machine, spec: dict[str, Any], count: int) -> None:
        config = Config(kernel=machine.kernel, possible_cpus=machine.cpus, memory=1 << 40)
        self.lab = Lab.boot(config)
        self.group = self.lab.new_group()
        self.bpf = self.lab.spawn()
        prep = self.lab.prepare(self.bpf, spec)
        self.elements = Elements(self.lab, self.bpf, spec, prep, count)
        self.lab.move(self.bpf, self.group)
        self.spec, self.prep = spec, prep
        self.fd = 0

    def open_btf(self) -> None:
        """Load the BTF once more, in the cgroup, where the loader has its descriptor."""
        blob = blob_of(self.spec)
        if blob is not None:
            self.prep.btf_fd = self.bpf.btf_load(blob[0])

    def create(self) -> None:
        self.fd = self.lab.create(self.bpf, self.spec, self.prep)

    def insert(self, count: int) -> tuple[int, str]:
        """Insert up to ``count`` elements; return how many there are, and what stopped it."""
        for number, step in enumerate(self.elements.updates(self.fd, 0, count)):
            try:
                step()
            except KernelError as exc:
                return number, errno_name(exc.code)
            except TaskKilled:
                return number, OOM_KILL
        return count, ""

    def figures(self) -> dict[str, int]:
        # The counters as they are, without the reader's emptying of stocks.
        stat = self.lab.kernel.memcg.stat(self.lab.group(self.group))
        return {
            "memlock": int(self.bpf.fdinfo(self.fd)["memlock"]),
            "locked": self.lab.kernel.memlock.locked_pages(0),
            "charged": self.lab.charged_bytes(self.group),
            **{name: stat[name] for name in ("slab", "vmalloc", "percpu")},
        }


machines = st.builds(Machine, st.sampled_from(PROFILES), st.none(), st.sampled_from((1, 2, 3, 8)))


def same(machine: Machine, spec: dict[str, Any], count: int) -> None:
    """Compare the creation and ``count`` inserts with what cost says."""
    cost = only_map(priced(machine, [count], spec))
    hand = ByHand(machine, spec, count)
    locked = hand.lab.kernel.memlock.locked_pages(0)
    if not cost.figures:
        with pytest.raises(KernelError) as refused:
            hand.create()
        assert cost.refused is not None
        assert errno_name(refused.value.code) == cost.refused.errno
        return
    hand.create()
    for number in range(2):
        figures = cost.figures[number]
        got = hand.figures()
        got["locked"] -= locked
        assert got == {
            "memlock": figures.memlock,
            "locked": figures.rlimit_pages,
            "charged": figures.charged + cost.created.descriptors,
            "slab": figures.slab + cost.created.descriptors,
            "vmalloc": figures.vmalloc,
            "percpu": figures.percpu,
        }
        if number == 0:
            inserted, stopped = hand.insert(count)
            assert (inserted, stopped) == (count, "")


def holds(machine: Machine, spec: dict[str, Any], count: int) -> int:
    """Return how many elements such a map can have."""
    most = spec["max"] or MOST
    if spec["type"] == "cpumap":
        most = min(most, machine.cpus)
    return min(count, most)


@settings(max_examples=120, deadline=None)
@given(machines, maps(), st.integers(1, MOST))
def test_filling_is_inserting(machine: Machine, spec: dict[str, Any], count: int) -> None:
    if spec["type"] in load(machine.kernel).map_types:
        same(machine, spec, holds(machine, spec, count))


@settings(max_examples=60, deadline=None)
@given(machines, maps(), st.integers(1, MOST), st.integers(0, 100))
def test_levels_do_not_depend_on_those_before(
    machine: Machine, spec: dict[str, Any], count: int, share: int
) -> None:
    several = only_map(priced(machine, [1, count, f"{share}%", "full"], spec)).figures
    if several:
        for level, fill in ((2, count), (3, f"{share}%"), (4, "full")):
            assert only_map(priced(machine, [fill], spec)).figures[1] == several[level]


@pytest.mark.parametrize("kernel", PROFILES)
@pytest.mark.parametrize("name", sorted(set(TYPES)))
def test_every_type(kernel: str, name: str) -> None:
    if name not in load(kernel).map_types:
        pytest.skip(f"{kernel} has no {name}")
    key, value = FIXED.get(name, (4, 8))
    spec: dict[str, Any] = {"type": name, "key": key, "value": value, "max": 40, "flags": 0}
    spec["umem"] = 1
    if name in STORAGES:
        spec |= {"max": 0, "flags": NO_PREALLOC, "btf": 1}
    elif name == "lpm_trie":
        spec |= {"key": 8, "flags": NO_PREALLOC}
    elif name in ("queue", "stack", "bloom_filter"):
        spec["key"] = 0
    elif name == "sockhash" or name.endswith("_of_maps"):
        spec |= {"value": 4, "inner": INNER} if name.endswith("maps") else {"value": 4}
    machine = Machine(kernel, None, 4)
    same(machine, spec, holds(machine, spec, 40))


# --- limits ------------------------------------------------------------------------

GROWING: dict[str, dict[str, Any]] = {
    "hash": {"key": 4, "value": 8, "flags": NO_PREALLOC},
    "hash-big": {"type": "hash", "key": 4, "value": 2000, "flags": NO_PREALLOC},
    "percpu_hash": {"key": 4, "value": 8, "flags": NO_PREALLOC},
    "lpm_trie": {"key": 8, "value": 40, "flags": NO_PREALLOC},
    "devmap_hash": {"key": 4, "value": 4, "flags": 0},
    "sockhash": {"key": 40, "value": 4, "flags": 0},
    "cpumap": {"key": 4, "value": 4, "flags": 0},
    "task_storage": {"key": 4, "value": 100, "max": 0, "flags": NO_PREALLOC, "btf": 1},
}


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Machine, st.sampled_from(PROFILES[1:]), st.none(), st.sampled_from((1, 4, 32))
    ),
    st.sampled_from(sorted(GROWING)),
    st.integers(0, 60),
)
def test_the_element_that_breaks_memory_max(machine: Machine, name: str, pages: int) -> None:
    spec: dict[str, Any] = {"type": name, "max": 200, **GROWING[name]}
    if spec["type"] not in load(machine.kernel).map_types:
        return
    count = holds(machine, spec, MOST)
    hand = ByHand(machine, spec, count)
    nbytes = pages * 4096
    hand.lab.limit(hand.group, nbytes)
    found = broken(machine, [count], Limit(MEMORY_MAX, nbytes), spec)
    try:
        hand.open_btf()
        hand.create()
    except (KernelError, TaskKilled) as exc:
        ended = errno_name(exc.code) if isinstance(exc, KernelError) else OOM_KILL
        assert found is not None
        assert (found.what, found.errno) in (("create", ended), ("load", ended))
        return
    inserted, stopped = hand.insert(count)
    if not stopped:
        assert found is None
        return
    assert found is not None
    assert (found.what, found.element, found.errno) == ("fill", inserted + 1, stopped)


@pytest.mark.parametrize("name", ["array", "hash", "devmap", "ringbuf", "lru_hash", "queue"])
def test_the_smallest_memlock_works_and_one_byte_less_does_not(name: str) -> None:
    spec: dict[str, Any] = {"type": name, "key": 4, "value": 4, "max": 4096, "flags": 0}
    if name in ("queue", "ringbuf"):
        spec["key"] = 0
    if name == "ringbuf":
        spec["value"] = 0
    machine = Machine("5.10", None, 4)
    needed = priced(machine, [], spec).memlock_enough
    assert needed > 0
    for nbytes, wanted in ((needed, ""), (needed - 1, "EINVAL" if name == "devmap" else "EPERM")):
        hand = ByHand(machine, spec, 0)
        hand.lab.become(hand.bpf, 0, nbytes)
        ended = ""
        try:
            hand.create()
        except KernelError as exc:
            ended = errno_name(exc.code)
        assert ended == wanted
        found = broken(machine, [], Limit(MEMLOCK, nbytes), spec)
        assert (found.errno if found else "") == wanted


@settings(max_examples=60, deadline=None)
@given(machines, st.lists(maps(), min_size=1, max_size=4))
def test_limits_that_are_said_to_suffice_do(machine: Machine, specs: list[dict[str, Any]]) -> None:
    known = priced(machine, ["full"], *specs)
    for limit in (
        Limit(MEMORY_MAX, known.memory_max_enough),
        Limit(MEMLOCK, known.memlock_enough),
    ):
        assert broken(machine, ["full"], limit, *specs) is None
    if known.memlock_enough and not known.refused:
        found = broken(machine, ["full"], Limit(MEMLOCK, known.memlock_enough - 1), *specs)
        assert found is not None
