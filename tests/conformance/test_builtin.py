"""The built-in map types pass the suite that third-party types are held to."""

from __future__ import annotations

import pytest

from bpfctl import plugins
from bpfctl.conformance.lab import Violation
from bpfctl.conformance.rules import RULES


@pytest.mark.parametrize("name", sorted(plugins.BUILTIN))
def test_type_keeps_every_rule(name: str) -> None:
    cls = plugins.map_type(name)
    assert cls is not None
    broken = {}
    for rule, check in RULES.items():
        try:
            check(cls)
        except Violation as exc:
            broken[rule] = str(exc)
    assert broken == {}
