"""The bpf(2) interface: enums, flags, attribute and info records of include/uapi/linux/bpf.h.

Attribute records keep the kernel's field names. A field left out is zero, as in ``union bpf_attr``.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from bpfctl.light import dataclass, field

U32_MAX = 0xFFFFFFFF
INT_MAX = 0x7FFFFFFF
RLIM_INFINITY = 0xFFFFFFFFFFFFFFFF
BPF_OBJ_NAME_LEN = 16

MAP_TYPES: tuple[str, ...] = (
    "unspec",
    "hash",
    "array",
    "prog_array",
    "perf_event_array",
    "percpu_hash",
    "percpu_array",
    "stack_trace",
    "cgroup_array",
    "lru_hash",
    "lru_percpu_hash",
    "lpm_trie",
    "array_of_maps",
    "hash_of_maps",
    "devmap",
    "sockmap",
    "cpumap",
    "xskmap",
    "sockhash",
    "cgroup_storage",
    "reuseport_sockarray",
    "percpu_cgroup_storage",
    "queue",
    "stack",
    "sk_storage",
    "devmap_hash",
    "struct_ops",
    "ringbuf",
    "inode_storage",
    "task_storage",
    "bloom_filter",
    "user_ringbuf",
    "cgrp_storage",
    "arena",
    "insn_array",
    "rhash",
)
MAP_TYPE_NUMBER: dict[str, int] = {name: number for number, name in enumerate(MAP_TYPES)}

PROG_TYPES: tuple[str, ...] = (
    "unspec",
    "socket_filter",
    "kprobe",
    "sched_cls",
    "sched_act",
    "tracepoint",
    "xdp",
    "perf_event",
    "cgroup_skb",
    "cgroup_sock",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "sock_ops",
    "sk_skb",
    "cgroup_device",
    "sk_msg",
    "raw_tracepoint",
    "cgroup_sock_addr",
    "lwt_seg6local",
    "lirc_mode2",
    "sk_reuseport",
    "flow_dissector",
    "cgroup_sysctl",
    "raw_tracepoint_writable",
    "cgroup_sockopt",
    "tracing",
    "struct_ops",
    "ext",
    "lsm",
    "sk_lookup",
    "syscall",
    "netfilter",
)
PROG_TYPE_NUMBER: dict[str, int] = {name: number for number, name in enumerate(PROG_TYPES)}

# map_flags of BPF_MAP_CREATE
BPF_F_NO_PREALLOC = 0x1
BPF_F_NO_COMMON_LRU = 0x2
BPF_F_NUMA_NODE = 0x4
BPF_F_RDONLY = 0x8
BPF_F_WRONLY = 0x10
BPF_F_STACK_BUILD_ID = 0x20
BPF_F_ZERO_SEED = 0x40
BPF_F_RDONLY_PROG = 0x80
BPF_F_WRONLY_PROG = 0x100
BPF_F_CLONE = 0x200
BPF_F_MMAPABLE = 0x400
BPF_F_PRESERVE_ELEMS = 0x800
BPF_F_INNER_MAP = 0x1000
BPF_F_LINK = 0x2000
BPF_F_PATH_FD = 0x4000
BPF_F_VTYPE_BTF_OBJ_FD = 0x8000
BPF_F_TOKEN_FD = 0x10000
BPF_F_SEGV_ON_FAULT = 0x20000
BPF_F_NO_USER_CONV = 0x40000
BPF_F_RB_OVERWRITE = 0x80000

# prog_flags of BPF_PROG_LOAD
BPF_F_STRICT_ALIGNMENT = 0x1
BPF_F_ANY_ALIGNMENT = 0x2
BPF_F_SLEEPABLE = 0x10
BPF_F_XDP_HAS_FRAGS = 0x20

# flags of BPF_PROG_TEST_RUN
BPF_F_TEST_RUN_ON_CPU = 0x1
BPF_F_TEST_XDP_LIVE_FRAMES = 0x2
BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 0x4

# flags of an update
BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2
BPF_F_LOCK = 4
BPF_F_CPU = 8
BPF_F_ALL_CPUS = 16
CPU_SHIFT = 32


class Cmd(IntEnum):
    """Commands of bpf(2)."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_ATTACH = 8
    PROG_DETACH = 9
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    MAP_LOOKUP_AND_DELETE_ELEM = 21
    MAP_FREEZE = 22
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32
    LINK_DETACH = 34
    PROG_BIND_MAP = 35


