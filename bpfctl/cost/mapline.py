"""Maps described in words: ``--map type=hash,key=4,...`` and the tables of a plan file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bpfctl import plugins, uapi
from bpfctl.cost.choices import parse_count
from bpfctl.cost.plan import MapItem
from bpfctl.errors import CommandError
from bpfctl.libbpf.mapspec import STRUCT_OPS, MapSpec
from bpfctl.uapi import MAP_TYPES, U32_MAX

# word: attribute of MapSpec, largest value
NUMBERS = {
    "key": ("key_size", U32_MAX),
    "value": ("value_size", U32_MAX),
    "entries": ("max_entries", U32_MAX),
    "numa_node": ("numa_node", U32_MAX),
    "extra": ("map_extra", (1 << 64) - 1),
}
_ALIASES = {
    "key_size": "key",
    "value_size": "value",
    "max_entries": "entries",
    "map_flags": "flags",
    "map_extra": "extra",
}
WORDS = ("type", "name", "flags", "inner", "copies", "struct", *NUMBERS)

_FLAGS = (
    "no_prealloc",
    "no_common_lru",
    "numa_node",
    "rdonly",
    "wronly",
    "stack_build_id",
    "zero_seed",
    "rdonly_prog",
    "wronly_prog",
    "clone",
    "mmapable",
    "preserve_elems",
    "inner_map",
    "link",
    "segv_on_fault",
    "no_user_conv",
)
FLAGS: dict[str, int] = {name: getattr(uapi, f"BPF_F_{name.upper()}") for name in _FLAGS}

# What goes without saying: the only value that a type takes.
_FD_ARRAY = {"key": 4, "value": 4}
_STORAGE = {"key": 4, "flags": FLAGS["no_prealloc"]}
_DEFAULTS: dict[str, dict[str, int]] = {
    "array": {"key": 4},
    "percpu_array": {"key": 4},
    "prog_array": _FD_ARRAY,
    "perf_event_array": _FD_ARRAY,
    "cgroup_array": _FD_ARRAY,
    "array_of_maps": _FD_ARRAY,
    "hash_of_maps": {"value": 4},
    "stack_trace": {"key": 4},
    "lpm_trie": {"flags": FLAGS["no_prealloc"]},
    "devmap": _FD_ARRAY,
    "devmap_hash": _FD_ARRAY,
    "cpumap": _FD_ARRAY,
    "xskmap": _FD_ARRAY,
    "sockmap": _FD_ARRAY,
    "sockhash": {"value": 4},
    "reuseport_sockarray": {"key": 4, "value": 8},
    "cgroup_storage": {"key": 8},
    "percpu_cgroup_storage": {"key": 8},
    "sk_storage": _STORAGE,
    "inode_storage": _STORAGE,
    "task_storage": _STORAGE,
    "cgrp_storage": _STORAGE,
    "arena": {"flags": FLAGS["mmapable"]},
    "struct_ops": {"key": 4, "entries": 1},
}
# The kernel wants the types of key and value for these.
NEED_BTF = frozenset(("sk_storage", "inode_storage", "task_storage", "cgrp_storage", "struct_ops"))


def parse_map(text: str, number: int) -> tuple[MapItem, str]:
    """Return the map that ``--map`` describes, and the name of the map in ``inner`` ("": none).

    ``number`` names it where nothing else does. ``inner.WORD`` describes a template in place.

    :raises CommandError: unknown words, bad values.
    """
    words: dict[str, Any] = {}
    inner: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name:
            raise CommandError(
                f"--map {text}: '{part}' is not NAME=VALUE", hint=f"names: {', '.join(WORDS)}"
            )
        table, name = (inner, name[6:]) if name.startswith("inner.") else (words, name)
        if _ALIASES.get(name, name) in table:
            raise CommandError(f"--map {text}: '{name}' is given twice")
        table[_ALIASES.get(name, name)] = value.strip()
    if inner:
        if "inner" in words:
            raise CommandError(f"--map {text}: both inner and inner.{next(iter(inner))}")
        words["inner"] = inner
    return map_item(words, f"--map {text}", f"map{number}")


def map_item(words: Mapping[str, Any], where: str, name: str) -> tuple[MapItem, str]:
    """Return the map of a table of words, and the name of the map in ``inner`` ("": none).

    :raises CommandError: it begins with ``where``.
    """
    table = {_ALIASES.get(word, word): value for word, value in words.items()}
    unknown = [word for word in table if word not in WORDS]
    if unknown:
        raise CommandError(
            f"{where}: unknown word '{unknown[0]}'", hint=f"words: {', '.join(WORDS)}"
        )
    spec = _spec(table, where, str(table.get("name", name)))
    if not spec.name.isascii() or not spec.name.replace(".", "_").replace("_", "a").isalnum():
        raise CommandError(f"{where}: name '{spec.name}': letters, digits, _ and . only")
    copies = _number(table.get("copies", 1), "copies", where, U32_MAX)
    if not copies:
        raise CommandError(f"{where}: copies=0 is no map at all")
    inner = table.get("inner", "")
    if isinstance(inner, Mapping):
        item, nested = map_item(inner, f"{where}: inner", f"{spec.name}.inner")
        if nested or item.spec.inner:
            raise CommandError(f"{where}: an inner map cannot have an inner map")
        spec.inner = item.spec
        inner = ""
    elif not isinstance(inner, str):
        raise CommandError(f"{where}: inner is a map's name, or a table that describes one")
    return MapItem(spec, copies, ops=str(table.get("struct", ""))), inner


def _spec(table: dict[str, Any], where: str, name: str) -> MapSpec:
    if "type" not in table:
        raise CommandError(f"{where}: no type", hint="say type=hash, for example")
    type_name = str(table["type"])
    spec = MapSpec(name, _type_number(type_name, where))
    given = {**_DEFAULTS.get(type_name, {}), **table}
    for word, (attribute, largest) in NUMBERS.items():
        if word in given:
            setattr(spec, attribute, _number(given[word], word, where, largest))
    if "flags" in given:
        spec.map_flags = _flags(given["flags"], where)
    if "numa_node" in given:
        spec.map_flags |= uapi.BPF_F_NUMA_NODE
    return spec


def _type_number(name: str, where: str) -> int:
    if name not in MAP_TYPES and plugins.map_type(name) is None:
        known = ", ".join(MAP_TYPES[1:])
        raise CommandError(f"{where}: unknown map type '{name}'", hint=f"types: {known}")
    return plugins.type_number(name)


def _number(value: Any, word: str, where: str, largest: int) -> int:
    number = parse_count(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= largest:
        raise CommandError(f"{where}: {word}={value} is not a number from 0 to {largest}")
    return number


def _flags(value: Any, where: str) -> int:
    """Return the mask of a number, of ``no_prealloc|0x40``, or of a list of such words."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value, "flags", where, U32_MAX)
    words = value if isinstance(value, list) else str(value).split("|")
    mask = 0
    for each in words:
        word = str(each).strip().lower().removeprefix("bpf_f_")
        number = FLAGS[word] if word in FLAGS else parse_count(word)
        if number is None or number > U32_MAX:
            raise CommandError(f"{where}: unknown flag '{each}'", hint=f"flags: {', '.join(FLAGS)}")
        mask |= number
    return mask


