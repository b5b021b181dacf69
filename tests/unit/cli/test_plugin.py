"""``bpfctl plugin``: where map types come from, broken ones included."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint

import pytest

from bpfctl import plugins


@pytest.fixture
def third_party(monkeypatch):
    """Install entry points of other distributions for this test."""

    def install(*entries: EntryPoint) -> None:
        monkeypatch.setattr(
            plugins, "entry_points", lambda group: [e for e in entries if e.group == group]
        )

    yield install
    plugins.map_type.cache_clear()


def test_built_in_types_are_listed(cli):
    rows = {row["name"]: row for row in json.loads(cli.ok("plugin", "list", "--json"))}
    assert rows["hash"] == {
        "name": "hash",
        "kind": "map type",
        "module": "bpfctl_maps.hashtab",
        "source": "bpfctl",
        "state": "ok",
    }
    assert cli.ok("plugin").splitlines()[0].split() == [
        "name",
        "kind",
        "module",
        "source",
        "state",
    ]


def test_a_broken_plugin_is_named_and_others_go_on(cli, third_party):
    third_party(
        EntryPoint("odd_map", "no_such_module_at_all", plugins.MAP_TYPES_GROUP),
        EntryPoint("hash", "elsewhere", plugins.MAP_TYPES_GROUP),
        EntryPoint("trace", "tracer", plugins.OBSERVERS_GROUP),
    )
    rows = json.loads(cli.ok("plugin", "list", "--json"))[-3:]
    assert [(row["name"], row["kind"], row["state"]) for row in rows] == [
        (
            "odd_map",
            "map type",
            "plugin odd_map cannot be imported: ModuleNotFoundError: "
            "No module named 'no_such_module_at_all'",
        ),
        ("hash", "map type", "hidden by the built-in type"),
        ("trace", "observer", "loaded on demand"),
    ]
    result = cli("plugin", "show", "odd_map")
    assert result.status == 255
    assert result.stderr.startswith("Error: plugin odd_map cannot be imported")
    cli.ok("plugin", "show", "array")


def test_show_describes_a_type(cli):
    facts = json.loads(cli.ok("plugin", "show", "percpu_array", "--json"))
    assert facts["class"] == "PercpuArray"
    assert facts["per CPU"] is True
    assert facts["source"] == "bpfctl"
    assert "lookup" in facts["operations"]
    assert "per CPU                 yes\n" in cli.ok("plugin", "show", "percpu_array")


def test_an_unknown_type_is_refused(cli):
    result = cli("plugin", "show", "hush")
    assert result.stderr == (
        "Error: no plugin offers map type 'hush'\nhint: see 'bpfctl plugin list'\n"
    )
