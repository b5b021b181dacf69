"""Licences that are compatible with the GPL (include/linux/license.h)."""

from __future__ import annotations

GPL_LICENSES = frozenset(
    (
        b"GPL",
        b"GPL v2",
        b"GPL and additional rights",
        b"Dual BSD/GPL",
        b"Dual MIT/GPL",
        b"Dual MPL/GPL",
    )
)


def gpl_compatible(license_: bytes) -> bool:
    """Tell whether a licence, up to its NUL, is one of them (license_is_gpl_compatible)."""
    return license_.split(b"\0")[0] in GPL_LICENSES
