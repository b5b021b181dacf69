"""One plain specimen of every map type, for suites that go through all of them."""

from __future__ import annotations

from dataclasses import replace

from bpfctl.plugins import BUILTIN
from bpfctl.uapi import BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, MAP_TYPE_NUMBER, MapCreateAttr

# key_size, value_size, max_entries, map_flags
_PLAIN = {
    "hash": (4, 8, 16, 0),
    "array": (4, 8, 16, 0),
    "prog_array": (4, 4, 16, 0),
    "perf_event_array": (4, 4, 16, 0),
    "percpu_hash": (4, 8, 16, 0),
    "percpu_array": (4, 8, 16, 0),
    "stack_trace": (4, 80, 16, 0),
    "cgroup_array": (4, 4, 16, 0),
    "lru_hash": (4, 8, 16, 0),
    "lru_percpu_hash": (4, 8, 16, 0),
    "lpm_trie": (8, 8, 16, BPF_F_NO_PREALLOC),
    "array_of_maps": (4, 4, 16, 0),
    "hash_of_maps": (4, 4, 16, 0),
    "devmap": (4, 4, 16, 0),
    "sockmap": (4, 8, 16, 0),
    "cpumap": (4, 4, 2, 0),
    "xskmap": (4, 4, 16, 0),
    "sockhash": (4, 8, 16, 0),
    "cgroup_storage": (16, 8, 0, 0),
    "reuseport_sockarray": (4, 8, 16, 0),
    "percpu_cgroup_storage": (16, 8, 0, 0),
    "queue": (0, 8, 16, 0),
    "stack": (0, 8, 16, 0),
    "devmap_hash": (4, 4, 16, 0),
    "ringbuf": (0, 0, 4096, 0),
    "bloom_filter": (0, 8, 16, 0),
    "user_ringbuf": (0, 0, 4096, 0),
    "arena": (0, 0, 4, BPF_F_MMAPABLE),
}

# Types whose creation takes BTF that bpf(2) callers must load first.
NEED_BTF = frozenset({"sk_storage", "inode_storage", "task_storage", "cgrp_storage", "struct_ops"})


def specimen(name: str, map_flags: int = 0) -> MapCreateAttr:
    """Return attributes with which type ``name`` can be created."""
    key, value, entries, flags = _PLAIN[name]
    return MapCreateAttr(MAP_TYPE_NUMBER[name], key, value, entries, flags | map_flags)


def variants() -> dict[str, MapCreateAttr]:
    """Return specimens of all built-in types, and of the hash types without preallocation."""
    found = {name: specimen(name) for name in _PLAIN if name in BUILTIN}
    for name in ("hash", "percpu_hash", "hash_of_maps"):
        found[f"{name}-no_prealloc"] = specimen(name, BPF_F_NO_PREALLOC)
    found["array-mmapable"] = specimen("array", BPF_F_MMAPABLE)
    # Large enough for vmalloc.
    for name in ("array", "hash", "percpu_hash", "lru_hash", "queue"):
        found[f"{name}-large"] = replace(specimen(name), max_entries=5000)
    return found
