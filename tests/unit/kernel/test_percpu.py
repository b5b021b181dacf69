"""What a per-CPU allocation is charged, and which files of a cgroup tell."""

from __future__ import annotations

import pytest

from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.percpu import percpu_footprint
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr


@pytest.mark.parametrize(
    ("size", "cpus", "owners", "charged"),
    [
        (8, 1, False, 8),
        (8, 4, False, 32),
        (8, 4, True, 32 + 16),
        (5, 2, False, 16),  # rounded up to 4 bytes
        (5, 2, True, 16 + 16),
    ],
)
def test_footprint(size: int, cpus: int, owners: bool, charged: int):
    found = percpu_footprint(size, cpus, owners)
    assert (found.nbytes, found.real) == (charged, -(-size // 4) * 4 * cpus)


@pytest.mark.parametrize(
    ("kernel", "patch", "owners"),
    [("5.10", 8, 0), ("5.10", 34, 0), ("5.11", None, 0)],
)
def test_values_of_an_array_are_charged_without_owners_before_5_17(
    kernel: str, patch: int | None, owners: int
):
    machine = Kernel.in_memory(kernel, patch=patch, possible_cpus=4)
    machine.memcg.create("/box")
    bpf = Bpf(machine, machine.spawn("t", cgroup="/box", memlock=None).pid)
    bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["percpu_array"], 4, 64, 100))
    stat = machine.memcg.stat(machine.memcg.lookup("/box"))
    assert stat["percpu"] == 100 * (64 * 4 + owners)


@pytest.mark.parametrize(
    ("kernel", "peak", "fields"),
    [("5.10", False, 0), ("5.11", False, 0), ("6.1", True, 2), ("6.18", True, 2)],
)
def test_files_of_a_cgroup_are_those_of_the_release(cli, kernel: str, peak: bool, fields: int):
    cli.ok("sim", "new", "--kernel", kernel)
    cli.ok("memcg", "create", "/box")
    shown = cli.ok("memcg", "show", "/box")
    assert ("memory.peak" in shown) == peak
    lines = cli.ok("memcg", "stat", "/box").splitlines()
    assert len([line for line in lines if line.split()[0] in ("kernel", "vmalloc")]) == fields
