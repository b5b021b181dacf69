"""Map specs: what the loader completes, and overrides."""

from __future__ import annotations

from typing import Any

import pytest

from bpfctl.errors import SpecError
from bpfctl.libbpf.mapspec import MapSpec, apply_settings
from bpfctl.uapi import MAP_TYPE_NUMBER


def spec(type_name: str, entries: int = 0, **fields: Any) -> MapSpec:
    return MapSpec("m", MAP_TYPE_NUMBER[type_name], max_entries=entries, **fields)


@pytest.mark.parametrize(("entries", "expected"), [(0, 6), (3, 3)])
def test_perf_event_arrays_have_an_entry_for_each_cpu(entries: int, expected: int) -> None:
    assert spec("perf_event_array", entries).resolve(6, 4096).max_entries == expected


@pytest.mark.parametrize("kind", ["ringbuf", "user_ringbuf"])
@pytest.mark.parametrize(
    ("asked", "page", "made"),
    [
        (0, 4096, 0),
        (1, 4096, 4096),
        (4096, 4096, 4096),
        (4097, 4096, 8192),
        (12288, 4096, 16384),
        (1 << 31, 4096, 1 << 31),
        ((1 << 31) + 1, 4096, (1 << 31) + 1),
        (4096, 65536, 65536),
    ],
)
def test_ring_buffers_are_whole_powers_of_two(kind: str, asked: int, page: int, made: int) -> None:
    assert spec(kind, asked).resolve(2, page).max_entries == made


def test_inner_maps_are_completed_too() -> None:
    outer = spec("array_of_maps", 1)
    outer.inner = spec("ringbuf", 5000)
    resolved = outer.resolve(2, 4096)
    assert resolved.inner
    assert (resolved.inner.max_entries, outer.inner.max_entries) == (8192, 5000)


@pytest.mark.parametrize(("kind", "kept"), [("hash", 7), ("stack_trace", 0), ("devmap", 0)])
def test_types_that_refuse_btf_lose_it(kind: str, kept: int) -> None:
    made = spec(kind, 1, btf_key_type_id=7, btf_value_type_id=7).resolve(2, 4096)
    assert (made.btf_key_type_id, made.btf_value_type_id) == (kept, kept)


def test_attributes_of_creation() -> None:
    made = spec("hash", 3, key_size=4, value_size=8, map_flags=1, btf_value_type_id=9)
    made.name = "a_name_of_more_than_15"
    attr = made.create_attr(btf_fd=5)
    assert (attr.map_type, attr.key_size, attr.value_size, attr.max_entries) == (1, 4, 8, 3)
    assert (attr.map_name, attr.btf_fd, attr.btf_value_type_id) == (b"a_name_of_more_", 5, 9)
    assert made.create_attr().btf_value_type_id == 0


def test_settings_change_any_attribute() -> None:
    maps = [spec("hash", 3, btf_key_type_id=1, btf_value_type_id=2)]
    apply_settings(maps, ["m.max_entries=0x10", "m.flags=1", "m.type=lru_hash", "m.map_extra=9"])
    assert (maps[0].max_entries, maps[0].map_flags, maps[0].type_name) == (16, 1, "lru_hash")
    assert maps[0].map_extra == 9
    assert maps[0].btf_value_type_id == 2
    apply_settings(maps, ["m.value_size=12"])
    assert (maps[0].value_size, maps[0].btf_value_type_id) == (12, 0)


def test_settings_reach_names_with_dots_and_inner_maps() -> None:
    data = MapSpec(".data.x", 2, 4, 4, 1, data=b"abcd")
    outer = MapSpec("outer", 12, inner=MapSpec("outer.inner", 1))
    apply_settings([data, outer], [".data.x.value_size=6", "outer.inner.max_entries=5"])
    assert data.data == b"abcd\0\0"
    assert outer.inner
    assert outer.inner.max_entries == 5


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("nonsense", "is not NAME.attribute=value"),
        ("m.max_entries=", "is not NAME.attribute=value"),
        ("m=3", "is not NAME.attribute=value"),
        ("x.max_entries=1", "no map 'x'; there are: m"),
        ("m.color=1", "no attribute 'color'"),
        ("m.max_entries=many", "is not a number"),
        ("m.max_entries=-1", "out of range"),
        ("m.max_entries=0x100000000", "out of range"),
        ("m.type=nosuch", "is not a number"),
    ],
)
def test_bad_settings_are_explained(setting: str, reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        apply_settings([spec("hash", 1)], [setting])


def test_unknown_types_have_a_name() -> None:
    assert MapSpec("m", 77).type_name == "type 77"
