"""CO-RE: what libbpf and a 6.18.44 kernel made of the same object (bpftool prog dump xlated)."""

from __future__ import annotations

import pytest

from bpfctl.isa.insn import decode_all
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.core.apply import POISON_CALL
from bpfctl.libbpf.core.spec import essential
from bpfctl.libbpf.load import Loader, LoadError
from bpfctl.libbpf.object import open_object
from bpfctl.libbpf.options import LoadOptions
from unit.libbpf.objects import OBJECTS

MOV, LD_IMM64, CALL = 0xB7, 0x18, 0x85


class Lab:
    def __init__(self, name, profile="6.18", **options):
        self.kernel = Kernel.in_memory(profile)
        self.bpf = Bpf(self.kernel, self.kernel.spawn("loader").pid)
        self.said = []
        self.obj = open_object(str(OBJECTS / name))
        settings = LoadOptions(**options)
        release = self.kernel.profile.release
        self.loader = Loader(self.bpf, self.obj, self.said.append, release, settings)

    def values(self, name):
        self.loader._relocate_core()
        program = next(each for each in self.loader.programs if each.name == name)
        insns = decode_all(program.spec.insns)
        return [insn.imm for insn in insns if insn.code in (MOV, LD_IMM64, CALL)]


@pytest.mark.parametrize(
    ("program", "want"),
    [
        # current, offset of pid, probe_read, size of a pointer, signed, __state, state, shifts
        ("fields", [35, 1264, 113, 8, 1, 1, 0, 56, 60]),
        # task_struct is there, no_such_struct is not; its size; BPF_MAP_TYPE_HASH is 1, no other
        ("types", [1, 0, 3264, 1, 0]),
        # a field that is not there poisons its offset only
        ("guarded", [35, 0, POISON_CALL + 1, 113]),
    ],
)
def test_as_libbpf_does_it(program, want):
    assert Lab("core.bpf.o").values(program) == want


def test_a_member_that_was_called_otherwise():
    assert Lab("core.bpf.o", "5.10").values("fields")[5:7] == [0, 1]
    assert Lab("core.bpf.o", "5.15").values("fields")[5:7] == [1, 0]


def test_the_types_of_another_kernel(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(Kernel.in_memory("5.10").vmlinux_btf())
    lab = Lab("core.bpf.o", kernel_btf=str(path))
    assert lab.values("fields")[5:7] == [0, 1]


def test_a_file_that_has_no_types(tmp_path):
    path = tmp_path / "vmlinux"
    path.write_bytes(b"nothing")
    lab = Lab("core.bpf.o", kernel_btf=str(path))
    with pytest.raises(LoadError):
        lab.loader.load()
    assert "failed to parse target BTF: " in lab.said[0]


def test_what_is_missing_is_refused_when_it_is_reached():
    lab = Lab("core.bpf.o")
    for program in lab.obj.programs:
        program.autoload = program.name in ("fields", "types")
    lab.loader.load()
    lab = Lab("core.bpf.o")
    for program in lab.obj.programs:
        program.autoload = program.name == "missing"
    with pytest.raises(LoadError):
        lab.loader.load()


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("task_struct", "task_struct"),
        ("task_struct___old", "task_struct"),
        ("a___b___c", "a___b"),
        ("___a", "___a"),
        ("a____b", "a____b"),
        ("a___", "a___"),
    ],
)
def test_flavours(name, want):
    assert essential(name) == want


def test_configuration():
    lab = Lab("externs.bpf.o", kconfig={"CONFIG_HZ": "1000"})
    lab.loader.load()
    data = lab.bpf.map_lookup_elem(lab.loader.maps[0].fd, bytes(4))
    places = {extern.name: extern for extern in lab.obj.externs}
    hz = places["CONFIG_HZ"]
    assert int.from_bytes(data[hz.offset : hz.offset + hz.size], "little") == 1000
    assert data[places["CONFIG_BPF"].offset] == 1


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("y", "extern (kcfg) 'CONFIG_HZ': value 'y' implies y/n/m type"),
        ('"x"', "extern (kcfg) 'CONFIG_HZ': value '\"x\"' implies string type"),
        ("1z", "extern (kcfg) 'CONFIG_HZ': value '1z' isn't a valid integer"),
        (str(1 << 64), f"extern (kcfg) 'CONFIG_HZ': value '{1 << 64}' doesn't fit in 8 bytes"),
    ],
)
def test_configuration_of_the_wrong_kind(value, says):
    lab = Lab("externs.bpf.o", kconfig={"CONFIG_HZ": value})
    with pytest.raises(LoadError):
        lab.loader.load()
    assert lab.said[0] == says
