"""Finding map types and observers by name, importing only what is used.

Built-in types resolve through a table; entry points are read only for other names.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bpfctl.errors import Failure
from bpfctl.uapi import MAP_TYPE_NUMBER, MAP_TYPES

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pluggy import PluginManager

    from bpfctl.kernel.bpf.facts import MapFacts
    from bpfctl.kernel.bpf.map import MapType

MAP_TYPES_GROUP = "bpfctl.map_types"
OBSERVERS_GROUP = "bpfctl.observers"
ENGINES_GROUP = "bpfctl.engines"

_FAMILIES = {
    "arraymap": (
        "array",
        "percpu_array",
        "prog_array",
        "perf_event_array",
        "cgroup_array",
        "array_of_maps",
    ),
    "hashtab": ("hash", "percpu_hash", "lru_hash", "lru_percpu_hash", "hash_of_maps"),
    "stackmap": ("stack_trace",),
    "lpm_trie": ("lpm_trie",),
    "queue_stack_maps": ("queue", "stack"),
    "devmap": ("devmap", "devmap_hash"),
    "cpumap": ("cpumap",),
    "xskmap": ("xskmap",),
    "sock_map": ("sockmap", "sockhash"),
    "reuseport_array": ("reuseport_sockarray",),
    "ringbuf": ("ringbuf", "user_ringbuf"),
    "local_storage": ("cgroup_storage", "percpu_cgroup_storage"),
    "bpf_sk_storage": ("sk_storage",),
    "bpf_inode_storage": ("inode_storage",),
    "bpf_task_storage": ("task_storage",),
    "bpf_cgrp_storage": ("cgrp_storage",),
    "bpf_struct_ops": ("struct_ops",),
    "bloom_filter": ("bloom_filter",),
    "arena": ("arena",),
    "bpf_insn_array": ("insn_array",),
    "rhash": ("rhash",),
}
BUILTIN: dict[str, str] = {
    name: f"bpfctl_maps.{module}" for module, names in _FAMILIES.items() for name in names
}
BUILTIN_OBSERVERS: dict[str, str] = {"charges": "bpfctl.observers.charges"}
BUILTIN_ENGINES: dict[str, str] = {
    "interp": "bpfctl.kernel.bpf.vm.interp",
    "py": "bpfctl.kernel.bpf.vm.py.engine",
    "wasm": "bpfctl.kernel.bpf.vm.wasm.engine",
}
_THIRD_PARTY = 0x40000000


class PluginError(Failure):
    """A plugin cannot be imported or breaks the contract; the text names it."""


@cache
def manager() -> PluginManager:
    """Return the plugin manager, with no plugin loaded."""
    import pluggy

    from bpfctl import hookspecs

    pm = pluggy.PluginManager("bpfctl")
    pm.add_hookspecs(hookspecs)
    return pm


def type_number(name: str) -> int:
    """Return the map type number of ``name``: the kernel's, or one derived from the name."""
    known = MAP_TYPE_NUMBER.get(name)
    if known is not None:
        return known
    import zlib

    return _THIRD_PARTY | zlib.crc32(name.encode()) >> 2


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, by name. Slow: it scans what is installed."""
    from importlib import metadata

    return sorted(metadata.entry_points(group=group), key=lambda ep: ep.name)


def type_name(number: int) -> str | None:
    """Return the name of a map type number, None if no installed type has it."""
    if 0 <= number < len(MAP_TYPES):
        return MAP_TYPES[number]
    if number & _THIRD_PARTY:
        for entry in entry_points(MAP_TYPES_GROUP):
            if type_number(entry.name) == number:
                return entry.name
    return None


def register(module: ModuleType | Any, name: str) -> None:
    """Register a plugin once.

    :raises PluginError: it has unknown hooks, or hooks with unknown arguments.
    """
    from pluggy import PluginValidationError

    pm = manager()
    if pm.has_plugin(name):
        return
    try:
        pm.register(module, name=name)
        pm.check_pending()
    except PluginValidationError as exc:
        pm.unregister(name=name)
        raise PluginError(f"plugin {name}: {exc}") from exc


def _load(name: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except Exception as exc:
        # Its text has the name of the file only, which may be any package's __init__.py.
        where = f" in {exc.filename}" if isinstance(exc, SyntaxError) else ""
        raise PluginError(
            f"plugin {name} cannot be imported: {type(exc).__name__}{where}: {exc}",
            hint=f"module {module}; bpfctl plugin list shows where it comes from",
        ) from exc


@cache
def map_type(name: str) -> type[MapType] | None:
    """Return the class of map type ``name``, None when nothing offers it.

    :raises PluginError: the plugin that should offer it is broken.
    """
    module = BUILTIN.get(name)
    if module is not None:
        # Its only hook, called as pluggy would, without the time that pluggy takes to import.
        return _checked(module, _load(name, module).map_types).get(name)
    entry = _entry(name)
    if entry is None:
        return None
    module, _, attribute = entry.value.partition(":")
    loaded = _load(name, module)
    if attribute:
        # The entry point names the class: no hook needs to be asked.
        offered = _checked(module, lambda: [getattr(loaded, attribute)])
    else:
        register(loaded, module)
        offered = _checked(module, lambda: _offered(module))
    if name not in offered:
        has = f"it offers {', '.join(sorted(offered))}" if offered else "it has no such hook"
        raise PluginError(
            f"plugin {module}: its entry point names map type '{name}', but map_types() offers "
            "none of that name",
            hint=f"{has}: a function map_types() marked @hookimpl returns the classes",
        )
    return offered[name]


def _entry(name: str) -> EntryPoint | None:
    """Return the entry point of a map type; of several the first counts."""
    return next((ep for ep in entry_points(MAP_TYPES_GROUP) if ep.name == name), None)


def package_of(name: str) -> str:
    """Return the distribution that offers a third party's map type, "" if that is not known."""
    entry = _entry(name)
    return _package(entry) if entry is not None else ""


