"""Elements for the conformance suite where keys or values are descriptors of other objects.

Map types import this module; what only the suite needs is imported when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfctl.kernel.bpf.example import Element
from bpfctl.kernel.bpf.map import round_up
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr, ProgLoadAttr

RETURN_0 = bytes.fromhex("b700000000000000" "9500000000000000")

# What comes before the subsystem's struct, and its alignment, in bytes.
STRUCT_OPS_HEAD = 64

INNER = MapCreateAttr(MAP_TYPE_NUMBER["array"], 4, 8, 4)


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def inner_template(bpf: Bpf) -> dict[str, int]:
    """Return the inner map of a map-in-map."""
    return {"inner_map_fd": bpf.map_create(INNER)}


def inner_maps(bpf: Bpf, nr: int) -> list[Element]:
    """Return indexes and descriptors of maps that fit :func:`inner_template`."""
    return [(_u32(index), _u32(bpf.map_create(INNER))) for index in range(nr)]


def programs(bpf: Bpf, nr: int) -> list[Element]:
    """Return indexes and descriptors of socket filters."""
    attr = ProgLoadAttr(prog_type=1, insns=RETURN_0)
    return [(_u32(index), _u32(bpf.prog_load(attr))) for index in range(nr)]


def opened(
    kind: str, value_size: int = 4, **attributes: Any
) -> Callable[[Bpf, int], list[Element]]:
    """Return elements that are indexes and descriptors of new objects of ``kind``."""

    def elements(bpf: Bpf, nr: int) -> list[Element]:
        fds = [open_object(bpf, kind, **attributes) for _ in range(nr)]
        return [(_u32(index), fd.to_bytes(value_size, "little")) for index, fd in enumerate(fds)]

    return elements


def owned_by(kind: str, value_size: int) -> Callable[[Bpf, int], list[Element]]:
    """Return elements whose keys are descriptors of new objects of ``kind``."""

    def elements(bpf: Bpf, nr: int) -> list[Element]:
        return [(_u32(open_object(bpf, kind)), bytes(value_size)) for _ in range(nr)]

    return elements


def int_and_chars(value_size: int) -> Callable[[Bpf], dict[str, int]]:
    """Return what BTF of an int key and a value of ``value_size`` characters is passed as."""

    def prepare(bpf: Bpf) -> dict[str, int]:
        from bpfctl.btf.build import BtfBuilder
        from bpfctl.btf.types import INT_SIGNED

        btf = BtfBuilder()
        key = btf.add_int("int", 4, INT_SIGNED)
        value = btf.add_array(btf.add_int("char", 1, INT_SIGNED), value_size, key)
        fd = bpf.btf_load(btf.encode())
        return {"btf_fd": fd, "btf_key_type_id": key, "btf_value_type_id": value}

    return prepare


def tcp_congestion_ops(bpf: Bpf) -> dict[str, int]:
    """Return how a map for TCP congestion control is asked for."""
    from bpfctl.btf.build import BtfBuilder
    from bpfctl.btf.types import INT_SIGNED

    profile: Any = bpf.kernel.profile
    ops = next(found for found in profile.struct_ops.types if found.name == "tcp_congestion_ops")
    # Kernels read their own BTF with the first program at the latest.
    bpf.close(bpf.prog_load(ProgLoadAttr(prog_type=1, insns=RETURN_0)))
    btf = BtfBuilder()
    btf.add_int("int", 4, INT_SIGNED)
    return {
        "btf_fd": bpf.btf_load(btf.encode()),
        "btf_vmlinux_value_type_id": ops.type_id,
        "value_size": STRUCT_OPS_HEAD + round_up(ops.size, STRUCT_OPS_HEAD),
    }


def open_object(bpf: Bpf, kind: str, **attributes: Any) -> int:
    """Make a simulated object and return a descriptor of it."""
    objects: Any = bpf.kernel.objects
    made = objects.create(kind, **attributes)
    return int(objects.open(bpf.pid, made.id))
