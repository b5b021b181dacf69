"""Register types: a base type in the low 8 bits, modifiers above (enum bpf_reg_type)."""

from __future__ import annotations

(
    NOT_INIT,
    SCALAR_VALUE,
    PTR_TO_CTX,
    CONST_PTR_TO_MAP,
    PTR_TO_MAP_VALUE,
    PTR_TO_MAP_KEY,
    PTR_TO_STACK,
    PTR_TO_PACKET_META,
    PTR_TO_PACKET,
    PTR_TO_PACKET_END,
    PTR_TO_FLOW_KEYS,
    PTR_TO_SOCKET,
    PTR_TO_SOCK_COMMON,
    PTR_TO_TCP_SOCK,
    PTR_TO_TP_BUFFER,
    PTR_TO_XDP_SOCK,
    PTR_TO_BTF_ID,
    PTR_TO_MEM,
    PTR_TO_ARENA,
    PTR_TO_BUF,
    PTR_TO_FUNC,
    CONST_PTR_TO_DYNPTR,
    PTR_TO_PERCPU_BTF_ID,
    PTR_TO_INSN,
) = range(24)

BASE = 0xFF
PTR_MAYBE_NULL = 1 << 8
MEM_RDONLY = 1 << 9
MEM_RINGBUF = 1 << 10
MEM_USER = 1 << 11
MEM_PERCPU = 1 << 12
OBJ_RELEASE = 1 << 13
PTR_UNTRUSTED = 1 << 14
MEM_UNINIT = 1 << 15
MEM_ALLOC = 1 << 16
PTR_TRUSTED = 1 << 17
MEM_RCU = 1 << 18
NON_OWN_REF = 1 << 19
DYNPTR_TYPE_LOCAL = 1 << 20
DYNPTR_TYPE_RINGBUF = 1 << 21
DYNPTR_TYPE_SKB = 1 << 22
DYNPTR_TYPE_XDP = 1 << 23
MEM_FIXED_SIZE = 1 << 24
MEM_WRITE = 1 << 25
MEM_ALIGNED = 1 << 26

_NAMES = (
    "?",
    "scalar",
    "ctx",
    "map_ptr",
    "map_value",
    "map_key",
    "fp",
    "pkt_meta",
    "pkt",
    "pkt_end",
    "flow_keys",
    "sock",
    "sock_common",
    "tcp_sock",
    "tp_buffer",
    "xdp_sock",
    "ptr_",
    "mem",
    "arena",
    "buf",
    "func",
    "dynptr_ptr",
    "percpu_ptr_",
    "insn",
)
_PREFIXES = (
    (MEM_RDONLY, "rdonly_"),
    (MEM_RINGBUF, "ringbuf_"),
    (MEM_USER, "user_"),
    (MEM_PERCPU, "percpu_"),
    (MEM_RCU, "rcu_"),
    (PTR_UNTRUSTED, "untrusted_"),
    (PTR_TRUSTED, "trusted_"),
)


def type_text(reg_type: int, scalar: str = "scalar") -> str:
    """Name a type as the log does (reg_type_str); ``scalar``: the release's word for numbers."""
    base = reg_type & BASE
    if base == SCALAR_VALUE:
        name = scalar
    else:
        name = _NAMES[base]
    prefix = "".join(word for flag, word in _PREFIXES if reg_type & flag)
    postfix = ""
    if reg_type & PTR_MAYBE_NULL:
        postfix = "or_null_" if base in (PTR_TO_BTF_ID, PTR_TO_PERCPU_BTF_ID) else "_or_null"
    return prefix + name + postfix


def is_pkt(reg_type: int) -> bool:
    """Tell whether a type points into a packet or its metadata."""
    return reg_type in (PTR_TO_PACKET, PTR_TO_PACKET_META)


SOCK_TYPES = (PTR_TO_SOCKET, PTR_TO_SOCK_COMMON, PTR_TO_TCP_SOCK, PTR_TO_XDP_SOCK)


def is_sk(reg_type: int) -> bool:
    """Tell whether a type is a socket of any kind, modifiers aside (type_is_sk_pointer)."""
    return reg_type in SOCK_TYPES
