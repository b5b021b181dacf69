from bpfctl_counting_bloom import CountingBloom

from bpfctl.api import Bpf, MapCreateAttr, boot, check_type, type_number


def test_conforms() -> None:
    assert [outcome for outcome in check_type(CountingBloom) if not outcome.passed] == []


def test_counts_go_up_and_down() -> None:
    kernel = boot("6.12")
    bpf = Bpf(kernel, kernel.start_command())
    fd = bpf.map_create(MapCreateAttr(type_number("counting_bloom"), 4, 4, 100))
    key = b"\1\2\3\4"
    for _ in range(3):
        bpf.map_update_elem(fd, key, (2).to_bytes(4, "little"))
    assert int.from_bytes(bpf.map_lookup_elem(fd, key), "little") == 6
    bpf.map_delete_elem(fd, key)
    assert int.from_bytes(bpf.map_lookup_elem(fd, key), "little") == 5


def test_memory_does_not_grow() -> None:
    kernel = boot("6.12")
    kernel.memcg.create("/g")
    bpf = Bpf(kernel, kernel.spawn("t", cgroup="/g").pid)
    fd = bpf.map_create(MapCreateAttr(type_number("counting_bloom"), 4, 4, 1000))
    group = kernel.memcg.lookup("/g")
    before = kernel.memcg.stat(group)
    for number in range(500):
        bpf.map_update_elem(fd, number.to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert kernel.memcg.stat(group) == before
    seen = [bpf.map_lookup_elem(fd, n.to_bytes(4, "little")) for n in range(500)]
    assert min(int.from_bytes(count, "little") for count in seen) >= 1
