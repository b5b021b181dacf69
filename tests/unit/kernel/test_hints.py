"""The hint of an ENOMEM names the limit of this very call."""

from __future__ import annotations

import pytest

from bpfctl.cli.app.hints import worded
from bpfctl.errors import E, KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import BPF_F_NO_PREALLOC, MAP_TYPE_NUMBER, MapCreateAttr


def refused(call, *args) -> str:
    with pytest.raises(KernelError) as failure:
        call(*args)
    assert failure.value.code == E.NOMEM
    return worded(failure.value.hint)


@pytest.fixture
def bpf() -> Bpf:
    kernel = Kernel.in_memory("6.12", memory=64 << 20)
    kernel.memcg.create("/box")
    return Bpf(kernel, kernel.spawn("t", cgroup="/box", memlock=None).pid)


def array(entries: int) -> MapCreateAttr:
    return MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 4096, entries)


def test_a_refusal_of_an_earlier_call_is_not_told_again(bpf: Bpf) -> None:
    kernel = bpf.kernel
    kernel.set_memory_knob("/box", "max", 1 << 20)
    assert "memory.max of /box" in refused(bpf.map_create, array(512))
    kernel.set_memory_knob("/box", "max", None)
    assert "the machine has 67108864 bytes" in refused(bpf.map_create, array(1 << 20))


def test_an_update_that_may_not_wait_says_which_limit(bpf: Bpf) -> None:
    attr = MapCreateAttr(MAP_TYPE_NUMBER["hash"], 4, 4096, 1000, BPF_F_NO_PREALLOC)
    fd = bpf.map_create(attr)
    bpf.kernel.set_memory_knob("/box", "max", 1 << 16)

    def insert_all() -> None:
        for number in range(1000):
            bpf.map_update_elem(fd, number.to_bytes(4, "little"), bytes(4096))

    assert "memory.max of /box" in refused(insert_all)
