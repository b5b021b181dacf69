"""What `cost` says is what was measured on real kernels: maps as created, and with n elements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfctl.cost.choices import Machine
from bpfctl.cost.measure import Figures
from bpfctl.libbpf.mapspec import RING_BUFFERS, WITHOUT_BTF
from bpfctl.uapi import BPF_F_RDONLY, BPF_F_WRONLY, MAP_TYPE_NUMBER
from cost.specs import only_map, priced
from oracle import cases
from oracle.cases import Case

PAGE = 4096
STATS = ("slab", "vmalloc", "percpu")
# One case in so many: tests/oracle goes through all of them, on the same simulated kernels.
EVERY = 7
# Not what a loader asks for: a device, a vmlinux type, a bad inner map, several copies.
ODD = ("ifindex", "vtid", "badinner", "btfk", "K", "rl")


def files(group: str) -> list[Any]:
    """Return the files of a group of cases as parameters."""
    found = [(path, path.name.partition(".jsonl")[0]) for path in cases.files(cases.DATA)]
    return [pytest.param(path, id=name) for path, name in found if name.endswith(f"-{group}")]


def usual(case: Case) -> bool:
    """Tell whether a loader would ask the kernel for this map in these words."""
    spec = case.spec
    if any(word in spec for word in ODD) or spec.get("btf") == 3 or not case.result.get("ok"):
        return False
    if not isinstance(spec["type"], str) or spec["type"] == "struct_ops":
        return False
    if spec.get("flags", 0) & (BPF_F_RDONLY | BPF_F_WRONLY):
        return False  # of the descriptor, not of the map
    number = MAP_TYPE_NUMBER[spec["type"]]
    return number not in RING_BUFFERS and not (spec.get("btf") and number in WITHOUT_BTF)


def sampled(path: Path, op: str) -> Iterator[Case]:
    """Yield some cases of a file."""
    yield from [case for case in cases.read(path) if case.op == op and usual(case)][::EVERY]


def memcg_figures(case: Case, group: str) -> dict[str, int]:
    """Return the exact memory.stat figures of a measured step."""
    measured = case.result.get(group, {})
    return {name: measured[name] for name in STATS if name in measured}


def stable(case: Case, group: str, want: dict[str, int]) -> dict[str, int]:
    unstable = case.unstable
    return {k: v for k, v in want.items() if not {k, f"{group}.{k}", group} & unstable}


@pytest.mark.parametrize("path", files("maps"))
def test_creation(path: Path) -> None:
    seen = 0
    for case in sampled(path, "create"):
        found = only_map(priced(Machine(case.kernel, None, case.cpus), [], case.spec))
        assert found.refused is None, (case.where, case.spec, found.refused)
        result, created = case.result, found.created
        want = {name: result[name] for name in ("memlock", "max_entries", "map_flags")}
        if case.kernel == "5.10":
            want["locked"] = result["memlock"]
        else:
            want |= memcg_figures(case, "create")
        if isinstance(result.get("create_bytes"), int):
            want["bytes"] = result["create_bytes"]
        got = {
            "memlock": created.memlock,
            "max_entries": found.max_entries,
            "map_flags": found.map_flags,
            "locked": created.rlimit_pages * PAGE,
            # The descriptor was part of what was measured.
            "slab": created.slab + created.descriptors,
            "vmalloc": created.vmalloc,
            "percpu": created.percpu,
            "bytes": created.charged + created.descriptors,
        }
        want = stable(case, "create", want)
        assert {name: got[name] for name in want} == want, (case.where, case.spec)
        seen += 1
    assert seen > 50


def as_distinct_inserts(case: Case) -> bool:
    """Tell whether the n updates are n new elements of the usual kind."""
    spec, result = case.spec, case.result
    if spec.get("chain") or spec.get("qsize") == 0 or "n2" in spec:
        return False
    # The first mapping of an arena costs something of its own: the page table of user space.
    return bool(spec["type"] != "arena" and result.get("updated") == spec.get("n", 1))


@pytest.mark.parametrize("path", files("updates"))
def test_elements(path: Path) -> None:
    seen = 0
    for case in filter(as_distinct_inserts, sampled(path, "update")):
        count = case.spec.get("n", 1)
        found = only_map(priced(Machine(case.kernel, None, case.cpus), [count], case.spec))
        assert found.refused is None, (case.where, case.spec, found.refused)
        before, after = found.figures
        want = memcg_figures(case, "update")
        if "memlock_after_update" not in case.unstable:
            want["memlock"] = case.result["memlock_after_update"]
        moved = after.plus(before, -1)
        got = {**{name: getattr(moved, name) for name in STATS}, "memlock": after.memlock}
        want = stable(case, "update", want)
        assert {name: got[name] for name in want} == want, (case.where, case.spec)
        seen += 1
    assert seen > 5


def test_figures_add_up() -> None:
    one = Figures(1, 2, 3, 4, 5, 6, 7, 8, 9)
    assert one.plus(one, 2) == Figures(3, 6, 9, 12, 15, 18, 21, 24, 27)