@dataclass(slots=True)
class CommonAttr:
    """struct bpf_common_attr (7.3): a log for commands that have none of their own.

    ``log_buf`` tells whether there is a buffer; the kernel writes its text into ``log``.
    """

    log_buf: bool = False
    log_size: int = 0
    log_level: int = 0
    log: str = ""


@dataclass(slots=True)
class MapCreateAttr:
    """BPF_MAP_CREATE. Sizes in bytes, ``max_entries`` in entries (ring buffers: bytes)."""

    map_type: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    inner_map_fd: int = 0
    numa_node: int = 0
    map_name: bytes = b""
    map_ifindex: int = 0
    btf_fd: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    btf_vmlinux_value_type_id: int = 0
    map_extra: int = 0
    excl_prog_hash: bytes | None = None
    excl_prog_hash_size: int = 0
    common: CommonAttr | None = None


@dataclass(slots=True)
class ElemAttr:
    """BPF_MAP_*_ELEM and BPF_MAP_GET_NEXT_KEY. ``None`` is the NULL pointer."""

    map_fd: int
    key: bytes | None = None
    value: bytes | None = None
    flags: int = 0


@dataclass(slots=True)
class BatchAttr:
    """BPF_MAP_*_BATCH. ``in_batch`` is a cursor from an earlier call or None; keys and values
    are concatenated, ``count`` elements."""

    map_fd: int
    in_batch: bytes | None = None
    keys: bytes = b""
    values: bytes = b""
    count: int = 0
    elem_flags: int = 0
    flags: int = 0


@dataclass(slots=True)
class BatchResult:
    """What a batch command did: ``errno`` 0 or why it stopped, ``count`` elements done.

    ENOENT of a lookup batch means that the end was reached.
    """

    count: int = 0
    errno: int = 0
    out_batch: bytes | None = None
    keys: bytes = b""
    values: bytes = b""


@dataclass(slots=True)
class ObjAttr:
    """BPF_OBJ_PIN and BPF_OBJ_GET."""

    pathname: str
    bpf_fd: int = 0
    file_flags: int = 0


@dataclass(slots=True)
class IdAttr:
    """BPF_*_GET_FD_BY_ID (``id``) and BPF_*_GET_NEXT_ID (``id`` = start, exclusive)."""

    id: int
    open_flags: int = 0


@dataclass(slots=True)
class FdAttr:
    """Commands that only take a descriptor: BPF_MAP_FREEZE, BPF_OBJ_GET_INFO_BY_FD."""

    fd: int


@dataclass(slots=True)
class ProgLoadAttr:
    """BPF_PROG_LOAD. ``insns`` is 8 bytes an instruction; records as in .BTF.ext.

    ``func_info`` and ``line_info`` are the tables as the kernel gets them, 8 and 16 bytes a
    record; who only wants to know what they cost gives the counts alone.
    ``fd_array`` None is the NULL pointer. ``log_size`` 0 is no buffer. ``attach_btf_id`` is a
    type of the kernel's own BTF, which the simulator does not have: any id does.
    The verifier writes back: ``log``, ``verified`` (its statistics), and ``last_line``, the
    decisive line of a refusal where that is not the last of the log.
    """

    prog_type: int = 0
    insns: bytes = b""
    license: bytes = b"GPL"
    prog_flags: int = 0
    prog_name: bytes = b""
    expected_attach_type: int = 0
    prog_btf_fd: int = 0
    func_info_cnt: int = 0
    line_info_cnt: int = 0
    attach_btf_id: int = 0
    fd_array: tuple[int, ...] | None = None
    func_info: bytes = b""
    line_info: bytes = b""
    log_level: int = 0
    log_size: int = 0
    prog_token_fd: int = 0
    log: str = ""
    last_line: str = ""
    verified: Any = None


