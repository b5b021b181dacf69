"""Observers see every charge; a broken one is named and changes nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bpfctl import hookspecs, plugins
from bpfctl.cli.app.main import main
from bpfctl.hookspecs import hookimpl


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BPFCTL_STATE", str(tmp_path / "state.db"))
    assert main(["memcg", "create", "/a"]) == 0
    yield
    pm = plugins.manager()
    for name, plugin in pm.list_name_plugin():
        if plugin is not None and "observ" in name:
            pm.unregister(name=name)


CREATE = "map create /sys/fs/bpf/h type hash key 4 value 8 entries 100 name h"


def test_charges_are_lines_of_json_that_add_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    log = tmp_path / "charges.jsonl"
    monkeypatch.setenv("BPFCTL_CHARGES", str(log))
    assert main(["--observe", "charges", "--cgroup", "/a", *CREATE.split()]) == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    charged = sum(e["bytes"] for e in events if e["event"] == "charge")
    given_back = sum(e["bytes"] for e in events if e["event"] == "uncharge")
    capsys.readouterr()
    assert main(["memcg", "stat", "/a", "--json"]) == 0
    stat = json.loads(capsys.readouterr().out)
    assert charged - given_back == stat["slab"] + stat["percpu"] + stat["vmalloc"] > 0
    assert {"event": "map_created", "id": 1, "type": "hash", "name": "h"} in events


def test_an_unknown_observer_is_an_error(capsys: Any) -> None:
    assert main(["--observe", "no_such_observer", *CREATE.split()]) == 255
    assert "no_such_observer" in capsys.readouterr().err


def observer(monkeypatch: pytest.MonkeyPatch, name: str, **hooks: Any) -> None:
    """Put a module ``name`` with these hook implementations where imports find it."""
    module = ModuleType(name)
    for hook, function in hooks.items():
        setattr(module, hook, hookimpl(function))
    monkeypatch.setitem(sys.modules, name, module)


def test_a_failing_observer_is_named_and_the_command_succeeds(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(map_id: int) -> None:
        raise RuntimeError("sorry")

    observer(monkeypatch, "failing_observer", map_created=fail)
    assert main(["--observe", "failing_observer", *CREATE.split()]) == 0
    assert "plugin failing_observer: map_created: sorry" in capsys.readouterr().err


def test_a_misspelt_hook_is_refused(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    observer(monkeypatch, "misspelt_observer", map_creatd=lambda map_id: None)
    assert main(["--observe", "misspelt_observer", *CREATE.split()]) == 255
    assert "misspelt_observer" in capsys.readouterr().err


def test_every_hook_has_a_docstring() -> None:
    for name, hook in vars(hookspecs).items():
        if getattr(hook, "bpfctl_spec", None) is not None:
            assert hook.__doc__, name
