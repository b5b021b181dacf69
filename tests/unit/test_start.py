"""What a command imports: a set of modules, since times wander."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Nobody needs these to list maps.
HEAVY = {
    "click", "pluggy", "json", "inspect", "tabulate", "elftools", "platformdirs", "tomllib",
    "importlib.metadata", "hashlib", "difflib", "textwrap", "datetime", "zlib",
}  # fmt: skip
# Packages of bpfctl that "map show" is made of; of the kernel, what is not there.
PACKAGES = {
    "bpfctl.btf", "bpfctl.conformance", "bpfctl.cost", "bpfctl.isa", "bpfctl.observers",
    "bpfctl.cli.complete", "bpfctl.cli.help", "bpfctl.cli.prog", "bpfctl.cli.sim",
    "bpfctl.kernel.attach", "bpfctl.kernel.net", "bpfctl.kernel.trace",
    "bpfctl.kernel.bpf.helpers", "bpfctl.kernel.bpf.progtypes", "bpfctl.kernel.bpf.test_run",
    "bpfctl.kernel.bpf.verifier", "bpfctl.kernel.bpf.vm",
}  # fmt: skip
# The modules of the project that an empty "map show" imports, at most.
MOST = 75


def imported(state: Path, *words: str) -> set[str]:
    """Return the names of the modules that a command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "bpfctl", "--state", str(state), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("start") / "state.db"
    made = "map create /sys/fs/bpf/h type hash key 4 value 8 entries 9 name h"
    imported(path, *made.split())
    return path


@pytest.mark.parametrize("words", ["map show", "map dump name h", "prog show", "btf show"])
def test_a_command_imports_nothing_heavy(state: Path, words: str) -> None:
    found = imported(state, *words.split())
    assert "bpfctl.kernel.kernel" in found, "the list is of a real start"
    heavy = set(HEAVY)
    # An editable install's finder imports a good deal by itself, and reads TOML.
    if any(name.startswith("__editable__") for name in found) or is_source_tree():
        heavy -= {"tomllib", "datetime"}
    else:
        heavy |= {"dataclasses", "importlib.resources"}
    assert found & heavy == set()


def test_map_show_imports_what_it_is_made_of(state: Path, tmp_path: Path) -> None:
    found = {name for name in imported(state, "map", "show") if name.startswith("bpfctl")}
    parts = {name for name in found for part in PACKAGES if f"{name}.".startswith(f"{part}.")}
    assert parts == set()
    assert "bpfctl.cli.map.create" not in found, "verbs are imported one by one"
    empty = tmp_path / "empty.db"
    imported(empty, "map", "show")
    few = {name for name in imported(empty, "map", "show") if name.startswith("bpfctl")}
    assert len(few) <= MOST, sorted(few)


def is_source_tree() -> bool:
    import bpfctl.kernel

    return not list(Path(bpfctl.kernel.__path__[0]).glob("profile_*.py"))
