"""The compiled objects that the tests read."""

from __future__ import annotations

from pathlib import Path

from bpfctl.libbpf.object import DEFAULT_RULES, BpfObject, open_object
from bpfctl.libbpf.object_maps import LoadRules

OBJECTS = Path(__file__).resolve().parents[2] / "data" / "objects"


def object_path(name: str) -> str:
    return str(OBJECTS / name)


def opened(name: str, rules: LoadRules = DEFAULT_RULES) -> BpfObject:
    return open_object(object_path(name), rules)
