"""Charges one by one: limits, stocks, locked_vm, and what arrays and hashes ask for."""

from __future__ import annotations

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.testbed import Bed
from bpfctl.uapi import BPF_F_NO_PREALLOC, MAP_TYPE_NUMBER, MapCreateAttr

BOX = "/box"
PAGE = 4096


def attr(kind: str, key: int, value: int, entries: int, flags: int = 0) -> MapCreateAttr:
    return MapCreateAttr(MAP_TYPE_NUMBER[kind], key, value, entries, flags)


def bed(release: str = "6.12", cpus: int = 2) -> Bed:
    return Bed.boot(release, cpus=cpus, cgroups=[BOX])


def test_an_array_is_one_allocation_that_its_creator_pays():
    made = bed()
    bpf = made.task("t", BOX)
    fd = bpf.map_create(attr("array", 4, 8, 1000))
    map_id = bpf.map_info(fd).id
    # bpf_array and 1000 strides of 8 bytes: kmalloc of 16 KiB, with an owner pointer.
    assert made.paid("map", map_id) == {BOX: 16384}
    bpf.close(fd)
    assert made.paid("map", map_id) == {}


def test_a_hash_without_prealloc_pays_for_each_element():
    made = bed("5.11")
    bpf = made.task("t", BOX)
    fd = bpf.map_create(attr("hash", 4, 8, 1000, BPF_F_NO_PREALLOC))
    map_id = bpf.map_info(fd).id
    before = made.paid("map", map_id)[BOX]
    for number in range(3):
        bpf.map_update_elem(fd, number.to_bytes(4, "little"), bytes(8))
    # htab_elem 48 + key 8 + value 8, with an owner pointer.
    assert made.paid("map", map_id)[BOX] - before == 3 * (64 + 8)
    bpf.map_delete_elem(fd, bytes(4))
    assert made.paid("map", map_id)[BOX] - before == 2 * (64 + 8)


def test_fill_charges_what_inserts_charge():
    one, other = bed("5.11"), bed("5.11")
    stats = []
    for each, fill in ((one, True), (other, False)):
        bpf = each.task("t", BOX)
        fd = bpf.map_create(attr("hash", 4, 8, 1000, BPF_F_NO_PREALLOC))
        if fill:
            each.fill(bpf, bpf.map_info(fd).id, 50)
        else:
            for number in range(50):
                bpf.map_update_elem(fd, number.to_bytes(4, "little"), bytes(8))
        stats.append(each.counters(BOX))
    assert stats[0] == stats[1]


def test_memory_max_refuses_and_leaves_nothing():
    made = bed()
    bpf = made.task("t", BOX)
    before = made.counters(BOX)
    made.limit(BOX, 8 * PAGE)
    with pytest.raises(KernelError) as refused:
        bpf.map_create(attr("hash", 4, 64, 100_000))
    assert refused.value.code == E.NOMEM
    assert made.counters(BOX) == before
    assert made.kernel.memcg.events(made.kernel.memcg.lookup(BOX))["max"] > 0


@pytest.mark.parametrize(("limit", "works"), [(3 * PAGE, True), (3 * PAGE - 1, False)])
def test_locked_vm_is_held_against_the_limit_to_the_byte(limit: int, works: bool):
    made = bed("5.10")
    bpf = made.task("t", BOX, memlock=limit)
    # bpf_array 320 and 1000 strides of 8 bytes: three pages.
    if works:
        fd = bpf.map_create(attr("array", 4, 8, 1000))
        assert made.locked_pages() == 3
        bpf.close(fd)
    else:
        with pytest.raises(KernelError) as refused:
            bpf.map_create(attr("array", 4, 8, 1000))
        assert refused.value.code == E.PERM
    assert made.locked_pages() == 0


def test_users_are_held_apart():
    made = bed("5.10")
    mine, theirs = made.task("a", uid=1000), made.task("b", uid=1001)
    mine.map_create(attr("array", 4, 8, 1000))
    theirs.map_create(attr("array", 4, 8, 1))
    assert [made.locked_pages(uid) for uid in (0, 1000, 1001)] == [0, 3, 1]


def test_caches_of_bpf_mem_alloc_are_the_maps_own():
    made = bed("6.1")
    bpf = made.task("t", BOX)
    fd = bpf.map_create(attr("hash", 4, 8, 1000, BPF_F_NO_PREALLOC))
    map_id = bpf.map_info(fd).id
    bpf.map_update_elem(fd, bytes(4), bytes(8))
    # The first element makes the CPU fill up its stock; the next one comes from there.
    before = made.paid("map", map_id)
    bpf.map_update_elem(fd, b"\1" + bytes(3), bytes(8))
    assert made.paid("map", map_id) == before
