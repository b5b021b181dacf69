"""Samples by name: the folders that have a ``main.py``."""

from __future__ import annotations

import os
from importlib import import_module

from bpfctl.errors import CommandError

from .sample import Sample

FOLDER = os.path.dirname(os.path.abspath(__file__))
MAIN = "main.py"


def names() -> list[str]:
    """Return the names of all samples, sorted."""
    with os.scandir(FOLDER) as entries:
        return sorted(e.name for e in entries if os.path.isfile(os.path.join(e.path, MAIN)))


def load(name: str) -> Sample:
    """Import the sample ``name``.

    :raises CommandError: there is none.
    """
    if name not in names():
        raise CommandError(f"no sample '{name}'", hint="bpfctl sample list shows those there are")
    module = import_module(f".{name}.main", __package__)
    sample = module.SAMPLE
    assert isinstance(sample, Sample)
    return sample