def _package(entry: EntryPoint) -> str:
    return str(entry.dist.name) if entry.dist is not None else ""


def hidden_by(entry: EntryPoint) -> str:
    """Return what another type of the same name comes from that counts instead of this one."""
    if entry.name in BUILTIN:
        return "the built-in type"
    first = _entry(entry.name)
    if first is None or (first.value, _package(first)) == (entry.value, _package(entry)):
        return ""
    return _package(first) or first.value


def type_class(number: int) -> type[MapType] | None:
    """Return the class of a map type number, None when nothing offers it.

    :raises PluginError: the plugin that should offer it is broken.
    """
    name = type_name(number)
    return map_type(name) if name else None


def facts_of(number: int) -> type[MapFacts]:
    """Return what is true of a map type; of one that nothing offers, what is true of most.

    :raises PluginError: the plugin that should offer it is broken.
    """
    found = type_class(number)
    if found is not None:
        return found
    from bpfctl.kernel.bpf.facts import MapFacts

    return MapFacts


def _offered(module: str) -> list[type[MapType]]:
    """Call the hook of one module."""
    pm = manager()
    others = [p for plugin, p in pm.list_name_plugin() if plugin != module and p is not None]
    return list(chain.from_iterable(pm.subset_hook_caller("map_types", others)()))


def _checked(
    module: str, map_types: Callable[[], Iterable[type[MapType]]]
) -> dict[str, type[MapType]]:
    """Return by name the classes that a module offers.

    :raises PluginError: it fails, or one is no map type.
    """
    from bpfctl.kernel.bpf.map import MapType

    try:
        classes = list(map_types())
    except Exception as exc:
        raise PluginError(f"plugin {module}: map_types failed: {exc}") from exc
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, MapType)):
            raise PluginError(f"plugin {module}: {cls!r} is not a MapType")
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing or not hasattr(cls, "name") or not hasattr(cls, "family"):
            lacks = ", ".join(missing) or "name or family"
            raise PluginError(f"plugin {module}: {cls.__name__} lacks {lacks}")
    return {cls.name: cls for cls in classes}


def engine(name: str) -> type[Any] | None:
    """Return the execution engine ``name``, None when nothing offers it.

    :raises PluginError: the plugin that should offer it is broken.
    """
    module = BUILTIN_ENGINES.get(name)
    if module is not None:
        offered = _load(name, module).bpf_engines()
    else:
        entry = next((ep for ep in entry_points(ENGINES_GROUP) if ep.name == name), None)
        if entry is None:
            return None
        module = entry.value.partition(":")[0]
        register(_load(name, module), module)
        pm = manager()
        others = [p for plugin, p in pm.list_name_plugin() if plugin != module and p is not None]
        try:
            offered = chain.from_iterable(pm.subset_hook_caller("bpf_engines", others)())
        except Exception as exc:
            raise PluginError(f"plugin {module}: bpf_engines failed: {exc}") from exc
    return {cls.name: cls for cls in offered}.get(name)


def load_observers(names: list[str]) -> None:
    """Load observer plugins by name or module name.

    :raises PluginError: not found or broken.
    """
    for name in names:
        module = BUILTIN_OBSERVERS.get(name)
        if module is None:
            offered = {entry.name: entry.value for entry in entry_points(OBSERVERS_GROUP)}
            module = offered.get(name, name).partition(":")[0]
        register(_load(name, module), module)


def notify(hook: str, **arguments: Any) -> None:
    """Call an observer hook; an observer's exception is reported, not raised."""
    for impl in getattr(manager().hook, hook).get_hookimpls():
        try:
            impl.function(**{name: arguments[name] for name in impl.argnames})
        except Exception as exc:
            print(f"bpfctl: plugin {impl.plugin_name}: {hook}: {exc}", file=sys.stderr)
