"""`gen`: skeletons in C, and the types that objects need."""

from __future__ import annotations

from typing import Any

from bpfctl.isa.insn import decode_all
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.load import Loader
from bpfctl.libbpf.object import open_btf, open_object
from bpfctl.libbpf.options import LoadOptions
from unit.libbpf.objects import OBJECTS

CORE = OBJECTS / "core.bpf.o"


def relocated(types):
    kernel = Kernel.in_memory("6.18")
    bpf = Bpf(kernel, kernel.spawn("loader").pid)
    options = LoadOptions(kernel_btf=str(types))
    loader = Loader(bpf, open_object(str(CORE)), print, "6.18", options)
    loader._relocate_core()
    return [decode_all(program.spec.insns) for program in loader.programs]


def test_few_types_do(cli, tmp_path):
    whole, small = tmp_path / "vmlinux", tmp_path / "small"
    whole.write_bytes(Kernel.in_memory("6.18").vmlinux_btf())
    cli.ok("gen", "min_core_btf", whole, small, CORE)
    assert small.stat().st_size < 2000
    assert relocated(small) == relocated(whole)
    task: Any = open_btf(str(small)).find("task_struct")
    assert task.size == 3264


def test_variables_lie_as_they_do_in_the_map(cli):
    text = cli.ok("gen", "skeleton", OBJECTS / "globals.bpf.o")
    for words in (
        "\tstruct globals_bpf__data {\n\t\tu32 started;\n\t\tchar tag[8];\n\t} *data;\n",
        "\t\tstruct bpf_map *data_pairs;\n",
        '\ts->maps[0].name = "globals_.rodata";\n',
        "\ts->maps[0].mmaped = (void **)&obj->rodata;\n",
        '\t_Static_assert(sizeof(s->bss->total) == 8, "unexpected size of \'total\'");\n',
        '\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\0',
    ):
        assert words in text


def test_a_library(cli):
    text = cli.ok("gen", "subskeleton", OBJECTS / "globals.bpf.o", "name", "lib")
    assert "\t\tu64 *total;\n" in text
    assert "\ts->vars[0].addr = (void **)&obj->rodata.limit;\n" in text
