"""What ``bpfctl plugin new`` writes works as it is, and passes the conformance suite."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bpfctl import plugins
from bpfctl.cli.app.main import main
from bpfctl.conformance.run import check_type


class Entry:
    """An entry point as an installed package would have it."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self.value = value
        self.dist = None


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Write a new package and make it look installed; return its directory."""

    def install(name: str) -> Path:
        target = tmp_path / "package"
        assert main(["plugin", "new", name, "--directory", str(target)]) == 0
        monkeypatch.syspath_prepend(str(target / "src"))
        written = re.search(rf'^{name} = "(.+)"$', (target / "pyproject.toml").read_text(), re.M)
        assert written
        value = written[1]
        monkeypatch.setattr(
            plugins,
            "entry_points",
            lambda group: [Entry(name, value)] if group == plugins.MAP_TYPES_GROUP else [],
        )
        plugins.map_type.cache_clear()
        return target

    yield install
    plugins.map_type.cache_clear()
    for module in [m for m in sys.modules if m.startswith("bpfctl_fresh")]:
        del sys.modules[module]


def test_skeleton_conforms(installed: Any) -> None:
    installed("fresh_one")
    cls = plugins.map_type("fresh_one")
    assert cls is not None
    assert [outcome for outcome in check_type(cls) if not outcome.passed] == []


def test_skeleton_is_used_by_map_create(
    installed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    installed("fresh_two")
    monkeypatch.setenv("BPFCTL_STATE", str(tmp_path / "state.db"))
    words = "map create /sys/fs/bpf/f type fresh_two key 4 value 8 entries 16 name f"
    assert main(words.split()) == 0
    update = "map update name f key 1 0 0 0 value 1 2 3 4 5 6 7 8"
    assert main(update.split()) == 0
    capsys.readouterr()
    assert main(["-j", "map", "show", "name", "f"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["type"], shown["bytes_memlock"]) == ("fresh_two", 320 + 44)


def test_files_have_no_marks_left(installed: Any) -> None:
    target = installed("fresh_three")
    texts = [path.read_text() for path in target.rglob("*") if path.is_file()]
    assert len(texts) == 4
    assert not any("@" in text.replace("@hookimpl", "").replace("@property", "") for text in texts)


@pytest.mark.parametrize("name", ["Ring", "1st", "a-b", "class", "hash", ""])
def test_bad_names_are_refused(name: str, tmp_path: Path, capsys: Any) -> None:
    assert main(["plugin", "new", "--directory", str(tmp_path / "x"), "--", name]) == 255
    assert "Error: " in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_directory_with_files_is_left_alone(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "kept").write_text("mine")
    assert main(["plugin", "new", "ring", "--directory", str(tmp_path)]) == 255
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_check_reports_a_broken_type(
    installed: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("fresh_four")
    cls = plugins.map_type("fresh_four")
    monkeypatch.setattr(cls, "memlock_cost", lambda self, bypass_spec_v1: 0)
    capsys.readouterr()
    assert main(["plugin", "check", "fresh_four", "--json"]) == 1
    outcomes = json.loads(capsys.readouterr().out)
    assert [o["rule"] for o in outcomes if not o["passed"]] == ["memlock"]


def test_check_of_an_unknown_package(capsys: Any) -> None:
    assert main(["plugin", "check", "no-such-package"]) == 255
    assert "no map type, package or plugin module 'no-such-package'" in capsys.readouterr().err


