"""Which maps go with which programs (check_map_prog_compatibility)."""

from __future__ import annotations

from bpfctl.errors import E
from bpfctl.kernel.bpf.verifier.env import Env, VMap

TRACING = frozenset(("kprobe", "tracepoint", "perf_event", "raw_tracepoint",
                     "raw_tracepoint_writable"))  # fmt: skip
_SLEEPABLE = {
    "old": frozenset(("hash", "lru_hash", "array", "percpu_hash", "percpu_array", "lru_percpu_hash",
                      "array_of_maps", "hash_of_maps", "ringbuf", "user_ringbuf", "inode_storage",
                      "sk_storage", "task_storage", "cgrp_storage")),
    "new": frozenset(("hash", "lru_hash", "array", "percpu_hash", "percpu_array", "lru_percpu_hash",
                      "array_of_maps", "hash_of_maps", "ringbuf", "user_ringbuf", "inode_storage",
                      "sk_storage", "task_storage", "cgrp_storage", "queue", "stack", "arena",
                      "insn_array")),
    "newest": frozenset(("hash", "lru_hash", "array", "percpu_hash", "percpu_array",
                         "lru_percpu_hash", "array_of_maps", "hash_of_maps", "ringbuf",
                         "user_ringbuf", "inode_storage", "sk_storage", "task_storage",
                         "cgrp_storage", "queue", "stack", "arena", "insn_array", "prog_array")),
}  # fmt: skip


def check_map_compatibility(env: Env, map_: VMap) -> None:
    """Refuse maps that programs of this type cannot use.

    :raises Refused: EINVAL.
    """
    name = env.type.name
    tracing = name in TRACING
    fields = map_.fields
    if tracing and ("list" in fields or "rbtree" in fields):
        env.fail(E.INVAL, "tracing progs cannot use bpf_{list_head,rb_root} yet")
    for kind in ("spin_lock", "res_spin_lock"):
        if kind in fields:
            if name == "socket_filter":
                env.fail(E.INVAL, f"socket filter progs cannot use bpf_{kind} yet")
            if tracing and kind == "spin_lock":
                env.fail(E.INVAL, "tracing progs cannot use bpf_spin_lock yet")
    for kind in ("timer", "wq"):
        if kind in fields and tracing:
            env.fail(E.INVAL, f"tracing progs cannot use bpf_{kind} yet")
    if map_.type == "struct_ops":
        env.fail(E.INVAL, "bpf_struct_ops map cannot be used in prog")
    if env.sleepable and map_.type not in _SLEEPABLE[env.rules.sleepable_maps]:
        env.fail(
            E.INVAL,
            "Sleepable programs can only use array, hash, ringbuf and local storage maps",
        )
