"""Capabilities as a person writes them."""

from __future__ import annotations

from bpfctl.errors import CommandError
from bpfctl.uapi import ALL_CAPS, CAPS


def parse_caps(text: str) -> int:
    """Return the mask of ``all``, ``none`` or names with commas (``CAP_BPF,cap_perfmon``).

    :raises CommandError: unknown name.
    """
    if text in ("all", "none"):
        return ALL_CAPS if text == "all" else 0
    mask = 0
    for word in text.split(","):
        name = word.strip().upper()
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in CAPS:
            raise CommandError(
                f"unknown capability '{word}'", hint=f"known: all, none, {', '.join(CAPS)}"
            )
        mask |= 1 << CAPS[name]
    return mask


def format_caps(mask: int) -> str:
    """Return the inverse of :func:`parse_caps`."""
    if mask == ALL_CAPS:
        return "all"
    names = [name for name, bit in CAPS.items() if mask & 1 << bit]
    return ",".join(names) or "none"
