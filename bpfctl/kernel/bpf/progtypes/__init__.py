"""Program types: looked up by number or name; a family's module is imported when first needed."""

from __future__ import annotations

from importlib import import_module

from bpfctl.kernel.bpf.progtypes.decl import REGISTRY, ProgType
from bpfctl.uapi import PROG_TYPE_NUMBER

_MODULE = {
    1: "skb", 2: "tracing", 3: "skb", 4: "skb", 5: "tracing", 6: "xdp", 7: "tracing", 8: "skb",
    9: "cgroup", 10: "lwt", 11: "lwt", 12: "lwt", 13: "sock", 14: "sock", 15: "cgroup",
    16: "sock", 17: "tracing", 18: "cgroup", 19: "lwt", 20: "lirc", 21: "sock", 22: "skb",
    23: "cgroup", 24: "tracing", 25: "cgroup", 26: "btf", 27: "btf", 28: "btf", 29: "btf",
    30: "sock", 31: "btf", 32: "btf",
}  # fmt: skip
"""The module of this package that declares each number."""


def by_number(number: int) -> ProgType | None:
    """Return program type ``number``, or None if no release has it."""
    module = _MODULE.get(number)
    if module is None:
        return None
    if number not in REGISTRY:
        import_module(f"{__name__}.{module}")
    return REGISTRY[number]


def by_name(name: str) -> ProgType | None:
    """Return the program type that bpftool calls ``name``, or None."""
    number = PROG_TYPE_NUMBER.get(name)
    return None if number is None else by_number(number)
