"""What samples need of the kernel beyond bpf(2): fork, and lookups by programs."""

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr

LRU_HASH = MAP_TYPE_NUMBER["lru_hash"]
ARRAY = MAP_TYPE_NUMBER["array"]
PERCPU_HASH = MAP_TYPE_NUMBER["percpu_hash"]


def key(number: int) -> bytes:
    return number.to_bytes(8, "little")


def start(memcg: str = "", **settings: int) -> tuple[Kernel, Bpf]:
    kernel = Kernel.in_memory("6.12", **settings)
    if memcg:
        kernel.memcg.create(memcg)
    return kernel, Bpf(kernel, kernel.start_command(cgroup=memcg or None))


def test_a_child_has_the_parents_descriptors_and_pays_nothing_for_them():
    kernel, parent = start("/a")
    fd = parent.map_create(MapCreateAttr(ARRAY, 4, 8, 1))
    before = kernel.memcg.lookup("/a").usage_pages
    child = Bpf(kernel, kernel.fork(parent.pid))
    assert kernel.memcg.lookup("/a").usage_pages == before
    child.map_update_elem(fd, bytes(4), b"8 bytes.")
    assert parent.map_lookup_elem(fd, bytes(4)) == b"8 bytes."


def test_a_map_lives_until_parent_and_child_have_let_go():
    kernel, parent = start("/a")
    fd = parent.map_create(MapCreateAttr(ARRAY, 4, 8, 1))
    child = Bpf(kernel, kernel.fork(parent.pid))
    map_id = parent.map_info(fd).id
    kernel.exit_task(parent.pid)
    assert child.map_info(fd).id == map_id
    kernel.exit_task(child.pid)
    assert kernel.maps.records.get(map_id) is None
    kernel.memcg.charger.drain(kernel.memcg.lookup("/a").id)
    assert kernel.memcg.lookup("/a").usage_pages == 0


def test_a_child_inherits_credentials_limit_and_cgroup():
    kernel, _ = start("/a")
    parent = kernel.spawn("p", uid=7, caps=0, cgroup="/a", memlock=4096, memlock_hard=8192)
    child = kernel.task(kernel.fork(parent.pid))
    facts = ("comm", "uid", "caps", "cgroup", "memlock_soft", "memlock_hard")
    assert [getattr(child, name) for name in facts] == [getattr(parent, name) for name in facts]
    assert child.pid != parent.pid


@pytest.mark.parametrize("from_prog", [False, True], ids=["syscall", "program"])
@pytest.mark.parametrize("type_", [LRU_HASH, PERCPU_HASH], ids=["lru_hash", "percpu_hash"])
def test_lookups_in_one_go_equal_single_ones(type_, from_prog):
    _, bpf = start(possible_cpus=2)
    fd = bpf.map_create(MapCreateAttr(type_, 8, 8, 8))
    slots = 2 if type_ == PERCPU_HASH else 1
    for number in (1, 3):
        bpf.map_update_elem(fd, key(number), key(number) * slots)
    found = bpf.map_lookup_each(fd, [key(number) for number in range(4)], from_prog)
    assert found == [None, bpf.map_lookup_elem(fd, key(1)), None, bpf.map_lookup_elem(fd, key(3))]


@pytest.mark.parametrize(
    ("from_prog", "survives"), [(False, False), (True, True)], ids=["syscall", "program"]
)
def test_only_a_program_marks_an_lru_element_as_used(from_prog, survives):
    _, bpf = start(possible_cpus=1)
    # Lists of one CPU evict four at once, from the oldest end.
    fd = bpf.map_create(MapCreateAttr(LRU_HASH, 8, 8, 8, 2))
    for number in range(8):
        bpf.map_update_elem(fd, key(number), key(number))
    bpf.map_lookup_each(fd, [key(0)], from_prog)
    bpf.map_update_elem(fd, key(8), key(8))
    assert (bpf.map_lookup_each(fd, [key(0)])[0] is not None) is survives


@pytest.mark.parametrize("from_prog", [False, True], ids=["syscall", "program"])
def test_lookups_through_a_closed_descriptor_are_refused(from_prog):
    _, bpf = start()
    with pytest.raises(KernelError) as caught:
        bpf.map_lookup_each(3, [key(1)], from_prog)
    assert caught.value.errno == E.BADF


def test_a_program_may_read_what_its_loader_may_not():
    _, bpf = start()
    write_only = 0x10
    fd = bpf.map_create(MapCreateAttr(ARRAY, 4, 8, 1, write_only))
    assert bpf.map_lookup_each(fd, [bytes(4)], from_prog=True) == [bytes(8)]
    with pytest.raises(KernelError) as caught:
        bpf.map_lookup_each(fd, [bytes(4)])
    assert caught.value.errno == E.PERM
