"""Elements for the conformance suite where keys or values are descriptors of other objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpfctl.kernel.bpf.example import Element
from bpfctl.libbpf.bpf import Bpf
from bpfctl.uapi import MAP_TYPE_NUMBER, MapCreateAttr, ProgLoadAttr

RETURN_0 = bytes.fromhex("b700000000000000" "9500000000000000")

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


def opened(kind: str, **attributes: Any) -> Callable[[Bpf, int], list[Element]]:
    """Return elements that are indexes and descriptors of new objects of ``kind``."""

    def elements(bpf: Bpf, nr: int) -> list[Element]:
        return [(_u32(index), _u32(open_object(bpf, kind, **attributes))) for index in range(nr)]

    return elements


def open_object(bpf: Bpf, kind: str, **attributes: Any) -> int:
    """Make a simulated object and return a descriptor of it."""
    objects: Any = bpf.kernel.objects  # type: ignore[attr-defined]
    made = objects.create(kind, **attributes)
    return int(objects.open(bpf.pid, made.id))
