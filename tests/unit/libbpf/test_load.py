"""Objects loaded into a kernel in memory: what is created, and what is undone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfctl.errors import KernelError, TaskKilled
from bpfctl.kernel.kernel import Kernel
from bpfctl.libbpf import pinning
from bpfctl.libbpf.bpf import Bpf
from bpfctl.libbpf.load import Loader, LoadError, set_type
from bpfctl.libbpf.object import open_object
from bpfctl.uapi import ALL_CAPS, MAP_TYPE_NUMBER, MapCreateAttr

OBJECTS = Path(__file__).parents[2] / "data" / "objects"
PIN_BY_NAME = "/sys/fs/bpf/a_map_with_a_long_name"


class Lab:
    """A kernel, a task and what libbpf has said."""

    def __init__(self, profile: str = "6.12", caps: int = ALL_CAPS, memlock: int | None = None):
        self.kernel = Kernel.in_memory(profile, possible_cpus=2)
        self.kernel.memcg.create("/box")
        task = self.kernel.spawn("t", cgroup="/box", caps=caps, memlock=memlock)
        self.bpf = Bpf(self.kernel, task.pid)
        self.said: list[str] = []

    def open(self, name: str) -> Loader:
        return Loader(self.bpf, open_object(str(OBJECTS / name)), self.said.append, "6.12.3")

    def load(self, name: str) -> Loader:
        loader = self.open(name)
        loader.load()
        return loader

    def map(self, loader: Loader, name: str) -> int:
        return next(made.fd for made in loader.maps if made.name == name)

    def left(self) -> tuple[int, int, int]:
        """Numbers of maps, programs and BTF objects."""
        bpf = self.bpf
        walks = (bpf.map_get_next_id, bpf.prog_get_next_id, bpf.btf_get_next_id)
        maps, progs, btfs = (len(list(bpf.ids(walk))) for walk in walks)
        return maps, progs, btfs


def test_closing_leaves_nothing():
    lab = Lab()
    for name in ("maps.bpf.o", "globals.bpf.o", "tail.bpf.o", "sub.bpf.o", "nest.bpf.o"):
        loader = lab.load(name)
        assert lab.left() != (0, 0, 0)
        loader.close()
        assert lab.left() == (0, 0, 0)
    assert lab.said == []
    # What is left belongs to the task that runs on.
    lab.kernel.exit_task(lab.bpf.pid)
    assert lab.kernel.memcg.current(lab.kernel.memcg.lookup("/box")) == 0


def test_global_data_has_its_first_values():
    lab = Lab()
    loader = lab.load("globals.bpf.o")
    values = {
        made.name: lab.bpf.map_lookup_elem(made.fd, bytes(4)).hex() for made in loader.maps
    }
    assert values == {made.name: _expected(made.spec) for made in loader.maps}
    assert values["globals.bss"] == "00" * 8
    frozen = [lab.bpf.fdinfo(made.fd)["frozen"] for made in loader.maps]
    assert frozen == ["1", "0", "0", "0"]


def _expected(spec) -> str:
    return spec.data.ljust(spec.value_size, b"\0").hex()


def test_declared_elements_are_stored():
    lab = Lab()
    loader = lab.load("nest.bpf.o")
    outer = lab.map(loader, "outer")
    ids = [lab.bpf.map_info(lab.map(loader, name)).id for name in ("first", "second")]
    stored = [lab.bpf.map_lookup_elem(outer, bytes((slot, 0, 0, 0))) for slot in (0, 2)]
    assert [int.from_bytes(value, "little") for value in stored] == ids
    with pytest.raises(KernelError):
        lab.bpf.map_lookup_elem(outer, bytes((1, 0, 0, 0)))


def test_programs_use_the_maps_of_their_object():
    lab = Lab()
    loader = lab.load("maps.bpf.o")
    info = lab.bpf.prog_info(loader.programs[0].fd)
    assert list(info.map_ids) == [lab.bpf.map_info(made.fd).id for made in loader.maps]
    assert info.btf_id == lab.bpf.map_info(loader.maps[0].fd).btf_id
    assert len(info.func_info) == 8
    assert len(info.line_info) % 16 == 0


def test_constants_are_held_unnamed():
    lab = Lab()
    loader = lab.load("meta.bpf.o")
    info = lab.bpf.prog_info(loader.programs[0].fd)
    assert info.map_ids == (lab.bpf.map_info(loader.maps[0].fd).id,)


def test_the_kernel_version_is_an_extern():
    lab = Lab()
    loader = lab.load("externs.bpf.o")
    extern = next(e for e in loader.obj.externs if e.name == "LINUX_KERNEL_VERSION")
    data = lab.bpf.map_lookup_elem(loader.maps[0].fd, bytes(4))
    value = data[extern.offset : extern.offset + extern.size]
    assert int.from_bytes(value, "little") == 6 << 16 | 12 << 8


def test_what_a_section_asks_for_goes_with_its_type():
    spec = open_object(str(OBJECTS / "externs.bpf.o")).programs[0]
    assert (spec.type_name, spec.attach_to) == ("raw_tracepoint", "sys_enter")
    set_type(spec, 6, 37)
    assert (spec.type_name, spec.attach_type, spec.attach_to) == ("xdp", 37, "")


def existing(lab: Lab, name: bytes, entries: int = 3) -> int:
    return lab.bpf.map_create(
        MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 8, entries, map_name=name)
    )


def test_a_map_can_stand_in_for_another():
    lab = Lab()
    fd = existing(lab, b"mine")
    loader = lab.open("maps.bpf.o")
    loader.reuse(0, fd)
    loader.load()
    assert loader.maps[0].name == "mine"
    assert lab.left()[0] == 4
    assert lab.bpf.prog_info(loader.programs[0].fd).map_ids[0] == lab.bpf.map_info(fd).id


def test_a_map_is_pinned_by_name_and_found_again():
    lab = Lab()
    first = lab.load("kinds.bpf.o")
    second = lab.load("kinds.bpf.o")
    ids = [
        lab.bpf.map_info(lab.map(loader, "a_map_with_a_long_name")).id
        for loader in (first, second)
    ]
    assert ids[0] == ids[1]
    assert lab.kernel.bpffs.lookup(PIN_BY_NAME).obj_id == ids[0]


def test_a_pin_of_another_shape_is_refused():
    lab = Lab()
    lab.bpf.obj_pin(existing(lab, b"other"), PIN_BY_NAME)
    with pytest.raises(LoadError):
        lab.load("kinds.bpf.o")
    assert lab.said[0] == f"couldn't reuse pinned map at '{PIN_BY_NAME}': parameter mismatch"
    assert lab.said[-1].startswith("failed to load object '")
    assert lab.left() == (1, 0, 0)


def test_a_failure_unpins_what_was_pinned():
    lab = Lab()
    loader = lab.open("kinds.bpf.o")
    loader.programs[0].spec.insns = b"\xff" * 8
    with pytest.raises(LoadError):
        loader.load()
    assert lab.said[:2] == [
        "prog 'first': BPF program load failed: Invalid argument",
        "prog 'first': failed to load: -22",
    ]
    assert list(lab.kernel.bpffs.pins()) == []
    assert lab.left() == (0, 0, 0)


def test_a_refused_map_is_named():
    lab = Lab()
    loader = lab.open("maps.bpf.o")
    loader.maps[1].spec.map_flags = 1 << 31
    with pytest.raises(LoadError) as found:
        loader.load()
    assert found.value.errno == 22
    assert lab.said[0] == (
        "Error in bpf_create_map_xattr(flows):Invalid argument(-22). Retrying without BTF."
    )
    assert lab.said[1] == "map 'flows': failed to create: Invalid argument(-22)"
    assert lab.left() == (0, 0, 0)


def test_nobody_without_capabilities_gets_far():
    lab = Lab(caps=0)
    with pytest.raises(LoadError):
        lab.load("maps.bpf.o")
    (first, last) = lab.said
    assert first.startswith("Error in bpf_object__probe_loading():Operation not permitted(1).")
    assert last.startswith("failed to load object '")


def test_a_small_rlimit_is_explained():
    lab = Lab("5.10", memlock=16384)
    with pytest.raises(LoadError):
        lab.load("maps.bpf.o")
    assert lab.said[:3] == [
        "prog 'use_maps': BPF program load failed: Operation not permitted",
        "permission error while running as root; try raising 'ulimit -l'? "
        "current value: 16.0 KiB",
        "prog 'use_maps': failed to load: -1",
    ]
    assert lab.left() == (0, 0, 0)


def test_a_kill_goes_through():
    lab = Lab()
    lab.kernel.set_memory_knob("/box", "max", 4096)
    with pytest.raises(TaskKilled):
        lab.load("globals.bpf.o")


def test_pins_of_programs_and_maps():
    lab = Lab()
    loader = lab.load("globals.bpf.o")
    pinning.pin_programs(loader, "/sys/fs/bpf/p")
    pinning.pin_maps(loader, "/sys/fs/bpf/m")
    loader.close()
    paths = sorted(path for path, _, _ in lab.kernel.bpffs.pins())
    assert paths == [
        "/sys/fs/bpf/m/_data_pairs",
        "/sys/fs/bpf/m/globals_bss",
        "/sys/fs/bpf/m/globals_data",
        "/sys/fs/bpf/m/globals_rodata",
        "/sys/fs/bpf/p/account",
    ]


def test_pins_come_all_or_none():
    lab = Lab()
    loader = lab.load("multi.bpf.o")
    lab.kernel.bpffs.mkdir("/sys/fs/bpf/p")
    lab.bpf.obj_pin(loader.programs[0].fd, f"/sys/fs/bpf/p/{loader.programs[2].name}")
    with pytest.raises(KernelError):
        pinning.pin_programs(loader, "/sys/fs/bpf/p")
    assert [path for path, _, _ in lab.kernel.bpffs.pins()] == ["/sys/fs/bpf/p/cls_len"]
    assert lab.said == ["prog 'cls_len': failed to pin at '/sys/fs/bpf/p/cls_len': File exists"]


def test_a_program_that_waits_cannot_be_pinned():
    lab = Lab()
    loader = lab.load("callbacks.bpf.o")
    assert [program.fd < 0 for program in loader.programs] == [False, True]
    with pytest.raises(KernelError):
        pinning.pin_programs(loader, "/sys/fs/bpf/p")
    assert lab.said == ["prog 'optional': can't pin program that wasn't loaded"]
