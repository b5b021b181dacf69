"""Helper functions: looked up by number or name; a family's module is imported when first needed.

Numbers are those of enum bpf_func_id, which never change.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module

from bpfctl.kernel.bpf.helpers.decl import REGISTRY, Helper

FAMILIES: dict[str, tuple[int, ...]] = {
    "map": (1, 2, 3, 87, 88, 89, 195),
    "core": (7, 8, 12, 42, 93, 94, 153, 154, 186, 187, 194),
    "time": (5, 118, 125, 160, 208),
    "print": (6, 126, 127, 149, 150, 165, 177),
    "string": (105, 106, 182),
    "probe": (4, 36, 45, 112, 113, 114, 115, 148, 191),
    "ringbuf": (130, 131, 132, 133, 134),
    "user_ringbuf": (209,),
    "perf": (22, 25, 27, 55, 56, 67, 111, 119, 121, 141, 176),
    "task": (14, 15, 16, 35, 109, 117, 120, 158, 175),
    "cgroup": (17, 33, 37, 79, 80, 83, 123, 128, 129, 151),
    "skb": (9, 13, 23, 24, 26, 32, 31, 34, 38, 39, 41, 43, 48, 50, 66, 68, 97, 152, 155, 192),
    "csum": (10, 11, 28, 40, 135),
    "vlan_tunnel": (18, 19, 20, 21, 29, 30),
    "fib": (69, 163),
    "sock": (
        46, 47, 64, 82, 84, 85, 86, 95, 96, 98, 99, 100, 110, 122, 124,
        136, 137, 138, 139, 140, 162, 178, 196, 204, 205, 206, 207,
    ),
    "sockmap": (52, 53, 60, 61, 62, 63, 70, 71, 72, 90, 91),
    "xdp": (44, 51, 54, 65, 188, 189, 190),
    "timer": (169, 170, 171, 172),
    "dynptr": (197, 198, 199, 200, 201, 202, 203),
    "loop": (164, 180, 181),
    "storage": (81, 107, 108, 145, 146, 156, 157, 210, 211),
    "sock_ops": (59, 116, 142, 143, 144),
    "lirc": (77, 78, 92),
    "seg6": (73, 74, 75, 76),
    "tracing": (58, 147, 159, 161, 173, 174, 183, 184, 185, 193),
    "sysctl": (101, 102, 103, 104),
    "sockopt": (49, 57),
    "syscall": (166, 167, 168, 179),
}  # fmt: skip
"""The module of this package that declares each number."""

_MODULE = {number: family for family, numbers in FAMILIES.items() for number in numbers}


def by_id(number: int) -> Helper | None:
    """Return the helper ``number``, or None if no release has it."""
    family = _MODULE.get(number)
    if family is None:
        return None
    if number not in REGISTRY:
        import_module(f"{__name__}.{family}")
    return REGISTRY[number]


@cache
def _numbers() -> dict[str, int]:
    from bpfctl.isa.helper_names import HELPERS

    return {name: number for number, name in enumerate(HELPERS) if number}


def by_name(name: str) -> Helper | None:
    """Return the helper called ``name`` (without the ``bpf_`` in front), or None."""
    number = _numbers().get(name)
    return None if number is None else by_id(number)
