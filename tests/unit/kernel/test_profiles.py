"""A wheel's compiled profiles are those of the TOML files."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from bpfctl.kernel import profile

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", profile.PROFILES)
def test_compiled_profile_is_the_read_one(name, monkeypatch):
    compiled = ModuleType("compiled")
    exec(profile.compiled_text(name), compiled.__dict__)
    read = profile._build(name, profile._with_bases(name), None)
    monkeypatch.setitem(
        sys.modules, f"bpfctl.kernel.{profile.compiled_name(name)}", compiled
    )
    monkeypatch.setattr(profile, "_with_bases", lambda name: pytest.fail("read TOML"))
    assert profile._build(name, profile._data(name), None) == read


def test_a_source_tree_has_none():
    # .ci/run looks for them in a wheel.
    assert list((ROOT / "bpfctl/kernel").glob("profile_*.py")) == []
