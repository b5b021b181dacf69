"""What a spec asks for, as bytes: BTF objects, programs, keys and values."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

from bpfctl import uapi
from bpfctl.btf.build import BtfBuilder

# Types without keys; their "delete" is a pop where there is one.
KEYLESS = ("queue", "stack", "bloom_filter")
POPPED = ("queue", "stack")
PERCPU = ("percpu_array", "percpu_hash", "lru_percpu_hash", "percpu_cgroup_storage")

LOG_SIZE = 2048
LOG_ATTR_SIZE = 24
ONE_VALUE = 8 | 16
DEFAULT_QUEUE_SIZE = 192
LOOPBACK_IFINDEX = 1
SIGNED_INT = 1


def insn(code: int, dst: int = 0, src: int = 0, imm: int = 0) -> bytes:
    """Encode one instruction."""
    return struct.pack("<BBhi", code, src << 4 | dst, 0, imm)


R0_ZERO = insn(0xB7)
EXIT = insn(0x95)
CALL, LD_IMM64 = 0x85, 0x18
PSEUDO_CALL, PSEUDO_MAP_FD = 1, 1


def straight(count: int) -> bytes:
    """Return a program of ``count`` instructions: ``r0 = 0`` again and again, ``exit``."""
    return R0_ZERO * (count - 1) + EXIT


def with_subprograms(count: int, nr: int) -> bytes:
    """Return a program that calls ``nr`` subprograms of two instructions each, at its end."""
    main = count - 2 * nr
    body = [R0_ZERO] * (main - 1 - nr)
    for index in range(nr):
        target = main + 2 * index
        body.append(insn(CALL, src=PSEUDO_CALL, imm=target - len(body) - 1))
    return b"".join([*body, EXIT]) + (R0_ZERO + EXIT) * nr


def with_maps(count: int, fds: list[int]) -> bytes:
    """Return a program that loads the address of each map into r1, at its end."""
    loads = [insn(LD_IMM64, 1, PSEUDO_MAP_FD, fd) + insn(0) for fd in fds]
    return R0_ZERO * (count - 2 * len(fds) - 1) + b"".join(loads) + EXIT


@cache
def value_btf(value_size: int) -> tuple[bytes, int, int]:
    """Return a BTF object and the ids of key ``int`` and value ``char[value_size]``."""
    btf = BtfBuilder()
    key = btf.add_int("int", 4, SIGNED_INT)
    char = btf.add_int("char", 1, SIGNED_INT)
    value = btf.add_array(char, value_size, key)
    return btf.encode(), key, value


@cache
def spin_lock_btf() -> tuple[bytes, int, int]:
    """Return a BTF object and the ids of ``int`` and ``struct val``, which has a spin lock."""
    btf = BtfBuilder()
    key = btf.add_int("int", 4, SIGNED_INT)
    unsigned = btf.add_int("unsigned int", 4)
    lock = btf.add_struct("bpf_spin_lock", 4, [("val", unsigned, 0)])
    value = btf.add_struct("val", 8, [("v", key, 0), ("l", lock, 32)])
    return btf.encode(), key, value


@cache
def program_btf(nr_functions: int) -> bytes:
    """Return the BTF object of a program with ``nr_functions`` functions."""
    btf = BtfBuilder()
    proto = btf.add_func_proto(btf.add_int("int", 4, SIGNED_INT))
    for index in range(nr_functions):
        btf.add_func(f"f{index}", proto, 0)
    return btf.encode()


def blob_of(spec: dict[str, Any]) -> tuple[bytes, int, int] | None:
    """Return the BTF object that goes with a map, and its key and value type ids."""
    kind = spec.get("btf")
    if not kind:
        return None
    if kind == 3:
        return value_btf(4)[0], 0, 0
    blob, key, value = spin_lock_btf() if kind == 2 else value_btf(spec["value"])
    return blob, spec.get("btfk", key), value


def type_number(name: str | int) -> int:
    """Return the number of a map type (a number stays)."""
    return name if isinstance(name, int) else uapi.MAP_TYPE_NUMBER[name]


def map_attr(spec: dict[str, Any], inner_fd: int = 0, btf_fd: int = 0) -> uapi.MapCreateAttr:
    """Return the attributes of BPF_MAP_CREATE that ``spec`` names."""
    blob = blob_of(spec)
    return uapi.MapCreateAttr(
        map_type=type_number(spec["type"]),
        key_size=spec.get("key", 0),
        value_size=spec.get("value", 0),
        max_entries=spec.get("max", 0),
        map_flags=spec.get("flags", 0),
        inner_map_fd=spec.get("badinner", inner_fd),
        numa_node=spec.get("numa", 0),
        map_name=spec.get("name", "").encode(),
        map_ifindex=spec.get("ifindex", 0),
        btf_fd=btf_fd,
        btf_key_type_id=blob[1] if blob else 0,
        btf_value_type_id=blob[2] if blob else 0,
        btf_vmlinux_value_type_id=spec.get("vtid", 0),
        map_extra=spec.get("extra", 0),
        excl_prog_hash=excl_hash(spec),
        excl_prog_hash_size=spec.get("excl_size", 0),
        common=common_attr(spec),
    )


def excl_hash(spec: dict[str, Any]) -> bytes | None:
    """Return what excl_prog_hash points to: 64 bytes, or none that can be read."""
    pointer = spec.get("excl", 0)
    if not pointer:
        return None
    return bytes(range(1, 65)) if pointer == 1 else b""


def common_attr(spec: dict[str, Any]) -> uapi.CommonAttr | None:
    """Return the second attribute of the call; what ``common_size`` cuts off is zero."""
    if "clog" not in spec:
        return None
    words = {
        "log_buf": not spec.get("clog_null"),
        "log_size": spec.get("clog_size", LOG_SIZE),
        "log_level": spec["clog"] - 1,
    }
    ends = {"log_buf": 8, "log_size": 12, "log_level": 16}
    size = spec.get("common_size", LOG_ATTR_SIZE)
    return uapi.CommonAttr(**{name: words[name] for name, end in ends.items() if end <= size})


def counter_key(spec: dict[str, Any], number: int) -> bytes | None:
    """Return key ``number`` of a map, unlike all others."""
    size = int(spec["key"])
    if spec["type"] in KEYLESS:
        return None
    if spec["type"] != "lpm_trie":
        return number.to_bytes(8, "little")[:size].ljust(size, b"\0")
    if spec.get("chain"):
        return struct.pack("<I", number + 1).ljust(size, b"\0")
    return lpm_key(size, number)


def lpm_key(size: int, number: int) -> bytes:
    """Return a full-length prefix whose last bytes are ``number``, big endian."""
    data = size - 4
    return struct.pack("<I", 8 * data) + (number % (1 << 8 * data)).to_bytes(data, "big")


def plain_value(spec: dict[str, Any], cpus: int) -> bytes:
    """Return a value of zeros; per-CPU types take a slot for each possible CPU."""
    size = spec["value"]
    if spec.get("uflags", 0) & ONE_VALUE:
        return bytes(size)
    return bytes((size + 7) // 8 * 8 * cpus) if spec["type"] in PERCPU else bytes(size)


def fd_value(spec: dict[str, Any], number: int) -> bytes:
    """Return a value that starts with a descriptor, an ifindex or a queue size."""
    size = int(spec["value"])
    return struct.pack("<I", number)[:size].ljust(size, b"\0")


def fd_key(fd: int) -> bytes:
    """Return a key that is a descriptor."""
    return struct.pack("<I", fd)