def resolve_inner(items: list[tuple[MapItem, str]], where: str) -> list[MapItem]:
    """Give every map the template that it names; return the maps.

    :raises CommandError: no map of that name, or two maps of one name.
    """
    known: dict[str, MapSpec] = {}
    for item, _ in items:
        if item.name in known:
            raise CommandError(
                f"{where}: two maps are called '{item.name}'", hint="copies=N makes more of one"
            )
        known[item.name] = item.spec
    for item, inner in items:
        if inner:
            if inner not in known or known[inner] is item.spec:
                raise CommandError(f"{where}: {item.name}: no map '{inner}' to be its inner map")
            item.spec.inner = known[inner]
    return [item for item, _ in items]


def with_types(items: list[MapItem]) -> bytes | None:
    """Give the maps whose type needs BTF an int key and a value of bytes; return the BTF blob."""
    specs = [item.spec for item in items] + [i.spec.inner for i in items if i.spec.inner]
    needy = [s for s in specs if s.type_name in NEED_BTF and not s.btf_value_type_id]
    if not needy:
        return None
    from bpfctl.btf.build import BtfBuilder
    from bpfctl.btf.types import INT_SIGNED

    builder = BtfBuilder()
    integer = builder.add_int("int", 4, INT_SIGNED)
    byte = builder.add_int("char", 1)
    arrays: dict[int, int] = {}
    for spec in needy:
        if spec.type == STRUCT_OPS:
            continue
        if spec.value_size not in arrays:
            arrays[spec.value_size] = builder.add_array(byte, spec.value_size, integer)
        spec.btf_key_type_id, spec.btf_value_type_id = integer, arrays[spec.value_size]
    return builder.encode()
