"""Licences that may call GPL-only helpers (license_is_gpl_compatible)."""

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
