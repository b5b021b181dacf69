"""Samples are the folders with a main.py, each of which declares what it is."""

import re
from pathlib import Path

import pytest
from bpfctl_samples import registry

from bpfctl.errors import CommandError


def test_every_folder_with_a_main_is_a_sample():
    folders = {path.parent.name for path in Path(registry.FOLDER).glob("*/main.py")}
    assert registry.names() == sorted(folders)
    assert "test_lru_dist" in folders


@pytest.mark.parametrize("name", registry.names())
def test_what_a_sample_declares(name):
    sample = registry.load(name)
    assert re.fullmatch(r"[^\n]{10,100}", sample.about)
    assert not sample.about.endswith(".")
    for option in sample.options:
        assert re.fullmatch(r"[a-z][a-z-]*", option.name)
        assert option.help.endswith(".")
        assert not option.choices or option.default in option.choices
    declared = {option.name for option in sample.options}
    assert set(sample.compare.options or {}) <= declared


@pytest.mark.parametrize("name", ["", "nope", "..", "test_lru_dist/main", "__pycache__"])
def test_other_names_are_refused(name):
    with pytest.raises(CommandError) as caught:
        registry.load(name)
    assert caught.value.text == f"no sample '{name}'"
