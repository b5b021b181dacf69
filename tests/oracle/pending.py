"""Which cases wait for map types that are not written yet.

With ``--oracle-dir`` nothing waits. Once all types of the newest kernel exist, this is empty.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from bpfctl.plugins import BUILTIN
from oracle.cases import Case


@cache
def absent(name: str) -> bool:
    """Tell whether the module of a built-in map type is missing."""
    return name in BUILTIN and find_spec(BUILTIN[name]) is None


def waits_for(case: Case) -> str:
    """Return the map type that ``case`` waits for, "" for none."""
    return next((name for name in sorted(map(str, case.map_types())) if absent(name)), "")
