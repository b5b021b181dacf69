"""Whatever fails while a map is created, nothing stays charged.

Each allocation of a creation is failed in turn (failslab), under both accountings; the counters
of the cgroup, of the user and of machine memory then have their values of before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bpfctl.errors import E, KernelError, Refusal, TaskKilled
from bpfctl.kernel.kernel import Kernel
from bpfctl.kernel.mm.memcg import MemcgTree
from bpfctl.libbpf.bpf import Bpf
from bpfctl.plugins import type_name
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr
from property.specs import variants

KERNELS: tuple[tuple[str, int | None], ...] = (
    ("5.10", None),
    ("5.10", 20),
    ("5.11", None),
    ("6.1", None),
    ("6.12", None),
    ("6.18", None),
)
MAP_IN_MAP = (MAP_TYPE_NUMBER["array_of_maps"], MAP_TYPE_NUMBER["hash_of_maps"])


def boot(profile: str, patch: int | None) -> tuple[Kernel, Bpf]:
    kernel = Kernel.in_memory(profile, patch=patch, possible_cpus=2)
    kernel.memcg.create("/box")
    task = kernel.spawn("creator", cgroup="/box", memlock=None)
    return kernel, Bpf(kernel, task.pid)


def counters(kernel: Kernel) -> dict[str, Any]:
    """Everything that a creation charges."""
    tree: MemcgTree = kernel.memcg
    box = tree.lookup("/box")
    return {
        **tree.stat(box),
        "current": tree.current(box),
        "locked": kernel.memlock.locked_pages(0),
        "in_use": kernel.mm.in_use(),
        "maps": list(kernel.maps.records.keys_after(None)),
    }


def exists(kernel: Kernel, attr: MapCreateAttr) -> bool:
    return type_name(attr.map_type) in kernel.profile.map_types


def with_inner(bpf: Bpf, attr: MapCreateAttr) -> MapCreateAttr:
    if attr.map_type not in MAP_IN_MAP:
        return attr
    inner = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 8, 4))
    return replace(attr, inner_map_fd=inner)


@pytest.mark.parametrize(("profile", "patch"), KERNELS)
@pytest.mark.parametrize("attr", [pytest.param(a, id=name) for name, a in variants().items()])
def test_failed_allocation_leaves_nothing(
    attr: MapCreateAttr, profile: str, patch: int | None
) -> None:
    kernel, bpf = boot(profile, patch)
    if not exists(kernel, attr):
        with pytest.raises(KernelError) as refused:
            bpf.map_create(attr)
        assert refused.value.code == E.INVAL
        return
    attr = with_inner(bpf, attr)
    before = counters(kernel)
    failed = 0
    while True:
        kernel.mm.nr_allocations = 0
        kernel.mm.fail_nth = failed + 1
        try:
            fd = bpf.map_create(attr)
        except KernelError as exc:
            assert exc.code == E.NOMEM
            assert counters(kernel) == before
            failed += 1
            continue
        if kernel.mm.nr_allocations < kernel.mm.fail_nth:
            break
        # A failure that the kernel gets over: kmalloc before vmalloc, a prefill of 6.1.
        bpf.close(fd)
        assert counters(kernel) == before
        failed += 1
    assert failed >= 3, "a map struct and the two objects of its descriptor at least"
    bpf.close(fd)
    assert counters(kernel) == before


@pytest.mark.parametrize("profile", ["5.11", "6.1", "6.12", "6.18"])
@pytest.mark.parametrize("attr", [pytest.param(a, id=name) for name, a in variants().items()])
def test_memory_max_leaves_nothing(attr: MapCreateAttr, profile: str) -> None:
    """Grow memory.max page by page until the creation passes; every refusal is clean."""
    kernel, bpf = boot(profile, None)
    if not exists(kernel, attr):
        pytest.skip(f"{profile} does not have the type: refused in the test above")
    attr = with_inner(bpf, attr)
    box = kernel.memcg.lookup("/box")
    base = box.usage_pages
    for pages in range(base, base + 400):
        box.max_pages = pages
        before = counters(kernel)
        try:
            bpf.map_create(attr)
        except KernelError as exc:
            assert exc.code == E.NOMEM
            assert isinstance(exc.hint, Refusal)
            assert exc.hint.whom == "/box"
            assert counters(kernel) == before
        except TaskKilled as killed:
            assert killed.memcg == "/box"
            assert counters(kernel)["maps"] == []
            assert counters(kernel)["current"] == 0
            kernel, bpf = boot(profile, None)
            attr = with_inner(bpf, attr)
            box = kernel.memcg.lookup("/box")
        else:
            return
    pytest.fail("no limit was large enough")


@pytest.mark.parametrize("attr", [pytest.param(a, id=name) for name, a in variants().items()])
def test_smallest_rlimit_is_what_is_shown(attr: MapCreateAttr) -> None:
    kernel, bpf = boot("5.10", None)
    if not exists(kernel, attr):
        pytest.skip("5.10 does not have the type: refused in the test above")
    attr = with_inner(bpf, attr)
    fd = bpf.map_create(attr)
    charged = int(bpf.fdinfo(fd)["memlock"])
    bpf.close(fd)
    task = kernel.task(bpf.pid)
    task.memlock_soft = kernel.memlock.locked_pages(0) * 4096 + charged
    bpf.close(bpf.map_create(attr))
    task.memlock_soft -= 1
    before = counters(kernel)
    with pytest.raises(KernelError) as refused:
        bpf.map_create(attr)
    assert refused.value.code in (E.PERM, E.INVAL)
    assert counters(kernel) == before
