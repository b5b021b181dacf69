"""Objects priced and objects loaded: the same maps and programs, with the memlock bpftool shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bpfctl.kernel.profile import PROFILES
from bpfctl.libbpf.object import open_object
from bpfctl.libbpf.object_progs import ProgramSpec
from cost import real
from unit.libbpf.objects import OBJECTS
from unit.libbpf.test_same_as_bpftool import (
    LOADABLE,
    libbpf_version,
    needs_root,
    shown_by_bpftool,
)

FIELDS = {
    "name": "name",
    "type": "type",
    "bytes_key": "key_size",
    "bytes_value": "value_size",
    "max_entries": "max_entries",
    "flags": "map_flags",
}


def priced(cli: Any, path: Path) -> dict[str, Any]:
    """Return what cost says of an object, read as the libbpf of the bpftool here reads it."""
    version = ".".join(map(str, libbpf_version()))
    out = cli.ok(
        "cost", path, "--json", "--kernel", real.profile(), "--cpus", real.possible_cpus(),
        "--libbpf", version,
    )  # fmt: skip
    machine: dict[str, Any] = json.loads(out)["machines"][0]
    return machine


def same(cli: Any, path: Path) -> None:
    shown = shown_by_bpftool(path)
    maps = priced(cli, path)["maps"]
    # The kernel keeps 15 bytes of a name.
    ours = [{theirs: each[name] for theirs, name in FIELDS.items()} for each in maps]
    for each in ours:
        each["name"] = each["name"][:15]
    assert ours == [{name: each[name] for name in FIELDS} for each in shown]
    assert [each["at"]["created"]["memlock"] for each in maps] == [
        each["bytes_memlock"] for each in shown
    ]


@pytest.mark.needs("bpftool")
@pytest.mark.parametrize("name", LOADABLE)
def test_objects_of_the_tests(cli: Any, name: str) -> None:
    needs_root()
    real.profile()
    same(cli, OBJECTS / f"{name}.bpf.o")


@pytest.mark.needs("bpftool")
def test_objects_of_xdp_tools(cli: Any, tmp_path: Path) -> None:
    needs_root()
    real.profile()
    compared = 0
    for path in sorted(real.xdp_tools(tmp_path).glob("*.o")):
        try:
            same(cli, path)
        except pytest.skip.Exception:
            # The dispatcher is filled in by libxdp before it can be loaded.
            continue
        compared += 1
    assert compared > 5


def test_all_objects_of_xdp_tools_are_priced(cli: Any, tmp_path: Path) -> None:
    paths = sorted(real.xdp_tools(tmp_path).glob("*.o"))
    assert len(paths) > 5
    for path in paths:
        machines = json.loads(cli.ok("cost", path, "--json", "--kernel", "all"))["machines"]
        assert len(machines) == len(PROFILES)
        programs: list[ProgramSpec] = open_object(str(path)).programs
        for machine in machines:
            assert [each["name"] for each in machine["programs"]] == [p.name for p in programs]
            assert all(each["refused"] is None for each in machine["programs"]), path
