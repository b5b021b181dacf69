"""What would mend a refused map: the smallest change with which this kernel makes it.

No rule of any type is written down here. The call is tried again with other sizes, flags and
capabilities, one changed and then two, until it passes: the checks themselves say what they want.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

from bpfctl.errors import E
from bpfctl.kernel.task import CAP_NET_ADMIN, CAP_PERFMON, CAP_SYS_ADMIN
from bpfctl.light import altered
from bpfctl.uapi import ALL_CAPS, BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, CAPS, MapCreateAttr
from bpfctl.why.trial import Trial, attempt

# What "map create" calls them.
WORDS = {
    "key_size": "key",
    "value_size": "value",
    "max_entries": "entries",
    "map_flags": "flags",
    "map_extra": "map_extra",
}
_FLAGS = (BPF_F_NO_PREALLOC, BPF_F_MMAPABLE)
CAP_BPF = 1 << CAPS["CAP_BPF"]
# Least first.
_CAPABILITIES = (CAP_BPF, CAP_BPF | CAP_NET_ADMIN, CAP_BPF | CAP_PERFMON, CAP_SYS_ADMIN, ALL_CAPS)
Change = dict[str, int]


def change(trial: Trial) -> Change | None:
    """Return attributes with other values that make it pass, None if no two of them do."""
    if trial.attr.map_ifindex:
        return None
    choices = _choices(trial.attr, trial.config.page_size)
    for number in (1, 2):
        for names in combinations(choices, number):
            for values in product(*(choices[name] for name in names)):
                found = dict(zip(names, values, strict=True))
                if attempt(altered(trial, attr=altered(trial.attr, **found))).errno == 0:
                    return found
    return None


def _choices(attr: MapCreateAttr, page_size: int) -> dict[str, list[int]]:
    found = {
        "key_size": [4, 0, 8, 16],
        "value_size": [4, 0, 8],
        "max_entries": [*([] if attr.max_entries else [1]), ring_size(attr, page_size), 0],
        "map_flags": list(_flags(attr.map_flags)),
        "map_extra": [0],
    }
    return {
        name: [value for value in values if value != getattr(attr, name)]
        for name, values in found.items()
    }


def ring_size(attr: MapCreateAttr, page_size: int) -> int:
    """Return the next power of two of whole pages, which ring buffers want."""
    return max(page_size, 1 << max(attr.max_entries - 1, 0).bit_length())


def _flags(flags: int) -> Iterator[int]:
    """Yield the flags with one bit less or one more, and none at all."""
    for bit in range(flags.bit_length()):
        if flags >> bit & 1:
            yield flags & ~(1 << bit)
    yield from (flags | flag for flag in _FLAGS if not flags & flag)
    yield 0


def largest(trial: Trial) -> Change | None:
    """Return the one attribute that is too large, with the largest value that passes."""
    for name in ("value_size", "max_entries", "key_size"):
        low, high = 1, getattr(trial.attr, name)
        if high < 2 or _errno(trial, name, low) not in (0, E.NOMEM):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            too_big = _errno(trial, name, middle) == E.BIG
            low, high = (low, middle) if too_big else (middle, high)
        return {name: low}
    return None


def _errno(trial: Trial, name: str, value: int) -> int:
    return attempt(altered(trial, attr=altered(trial.attr, **{name: value}))).errno


def capabilities(trial: Trial) -> int | None:
    """Return what the caller lacks, None if no capability helps."""
    for wanted in _CAPABILITIES:
        if attempt(altered(trial, caps=trial.caps | wanted)).errno != E.PERM:
            return wanted & ~trial.caps
    return None
