"""The libbpf layer for programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfctl.errors import KernelError
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.api import Object, raise_memlock
from bpfctl.libbpf.bpf import Bpf
from unit.libbpf.objects import OBJECTS

DOCS = Path(__file__).resolve().parents[3] / "docs/libbpf.md"


@pytest.fixture
def bpf():
    kernel = Kernel.in_memory("5.10", possible_cpus=2)
    return Bpf(kernel, kernel.spawn("loader").pid)


def test_the_documented_example(capsys):
    block = DOCS.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    exec(compile(block, "docs/libbpf.md", "exec"), {"path": str(OBJECTS / "multi.bpf.o")})
    assert capsys.readouterr().out.splitlines() == [
        "xdp_pass xdp True",
        "xdp_drop xdp True",
        "cls_len sched_cls False",
        "a_program_with_long_name socket_filter True",
    ]


def test_definitions_are_set_before_the_load(bpf):
    raise_memlock(bpf)
    with Object.open(str(OBJECTS / "maps.bpf.o"), bpf) as obj:
        first = obj.maps[0]
        first.max_entries = 77
        obj.load()
        assert bpf.map_info(first.fd).max_entries == 77
        with pytest.raises(KernelError):
            first.max_entries = 1
    assert first.fd == -1


def test_first_values_of_variables(bpf):
    raise_memlock(bpf)
    with Object.open(str(OBJECTS / "globals.bpf.o"), bpf) as obj:
        data = next(each for each in obj.maps if each.name.endswith(".bss"))
        data.set_initial_value(b"\7" + bytes(len(data.initial_value or b"") - 1))
        with pytest.raises(KernelError):
            data.set_initial_value(b"")
        obj.load()
        assert data.lookup(bytes(4))[0] == 7
    with pytest.raises(KernelError):
        obj.map("none")
