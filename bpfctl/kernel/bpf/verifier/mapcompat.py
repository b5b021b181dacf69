"""Which helper takes which map type (check_map_func_compatibility)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.isa.helper_names import helper_name
from bpfctl.kernel.bpf.helpers.decl import Helper
from bpfctl.kernel.bpf.progtypes.btf import TRACE_ITER
from bpfctl.kernel.bpf.progtypes.release import prog_rules
from bpfctl.kernel.bpf.verifier.env import Env, VMap
from bpfctl.uapi import MAP_TYPE_NUMBER

_RINGBUF = (
    "ringbuf_output", "ringbuf_reserve", "ringbuf_query", "ringbuf_reserve_dynptr",
    "ringbuf_submit_dynptr", "ringbuf_discard_dynptr", "ringbuf_submit", "ringbuf_discard",
)  # fmt: skip
_LIST = ("map_peek_elem", "map_pop_elem", "map_push_elem")
_PERF = ("perf_event_read", "perf_event_output", "perf_event_read_value", "skb_output",
         "xdp_output")  # fmt: skip

MAP_TAKES: dict[str, tuple[str, ...]] = {
    "prog_array": ("tail_call",),
    "perf_event_array": _PERF,
    "ringbuf": _RINGBUF,
    "user_ringbuf": ("user_ringbuf_drain",),
    "stack_trace": ("get_stackid",),
    "cgroup_array": ("skb_under_cgroup", "current_task_under_cgroup"),
    "cgroup_storage": ("get_local_storage",),
    "percpu_cgroup_storage": ("get_local_storage",),
    "devmap": ("redirect_map", "map_lookup_elem"),
    "devmap_hash": ("redirect_map", "map_lookup_elem"),
    "cpumap": ("redirect_map",),
    "xskmap": ("redirect_map", "map_lookup_elem"),
    "array_of_maps": ("map_lookup_elem",),
    "hash_of_maps": ("map_lookup_elem",),
    "sockmap": (
        "sk_redirect_map", "sock_map_update", "msg_redirect_map", "sk_select_reuseport",
        "map_lookup_elem",
    ),
    "sockhash": (
        "sk_redirect_hash", "sock_hash_update", "msg_redirect_hash", "sk_select_reuseport",
        "map_lookup_elem",
    ),
    "reuseport_sockarray": ("sk_select_reuseport",),
    "queue": _LIST,
    "stack": _LIST,
    "sk_storage": ("sk_storage_get", "sk_storage_delete", "kptr_xchg"),
    "inode_storage": ("inode_storage_get", "inode_storage_delete", "kptr_xchg"),
    "task_storage": ("task_storage_get", "task_storage_delete", "kptr_xchg"),
    "cgrp_storage": ("cgrp_storage_get", "cgrp_storage_delete", "kptr_xchg"),
    "bloom_filter": ("map_peek_elem", "map_push_elem"),
    "insn_array": (),
}  # fmt: skip
"""Map types that only some helpers take."""

_REDIRECT = ("devmap", "devmap_hash", "cpumap", "xskmap")
HELPER_TAKES: dict[str, tuple[str, ...]] = {
    "tail_call": ("prog_array",),
    **dict.fromkeys(_PERF, ("perf_event_array",)),
    **dict.fromkeys(_RINGBUF, ("ringbuf",)),
    "user_ringbuf_drain": ("user_ringbuf",),
    "get_stackid": ("stack_trace",),
    "current_task_under_cgroup": ("cgroup_array",),
    "skb_under_cgroup": ("cgroup_array",),
    "redirect_map": _REDIRECT,
    "sk_redirect_map": ("sockmap",),
    "msg_redirect_map": ("sockmap",),
    "sock_map_update": ("sockmap",),
    "sk_redirect_hash": ("sockhash",),
    "msg_redirect_hash": ("sockhash",),
    "sock_hash_update": ("sockhash",),
    "get_local_storage": ("cgroup_storage", "percpu_cgroup_storage"),
    "sk_select_reuseport": ("reuseport_sockarray", "sockmap", "sockhash"),
    "map_pop_elem": ("queue", "stack"),
    "map_peek_elem": ("queue", "stack", "bloom_filter"),
    "map_push_elem": ("queue", "stack", "bloom_filter"),
    "map_lookup_percpu_elem": ("percpu_array", "percpu_hash", "lru_percpu_hash"),
    "sk_storage_get": ("sk_storage",),
    "sk_storage_delete": ("sk_storage",),
    "inode_storage_get": ("inode_storage",),
    "inode_storage_delete": ("inode_storage",),
    "task_storage_get": ("task_storage",),
    "task_storage_delete": ("task_storage",),
    "cgrp_storage_get": ("cgrp_storage",),
    "cgrp_storage_delete": ("cgrp_storage",),
}
"""Helpers that take only some map types."""

_SOCK_UPDATERS = frozenset(
    ("socket_filter", "sched_cls", "sched_act", "xdp", "sk_reuseport", "flow_dissector",
     "sk_lookup")
)  # fmt: skip


def may_update_sockmap(env: Env, helper: str) -> bool:
    """Tell whether a program may change socket maps with the helpers of all maps."""
    delete = helper == "map_delete_elem"
    if delete and "sockmap_delete_free" in prog_rules(env.kernel.profile.name).traits:
        return True
    if not delete and helper != "map_update_elem":
        return False
    name = env.type.name
    if name == "tracing":
        return env.attach_type == TRACE_ITER
    if name == "sock_ops":
        return delete
    return name in _SOCK_UPDATERS


def check_map_func(env: Env, map_: VMap | None, helper: Helper) -> None:
    """Check that a helper takes a map.

    :raises Refused: EINVAL (``cannot pass map_type``).
    """
    if map_ is None:
        return
    name = helper.name
    takes = MAP_TAKES.get(map_.type)
    good = takes is None or name in takes
    if map_.type in ("sockmap", "sockhash") and may_update_sockmap(env, name):
        good = True
    if good:
        types = HELPER_TAKES.get(name)
        good = types is None or map_.type in types
    if not good:
        number = MAP_TYPE_NUMBER[map_.type]
        func = helper_name(helper.number)
        env.fail(E.INVAL, f"cannot pass map_type {number} into func {func}#{helper.number}")
