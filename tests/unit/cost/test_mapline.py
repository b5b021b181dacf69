from __future__ import annotations

import pytest

from bpfctl.cost.boot import Actor
from bpfctl.cost.choices import Machine
from bpfctl.cost.mapline import _DEFAULTS, parse_map, resolve_inner, with_types
from bpfctl.cost.measure import price
from bpfctl.cost.plan import Plan, Source
from bpfctl.errors import CommandError
from bpfctl.uapi import MAP_TYPE_NUMBER


def test_all_words() -> None:
    text = (
        "type=hash,name=flows,key=8,value=64,entries=64K,flags=no_prealloc|0x40,extra=3,"
        "numa_node=0,copies=5"
    )
    item, inner = parse_map(text, 1)
    spec = item.spec
    assert (item.name, item.type_name, item.copies, inner) == ("flows", "hash", 5, "")
    assert (spec.key_size, spec.value_size, spec.max_entries) == (8, 64, 65536)
    assert (spec.map_flags, spec.map_extra, spec.numa_node) == (0x45, 3, 0)


def test_the_kernels_names_work_too() -> None:
    item, _ = parse_map("type=array,key_size=4,value_size=8,max_entries=2,map_flags=0x400", 3)
    assert item.name == "map3"
    assert (item.spec.value_size, item.spec.map_flags) == (8, 0x400)


def test_an_inner_map_in_place_and_by_name() -> None:
    place, _ = parse_map("type=array_of_maps,entries=4,inner.type=array,inner.value=8,"
                         "inner.entries=2", 1)
    assert place.spec.inner is not None
    assert place.spec.inner.name == "map1.inner"
    named = parse_map("type=hash_of_maps,key=4,entries=4,inner=small", 2)
    small = parse_map("type=array,name=small,value=8,entries=2", 3)
    items = resolve_inner([named, small], "--map")
    assert items[0].spec.inner is items[1].spec


@pytest.mark.parametrize(
    "text",
    [
        "hash",
        "type=hash,",
        "type=hash,=4",
        "key=4",
        "type=none_such",
        "type=hash,key=x",
        "type=hash,key=-1",
        "type=hash,key=4294967296",
        "type=hash,flags=fast",
        "type=hash,size=4",
        "type=hash,key=4,key_size=8",
        "type=hash,name=a b",
        "type=hash,name=a/b",
        "type=hash_of_maps,inner=x,inner.type=array",
        "type=hash_of_maps,inner.type=array_of_maps,inner.inner.type=array",
        "type=hash,copies=0x",
    ],
)
def test_bad_maps(text: str) -> None:
    with pytest.raises(CommandError, match="--map"):
        parse_map(text, 1)


def test_names_must_differ_and_inner_maps_exist() -> None:
    twice = [parse_map("type=array,name=a,value=1,entries=1", n) for n in (1, 2)]
    with pytest.raises(CommandError, match="two maps are called 'a'"):
        resolve_inner(twice, "--map")
    with pytest.raises(CommandError, match="no map 'b'"):
        resolve_inner([parse_map("type=hash_of_maps,key=4,entries=1,inner=b", 1)], "--map")
    with pytest.raises(CommandError, match="no map 'map1'"):
        resolve_inner([parse_map("type=hash_of_maps,key=4,entries=1,inner=map1", 1)], "--map")


MORE = {
    "array_of_maps": ",inner.type=array,inner.value=8,inner.entries=1",
    "hash_of_maps": ",key=4,inner.type=array,inner.value=8,inner.entries=1",
    "lpm_trie": ",key=8,value=8",
    "sockhash": ",key=8",
    "stack_trace": ",value=80",
    "struct_ops": ",struct=tcp_congestion_ops",
}
NO_ENTRIES = ("cgroup_storage", "percpu_cgroup_storage", "sk_storage", "inode_storage",
              "task_storage", "cgrp_storage", "struct_ops")


@pytest.mark.parametrize("name", sorted(_DEFAULTS))
def test_what_goes_without_saying(name: str) -> None:
    entries = "" if name in NO_ENTRIES else ",entries=8"
    value = "" if "value" in _DEFAULTS[name] or name == "arena" else ",value=8"
    more = MORE.get(name, value)
    item, _ = parse_map(f"type={name}{entries}{more}", 1)
    source = Source("--map", [item], btf=with_types([item]))
    cost = price(Plan([source]), Machine("6.18"), [], Actor()).maps[0]
    assert cost.refused is None
    assert set(_DEFAULTS) <= set(MAP_TYPE_NUMBER)
