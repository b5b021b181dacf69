"""Asking a kernel what it can do, by trying it, as libbpf's probes do."""

from __future__ import annotations

import struct
from collections.abc import Callable

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import (
    BPF_F_MMAPABLE,
    BPF_F_NO_PREALLOC,
    MAP_TYPE_NUMBER,
    PROG_TYPE_NUMBER,
    MapCreateAttr,
    ProgLoadAttr,
)
from bpfctl.uapi_attach import ATTACH_TYPE_NUMBER

RETURN_0 = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
SLEEPABLE = 0x10
_ANY_BTF_ID = 1

# Attach types that must be said at load, and types that the probe cannot ask for by a load.
_ATTACH = {
    "cgroup_sock_addr": "cgroup_inet4_connect",
    "cgroup_sockopt": "cgroup_getsockopt",
    "sk_lookup": "sk_lookup",
    "netfilter": "netfilter",
    "tracing": "trace_fentry",
    "lsm": "lsm_mac",
}
# Types that have no helpers to ask for, since their programs need a target.
NO_HELPERS = ("tracing", "struct_ops", "ext", "lsm")
# key, value, entries, flags of types that are not 4, 4, 1, 0.
_SIZES: dict[str, tuple[int, int, int, int]] = {
    "stack_trace": (4, 8, 1, 0),
    "lpm_trie": (8, 8, 1, BPF_F_NO_PREALLOC),
    "cgroup_storage": (16, 8, 0, 0),
    "percpu_cgroup_storage": (16, 8, 0, 0),
    "reuseport_sockarray": (4, 8, 1, 0),
    "queue": (0, 4, 1, 0),
    "stack": (0, 4, 1, 0),
    "bloom_filter": (0, 4, 1, 0),
    "ringbuf": (0, 0, 4096, 0),
    "user_ringbuf": (0, 0, 4096, 0),
    "arena": (0, 0, 1, BPF_F_MMAPABLE),
}
_STORAGES = ("sk_storage", "inode_storage", "task_storage", "cgrp_storage")


def _works(bpf: Bpf, make: Callable[[], int]) -> bool:
    try:
        fd = make()
    except KernelError:
        return False
    bpf.close(fd)
    return True


def load_attr(name: str, insns: bytes) -> ProgLoadAttr:
    """Return what loads a program of a type, with what the type insists on."""
    attr = ProgLoadAttr(PROG_TYPE_NUMBER[name], insns)
    attach = _ATTACH.get(name)
    if attach is not None:
        attr.expected_attach_type = ATTACH_TYPE_NUMBER[attach]
    if name == "syscall":
        attr.prog_flags = SLEEPABLE
    if name in ("tracing", "lsm"):
        attr.attach_btf_id = _ANY_BTF_ID
    return attr


def prog_type_works(bpf: Bpf, name: str) -> bool:
    """Tell whether programs of a type can be loaded."""
    if name in ("struct_ops", "ext"):
        # Neither loads without a target; both came before LSM programs.
        name = "lsm"
    return _works(bpf, lambda: bpf.prog_load(load_attr(name, RETURN_0)))


def program_works(bpf: Bpf, name: str, insns: bytes) -> bool:
    """Tell whether a program loads."""
    return _works(bpf, lambda: bpf.prog_load(load_attr(name, insns)))


def map_type_works(bpf: Bpf, name: str) -> bool:
    """Tell whether maps of a type can be made."""
    attr = MapCreateAttr(MAP_TYPE_NUMBER[name], 4, 4, 1)
    if name in _SIZES:
        attr.key_size, attr.value_size, attr.max_entries, attr.map_flags = _SIZES[name]
    opened = []
    try:
        if name == "struct_ops":
            return _struct_ops_works(bpf, attr)
        if name in _STORAGES:
            opened.append(_storage_types(bpf, attr))
        if name.endswith("_of_maps"):
            attr.inner_map_fd = bpf.map_create(MapCreateAttr(MAP_TYPE_NUMBER["hash"], 4, 4, 1))
            opened.append(attr.inner_map_fd)
        return _works(bpf, lambda: bpf.map_create(attr))
    except KernelError:
        return False
    finally:
        for fd in opened:
            bpf.close(fd)


def _struct_ops_works(bpf: Bpf, attr: MapCreateAttr) -> bool:
    """A type that is none is ENOTSUPP, where struct_ops are known at all."""
    attr.btf_vmlinux_value_type_id = 1
    try:
        bpf.close(bpf.map_create(attr))
    except KernelError as exc:
        return exc.code == E.NOTSUPP
    return True


def _storage_types(bpf: Bpf, attr: MapCreateAttr) -> int:
    from bpfctl.btf.build import BtfBuilder

    builder = BtfBuilder()
    number = builder.add_int("int", 4, 1)
    attr.max_entries, attr.map_flags = 0, BPF_F_NO_PREALLOC
    attr.btf_fd = bpf.btf_load(builder.encode())
    attr.btf_key_type_id = attr.btf_value_type_id = number
    return attr.btf_fd
