"""Objects as a loader sees them: names, maps in order, linked programs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from bpfctl.isa import patch
from bpfctl.libbpf.object import DEFAULT_RULES, object_name, open_btf, open_object
from bpfctl.libbpf.object_error import ObjectError
from bpfctl.libbpf.object_maps import LoadRules, data_map_name
from bpfctl.libbpf.object_progs import ProgramSpec
from unit.libbpf.objects import OBJECTS, object_path, opened

# name, type, key, value, entries, flags
MAPS = {
    "maps": [
        ("counters", "array", 4, 8, 3, 0),
        ("flows", "hash", 8, 72, 8, 0),
        ("pcpu", "percpu_array", 4, 16, 2, 0),
        ("colors", "hash", 4, 4, 4, 1),
    ],
    "globals": [
        ("globals.rodata", "array", 4, 4, 1, 0x480),
        ("globals.data", "array", 4, 16, 1, 0x400),
        (".data.pairs", "array", 4, 8, 1, 0x400),
        ("globals.bss", "array", 4, 8, 1, 0x400),
    ],
    "kinds": [
        ("ring", "ringbuf", 0, 0, 8192, 0),
        ("rings", "hash_of_maps", 4, 4, 4, 0),
        ("jumps", "prog_array", 4, 4, 3, 0),
        ("a_map_with_a_long_name", "hash", 4, 16, 7, 5),
        ("events", "perf_event_array", 4, 4, 2, 0),
        ("bloom", "bloom_filter", 0, 4, 100, 0),
    ],
    "nest": [
        ("first", "array", 4, 4, 2, 0),
        ("second", "array", 4, 4, 2, 0),
        ("outer", "array_of_maps", 4, 4, 3, 0),
    ],
    "legacy": [
        ("flows", "hash", 4, 8, 1024, 1),
        ("counts", "percpu_array", 4, 8, 256, 0),
    ],
    "externs": [("externs.kconfig", "array", 4, 37, 1, 0x480)],
    # All variables of .data are static: user space cannot reach them, so it is not mappable.
    "callbacks": [
        ("callback.bss", "array", 4, 8, 1, 0x400),
        ("callback.data", "array", 4, 4, 1, 0),
    ],
    "ops": [("quiet", "struct_ops", 4, 32, 1, 0x2000)],
    "basic": [],
}


def shape(name: str, rules: LoadRules = DEFAULT_RULES) -> list[tuple[Any, ...]]:
    made = [spec.resolve(2, 4096) for spec in opened(name, rules).maps]
    return [
        (m.name, m.type_name, m.key_size, m.value_size, m.max_entries, m.map_flags) for m in made
    ]


@pytest.mark.parametrize("name", MAPS)
def test_maps_in_creation_order(name: str) -> None:
    assert shape(f"{name}.bpf.o") == MAPS[name]


@pytest.mark.parametrize("name", ["maps", "kinds", "globals", "legacy", "callbacks"])
def test_big_endian_objects_have_the_same_maps(name: str) -> None:
    assert sorted(shape(f"{name}.be.o")) == sorted(MAPS[name])
    assert opened(f"{name}.be.o").big_endian


def test_old_loaders_map_all_global_data() -> None:
    flags = {each[0]: each[5] for each in shape("callbacks.bpf.o", LoadRules(mmap_all=True))}
    assert flags == {"callback.bss": 0x400, "callback.data": 0x400}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("globals.bpf.o", "globals"),
        ("/a/b.c/an_object_with_a_long_name.o", "an_object_with_"),
        ("plain", "plain"),
        (".hidden.o", ""),
    ],
)
def test_object_names(path: str, name: str) -> None:
    assert object_name(path) == name


@pytest.mark.parametrize(
    ("obj", "section", "name"),
    [
        ("globals", ".data", "globals.data"),
        ("a_long_name", ".rodata", "a_long_n.rodata"),
        ("a_long_name", ".kconfig", "a_long_.kconfig"),
        ("a_long_name", ".bss", "a_long_n.bss"),
        ("a-b", ".bss", "a_b.bss"),
        ("any", ".data.pairs", ".data.pairs"),
        ("", ".bss", ".bss"),
    ],
)
def test_names_of_data_maps(obj: str, section: str, name: str) -> None:
    assert data_map_name(obj, section) == name


def test_attributes_beyond_the_sizes() -> None:
    obj = opened("kinds.bpf.o")
    named = obj.map("a_map_with_a_long_name")
    bloom, rings, jumps = obj.map("bloom"), obj.map("rings"), obj.map("jumps")
    assert named
    assert bloom
    assert jumps
    assert rings
    assert rings.inner
    assert (named.pinning, named.kernel_name) == (1, b"a_map_with_a_lo")
    assert (bloom.map_extra, bool(bloom.btf_value_type_id)) == (3, True)
    assert (rings.inner.name, rings.inner.type_name, rings.inner.max_entries) == (
        "rings.inner",
        "ringbuf",
        9000,
    )
    assert (rings.slots, jumps.slots) == ({1: "ring"}, {0: "first", 2: "second"})


def test_initial_elements_of_a_map_of_maps() -> None:
    outer = opened("nest.bpf.o").map("outer")
    assert outer
    assert outer.slots == {0: "first", 2: "second"}


def test_contents_of_global_data() -> None:
    specs = {spec.section: spec for spec in opened("globals.bpf.o").maps}
    assert specs[".rodata"].data == (10).to_bytes(4, "little")
    assert specs[".data.pairs"].data == b"\x01\0\xfe\xff\x03\0\x04\0"
    assert specs[".bss"].data == b""
    assert [spec.frozen for spec in specs.values()] == [True, False, False, False]


def test_key_and_value_types_of_legacy_maps() -> None:
    obj = opened("legacy.bpf.o")
    flows, counts = obj.map("flows"), obj.map("counts")
    assert flows
    assert counts
    assert obj.btf
    assert obj.btf.size_of(flows.btf_value_type_id) == 8
    assert (counts.btf_key_type_id, counts.btf_value_type_id) == (0, 0)


def test_legacy_definitions_with_more_fields() -> None:
    with pytest.raises(ObjectError, match="'counts' has unrecognized, non-zero options") as caught:
        opened("legacy-tail.bpf.o")
    assert caught.value.section == "maps"
    assert shape("legacy-tail.bpf.o", LoadRules(relaxed=True)) == MAPS["legacy"]


def test_externs_have_places_in_the_kconfig_map() -> None:
    obj = opened("externs.bpf.o")
    places = [(e.name, e.offset, e.size, e.weak) for e in obj.externs if e.section == ".kconfig"]
    # Largest alignment first, then smaller sizes, then names.
    assert places == [
        ("CONFIG_HZ", 0, 8, False),
        ("CONFIG_BPFILTER", 8, 4, True),
        ("LINUX_KERNEL_VERSION", 12, 4, False),
        ("CONFIG_BPF", 16, 1, False),
        ("CONFIG_LOCALVERSION", 17, 20, False),
    ]
    assert [e.name for e in obj.externs if e.section == ".ksyms"] == [
        "bpf_prog_active",
        "bpf_rcu_read_lock",
    ]


def test_btf_to_load_has_sizes_offsets_and_no_externs() -> None:
    btf = opened("externs.bpf.o").btf
    assert btf
    sections = {each.name: each for each in btf if each.kind.name == "DATASEC"}
    assert [(v.offset, v.size) for v in sections[".kconfig"].vars][:2] == [(0, 8), (8, 4)]  # type: ignore[attr-defined]
    assert [(v.offset, v.size) for v in sections[".ksyms"].vars] == [(0, 4), (4, 4)]  # type: ignore[attr-defined]
    assert btf.find("dummy_ksym") is not None


# name, section, type, instructions, subprograms, function records, line records
PROGRAMS = {
    "basic": [("accept_none", "socket", "socket_filter", 2, [], 1, 1)],
    "sub": [("caller", "tc", "sched_cls", 14, ["helper_static", "helper_global"], 3, 12)],
    "callbacks": [
        ("run", "tc", "sched_cls", 30, ["body", "add", "twice"], 4, 15),
        ("optional", "?tc", "sched_cls", 20, ["twice", "add"], 3, 10),
    ],
    "badsec": [("puzzled", "mystery", "unspec", 2, [], 1, 1)],
    "gcc-sub": [("caller", "tc", "sched_cls", 17, ["helper_static", "helper_global"], 0, 0)],
    "ops": [
        ("quiet_init", "struct_ops/init", "struct_ops", 1, [], 1, 1),
        ("quiet_ssthresh", "struct_ops/ssthresh", "struct_ops", 2, [], 1, 1),
    ],
}


def infos(spec: ProgramSpec) -> tuple[list[Any], list[Any]]:
    return spec.func_info, spec.line_info


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name: str) -> None:
    found = [
        (p.name, p.section, p.type_name, p.insn_cnt, p.subprograms, *map(len, infos(p)))
        for p in opened(f"{name}.bpf.o").programs
    ]
    assert found == PROGRAMS[name]


@pytest.mark.parametrize("name", ["maps", "sub", "globals", "callbacks"])
def test_big_endian_code_is_turned_around(name: str) -> None:
    little, big = opened(f"{name}.bpf.o"), opened(f"{name}.be.o")
    for mine, other in zip(little.programs, big.programs, strict=True):
        # Compilers order bit field accesses by endianness, but not the shape of these programs.
        assert [mine.insns[at] for at in range(0, len(mine.insns), 8)] == [
            other.insns[at] for at in range(0, len(other.insns), 8)
        ]
        assert mine.references == other.references


def test_programs_that_are_not_loaded_unless_asked() -> None:
    assert [spec.autoload for spec in opened("callbacks.bpf.o").programs] == [True, False]


def test_references_to_maps_and_data() -> None:
    found = opened("callbacks.bpf.o").program("run")
    assert found
    assert found.map_names == ["callback.data", "callback.bss"]
    assert {ref.kind for ref in found.references} == {"value"}
    externs = opened("externs.bpf.o").program("configured")
    assert externs
    kinds = {(ref.kind, ref.name) for ref in externs.references}
    assert kinds == {
        ("kfunc", "bpf_rcu_read_lock"),
        ("ksym", "bpf_prog_active"),
        ("value", "externs.kconfig"),
    }
    offsets = [ref.offset for ref in externs.references if ref.kind == "value"]
    assert offsets == [16, 8, 12, 0, 17]


def tag(spec: ProgramSpec) -> str:
    """Digest of the instructions with the map references of a loaded program (Linux 6.18)."""
    code = bytearray(spec.insns)
    for ref in spec.references:
        patch.set_src_reg(code, ref.insn, 1 if ref.kind == "map" else 2)
        patch.set_imm(code, ref.insn, 0)
        patch.set_imm(code, ref.insn + 1, 0)
    return hashlib.sha256(code).hexdigest()[:16]


@pytest.mark.parametrize(
    ("name", "program", "expected"),
    [
        # As a 6.18 kernel printed them; the three functions of "sub" are one piece of code.
        ("basic", "accept_none", "691ef55febf78432"),
        ("sub", "caller", "4b6ee1eff6dfec47"),
        ("maps", "use_maps", "a372d848d2f2cb4d"),
        ("globals", "account", "28247a3c640ffbd1"),
        ("nest", "touch", "e9212cf8a90b2af8"),
        ("tail", "entry", "876ef4875c121eab"),
        ("tail", "one", "b30cf65b7e0fa9c7"),
        ("tail", "two", "5048750fcc729906"),
        ("multi", "a_program_with_long_name", "b09797b258c291d2"),
        ("multi", "cls_len", "8fc2e1a1eb573aef"),
        ("multi", "xdp_drop", "b30cf65b7e0fa9c7"),
        ("multi", "xdp_pass", "d4f8542f2b42fac5"),
        ("alu", "alu", "8720140898731363"),
    ],
)
def test_linked_code_is_what_the_kernel_got(name: str, program: str, expected: str) -> None:
    found = opened(f"{name}.bpf.o").program(program)
    assert found
    assert tag(found) == expected


def test_line_records_of_subprograms_move_with_them() -> None:
    found = opened("sub.bpf.o").program("caller")
    assert found
    assert [record[0] for record in found.func_info] == [0, 6, 10]
    assert all(record[0] < found.insn_cnt for record in found.line_info)
    assert [record[0] for record in found.line_info] == sorted(r[0] for r in found.line_info)


@pytest.mark.parametrize(
    ("name", "text"), [("basic", "GPL"), ("multi", "Dual BSD/GPL"), ("ops", "GPL")]
)
def test_licences(name: str, text: str) -> None:
    assert opened(f"{name}.bpf.o").license == text


def test_every_object_can_be_read() -> None:
    read = [path for path in sorted(OBJECTS.glob("*.o")) if path.name != "legacy-tail.bpf.o"]
    assert len(read) > 20
    for path in read:
        assert open_object(str(path)).programs, path.name


def test_types_of_files(tmp_path: Path) -> None:
    obj = opened("maps.bpf.o")
    assert obj.btf
    stored = open_btf(object_path("maps.bpf.o"))
    blob = tmp_path / "blob"
    blob.write_bytes(obj.btf.raw)
    assert len(open_btf(str(blob))) == len(stored)


@pytest.mark.parametrize(
    ("content", "errno"), [(b"", 5), (b"just text", 4001), (b"\x9f\xeb", 22), (None, 2)],
    ids=["empty", "text", "cut off", "absent"],
)
def test_files_without_types(tmp_path: Path, content: bytes | None, errno: int) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ObjectError) as caught:
        open_btf(str(path))
    assert caught.value.errno == errno
    assert str(path) in caught.value.text


def test_settings_reach_the_maps() -> None:
    obj = opened("kinds.bpf.o")
    obj.apply(["ring.max_entries=262144", "rings.inner.max_entries=4096"])
    resolved = {spec.name: spec.resolve(2, 4096) for spec in obj.maps}
    inner = resolved["rings"].inner
    assert inner
    assert (resolved["ring"].max_entries, inner.max_entries) == (262144, 4096)
