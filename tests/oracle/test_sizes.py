"""Struct sizes of the kernel profiles are those of the measured kernels."""

from __future__ import annotations

import pytest

from bpfctl.kernel import profile
from oracle.cases import DATA, boots

MEASURED = boots(DATA)


@pytest.mark.parametrize("kernel", sorted(MEASURED))
def test_profile_sizes(kernel: str) -> None:
    measured = MEASURED[kernel]["sizeof"]
    # A struct file or dentry is an object of a slab cache, rounded up to its alignment.
    objects = {"file": 64, "dentry": 64}
    expected = {
        name: -(-size // objects.get(name, 1)) * objects.get(name, 1)
        for name, size in measured.items()
    }
    sizes = profile.load(kernel).sizes
    common = sizes.keys() & expected.keys()
    assert len(common) > 20
    assert {name: sizes[name] for name in common} == {name: expected[name] for name in common}
