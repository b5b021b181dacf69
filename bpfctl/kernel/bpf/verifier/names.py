"""Names of the kernel functions that calls become (the operations of struct bpf_map_ops)."""

from __future__ import annotations

_PREFIX = {
    "hash": "htab_map", "lru_hash": "htab_lru_map", "percpu_hash": "htab_percpu_map",
    "lru_percpu_hash": "htab_lru_percpu_map", "hash_of_maps": "htab_of_map",
    "array": "array_map", "percpu_array": "percpu_array_map", "prog_array": "prog_fd_array",
    "perf_event_array": "array_map", "cgroup_array": "array_map", "array_of_maps": "array_of_map",
    "queue": "queue_stack_map", "stack": "queue_stack_map", "lpm_trie": "trie",
    "devmap": "dev_map", "devmap_hash": "dev_map_hash", "cpumap": "cpu_map", "xskmap": "xsk_map",
    "sockmap": "sock_map", "sockhash": "sock_hash", "bloom_filter": "bloom_map",
    "sk_storage": "bpf_sk_storage", "stack_trace": "stack_map",
}  # fmt: skip
_OWN = {
    ("percpu_array", "delete_elem"): "array_map_delete_elem",
    ("percpu_array", "update_elem"): "array_map_update_elem",
    ("lru_hash", "lookup_elem"): "htab_lru_map_lookup_elem",
    ("percpu_hash", "delete_elem"): "htab_map_delete_elem",
    ("lru_percpu_hash", "delete_elem"): "htab_lru_map_delete_elem",
    ("queue", "pop_elem"): "queue_map_pop_elem",
    ("queue", "peek_elem"): "queue_map_peek_elem",
    ("stack", "pop_elem"): "stack_map_pop_elem",
    ("stack", "peek_elem"): "stack_map_peek_elem",
    ("array", "for_each_callback"): "bpf_for_each_array_elem",
    ("percpu_array", "for_each_callback"): "bpf_for_each_array_elem",
    ("sockhash", "lookup_elem"): "sock_hash_lookup",
    ("sockmap", "lookup_elem"): "sock_map_lookup",
    ("devmap_hash", "redirect"): "dev_hash_map_redirect",
}  # fmt: skip
_HASHES = ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash")


def op_name(map_type: str, operation: str) -> str:
    """Name a map's function for an operation."""
    own = _OWN.get((map_type, operation))
    if own is not None:
        return own
    if operation == "for_each_callback":
        return "bpf_for_each_hash_elem" if map_type in _HASHES else "bpf_for_each_array_elem"
    return f"{_PREFIX.get(map_type, map_type)}_{operation}"


def lookup_name(map_type: str) -> str:
    """Name what a written-out lookup calls, empty if nothing."""
    hashes = (*_HASHES, "hash_of_maps")
    return "__htab_map_lookup_elem" if map_type in hashes else ""