BPF_STATS_RUN_TIME = 0


@dataclass(slots=True)
class EnableStatsAttr:
    """BPF_ENABLE_STATS: which statistics to switch on."""

    type: int = BPF_STATS_RUN_TIME


@dataclass(slots=True)
class BindMapAttr:
    """BPF_PROG_BIND_MAP: the program is to hold the map although no instruction names it."""

    prog_fd: int
    map_fd: int


@dataclass(slots=True)
class ProgRunAttr:
    """BPF_PROG_TEST_RUN (BPF_PROG_RUN). Pointers: ``None`` is NULL; for the outputs True is a
    buffer of the size given beside it.

    ``duration`` and ``retval`` are outputs; what a caller leaves in them is seen by some runners.
    """

    prog_fd: int = 0
    retval: int = 0
    data_size_in: int = 0
    data_size_out: int = 0
    data_in: bytes | None = None
    data_out: bool = False
    repeat: int = 0
    duration: int = 0
    ctx_size_in: int = 0
    ctx_size_out: int = 0
    ctx_in: bytes | None = None
    ctx_out: bool = False
    flags: int = 0
    cpu: int = 0
    batch_size: int = 0


@dataclass(slots=True)
class ProgRunResult:
    """What BPF_PROG_TEST_RUN wrote back; None where the kernel wrote nothing.

    ``errno`` is 0 or ENOSPC: an output did not fit, although the program ran. ``duration`` in ns,
    the average of a round. ``ctx_in`` is the input context as a syscall program left it.
    """

    errno: int = 0
    retval: int | None = None
    duration: int | None = None
    data_size_out: int | None = None
    data_out: bytes | None = None
    ctx_size_out: int | None = None
    ctx_out: bytes | None = None
    ctx_in: bytes | None = None


@dataclass(slots=True)
class BtfLoadAttr:
    """BPF_BTF_LOAD. ``btf`` is the whole blob, header included."""

    btf: bytes


@dataclass(slots=True)
class MapInfo:
    """struct bpf_map_info. ``name`` without padding."""

    type: int
    id: int
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    name: bytes = b""
    ifindex: int = 0
    btf_vmlinux_value_type_id: int = 0
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    map_extra: int = 0


@dataclass(slots=True)
class ProgInfo:
    """struct bpf_prog_info, the part that the simulator keeps.

    ``insns`` are the program's own, with ids in place of map descriptors; ``func_info`` and
    ``line_info`` hold 8 and 16 bytes a record. ``prog_tags`` has one tag for each function, and is
    empty for a program that has only one. ``symbols`` is what /proc/kallsyms would say of the
    addresses in ``insns``, by instruction.
    """

    type: int
    id: int
    tag: bytes
    jited_prog_len: int
    xlated_prog_len: int
    load_time: int
    created_by_uid: int
    map_ids: tuple[int, ...]
    name: bytes
    gpl_compatible: bool
    btf_id: int = 0
    insns: bytes = b""
    func_info: bytes = b""
    line_info: bytes = b""
    prog_tags: tuple[bytes, ...] = ()
    run_time_ns: int = 0
    run_cnt: int = 0
    recursion_misses: int = 0
    symbols: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class BtfInfo:
    """struct bpf_btf_info. ``btf`` is the blob as loaded."""

    id: int
    btf: bytes
    name: bytes = b""
    kernel_btf: bool = False


Attr = (
    MapCreateAttr
    | ElemAttr
    | BatchAttr
    | ObjAttr
    | IdAttr
    | FdAttr
    | ProgLoadAttr
    | BindMapAttr
    | ProgRunAttr
    | EnableStatsAttr
    | BtfLoadAttr
)

# Capabilities that matter to BPF, by number (include/uapi/linux/capability.h).
CAPS: dict[str, int] = {
    "CAP_CHOWN": 0,
    "CAP_KILL": 5,
    "CAP_SETUID": 7,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14,
    "CAP_SYS_ADMIN": 21,
    "CAP_SYS_RESOURCE": 24,
    "CAP_PERFMON": 38,
    "CAP_BPF": 39,
}
ALL_CAPS = (1 << 41) - 1
