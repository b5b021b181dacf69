"""How a map type can be tried out: attributes with which it can be created, and elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from bpfctl.light import dataclass

if TYPE_CHECKING:
    from bpfctl.libbpf.bpf import Bpf

Element = tuple[bytes | None, bytes]


@dataclass(frozen=True, slots=True)
class Example:
    """Attributes of a map of the type, and what can be stored in it.

    Elements are keys of ``key_size`` bytes counted up from 0 (little endian) with values that
    follow from them, unless ``elements(bpf, n)`` gives n pairs of key (None: no key) and value;
    it may open descriptors as the task of ``bpf``. ``writable`` False says that system calls
    cannot store anything. ``prepare(bpf)`` returns further fields of MapCreateAttr (an inner
    map, BTF).
    """

    key_size: int = 4
    value_size: int = 8
    max_entries: int = 16
    map_flags: int = 0
    writable: bool = True
    elements: Callable[[Bpf, int], list[Element]] | None = None
    prepare: Callable[[Bpf], dict[str, int]] | None = None
