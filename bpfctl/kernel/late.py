"""Reaching up by name: families that a lower layer hands over to, imported when first needed.

Names are ``module:attribute`` below ``bpfctl.kernel``. A test sees that each leads
somewhere; the import graph stays one that points down.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def late(name: str) -> Any:
    """Return what ``name`` stands for."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(f"bpfctl.kernel.{module}"), attribute)
