"""The kernels that there are, and the patches of the series."""

from __future__ import annotations

from bpfctl.kernel.profile import (
    LAST_PATCH,
    LONG_TERM,
    NEWEST,
    PROFILES,
    THIS,
    Patch,
    Profile,
    load,
    resolve,
    series,
)

__all__ = [
    "LAST_PATCH",
    "LONG_TERM",
    "NEWEST",
    "PROFILES",
    "THIS",
    "Patch",
    "Profile",
    "load",
    "resolve",
    "series",
]
