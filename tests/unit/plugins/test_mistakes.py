"""What a plugin author gets wrong is told with the plugin's name, and stays with the plugin."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from bpfctl import plugins
from conftest import Cli

SOURCE = '''
from bpfctl.errors import E, KernelError
from bpfctl.hookspecs import hookimpl
from bpfctl.kernel.bpf.example import Example
from bpfctl.kernel.bpf.map import MapType


class Ring(MapType):
    """A list of pairs."""

    name = "ring"
    family = "ring"
    example = Example(key_size=4, value_size=8, max_entries=8)

    def alloc_check(self, attr, task):
        small = 0 < attr.key_size <= 64 and 0 < attr.value_size <= 4096
        if attr.map_flags or not small or not 0 < attr.max_entries <= 1 << 20:
            raise KernelError(E.INVAL)

    def memlock_cost(self, bypass_spec_v1):
        return 320 + self.rec.max_entries * 64

    def alloc(self):
        self.struct_alloc("struct", 320)

    def mem_usage(self):
        return 320

    def lookup(self, key, value=None):
        cell = self.cells.get(key)
        if cell is None:
            raise KernelError(E.NOENT)
        return cell[0]

    def update(self, key, value, flags):
        if flags > 2:
            raise KernelError(E.INVAL)
        old = self.cells.get(key)
        if old is not None and flags == 1:
            raise KernelError(E.EXIST)
        if old is None:
            if flags == 2:
                raise KernelError(E.NOENT)
            if self.rec.nr_elems >= self.rec.max_entries:
                raise KernelError(E.BIG)
            self.map_mem().kmalloc("elem", 64, self.update_gfp() | self.account("area"))
            self.rec.nr_elems += 1
            self.cells.put(key, value, self.next_seq(), 0)
        else:
            self.cells.put(key, value, old[1], old[2])

    def delete(self, key):
        if self.cells.get(key) is None:
            raise KernelError(E.NOENT)
        self.cells.delete(key)
        self.rec.nr_elems -= 1

    def next_key(self, key):
        old = self.cells.get(key) if key is not None else None
        found = self.cells.after(old[1] if old else None)
        if found is None:
            raise KernelError(E.NOENT)
        return found[0]


@hookimpl
def map_types():
    return [Ring]
'''
CREATE = "map create /sys/fs/bpf/r type ring key 4 value 8 entries 8 name r"
UPDATE = "map update name r key 1 0 0 0 value 1 2 3 4 5 6 7 8"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make modules look as if pip had installed a distribution with a type ``ring``."""
    site = tmp_path / "site"
    made: list[str] = []

    def add(package: str, source: str, kind: str = "ring") -> Path:
        module = f"{package.replace('-', '_')}_{tmp_path.name.replace('-', '_')}"
        facts = site / f"{module}-0.1.dist-info"
        facts.mkdir(parents=True, exist_ok=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        (facts / "entry_points.txt").write_text(f"[bpfctl.map_types]\n{kind} = {module}\n")
        path = site / f"{module}.py"
        path.write_text(textwrap.dedent(source))
        made.append(package)
        plugins.map_type.cache_clear()
        return path

    def remove() -> None:
        for path in site.rglob("entry_points.txt"):
            path.write_text("")
        plugins.map_type.cache_clear()

    add.remove = remove  # type: ignore[attr-defined]
    monkeypatch.syspath_prepend(str(site))
    yield add
    plugins.map_type.cache_clear()


def test_an_element_that_delete_never_frees(cli: Cli, install: Any) -> None:
    install("bpfctl-ring", SOURCE)
    result = cli("plugin", "check", "bpfctl-ring")
    assert result.status == 1
    assert "ring    reuse            BROKEN" in result.stdout
    assert "deleted elements are not freed: 8 put in and deleted 5 times leave" in result.stdout


def test_elements_that_live_in_the_object_only(cli: Cli, install: Any) -> None:
    kept = SOURCE.replace(
        "self.cells.put(key, value, self.next_seq(), 0)", "self.kept[key] = value"
    )
    kept = kept.replace(
        "        cell = self.cells.get(key)\n        if cell is None:\n",
        "        cell = [self.kept[key]] if key in self.kept else None\n        if cell is None:\n",
    ).replace(
        "    def alloc(self):",
        "    @property\n    def kept(self):\n"
        "        return self.__dict__.setdefault('_kept', {})\n\n    def alloc(self):",
    )
    install("bpfctl-ring", kept)
    result = cli("plugin", "check", "bpfctl-ring")
    assert result.status == 1
    assert "BROKEN" in result.stdout
    assert "persistence      BROKEN" in result.stdout


def test_wrong_signatures(cli: Cli, install: Any) -> None:
    install(
        "bpfctl-ring",
        SOURCE.replace(
            "def update(self, key, value, flags):", "def update(self, key, value, flags=0, more=1):"
        ),
    )
    result = cli("plugin", "check", "bpfctl-ring")
    assert result.status == 1
    assert "does not have the parameters of MapType.update" in result.stdout


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (SOURCE.replace("@hookimpl\n", ""), "it has no such hook"),
        (SOURCE.replace('name = "ring"', 'name = "wring"'), "it offers wring"),
        ("X = 1\n", "it has no such hook"),
    ],
    ids=["unmarked", "misspelt", "empty"],
)
def test_a_module_without_the_type(cli: Cli, install: Any, source: str, hint: str) -> None:
    install("bpfctl-ring", source)
    for words in ("plugin check bpfctl-ring", "plugin show ring", CREATE):
        result = cli(*words.split())
        assert result.status == 255
        assert "its entry point names map type 'ring'" in result.stderr
    assert f"hint: {hint}" in cli("plugin", "check", "bpfctl-ring").stderr


def test_a_clash_with_a_built_in_type(cli: Cli, install: Any) -> None:
    install("bpfctl-mine", SOURCE, kind="hash")
    result = cli("plugin", "check", "bpfctl-mine")
    assert result.status == 255
    assert "map type 'hash' of bpfctl-mine is hidden by the built-in type" in result.stderr


def test_two_plugins_of_one_name(cli: Cli, install: Any) -> None:
    install("bpfctl-first", SOURCE)
    install("bpfctl-second", SOURCE)
    rows = [line for line in cli.ok("plugin", "list").splitlines() if line.startswith("ring ")]
    assert len(rows) == 2
    assert sorted("hidden by bpfctl-" in row for row in rows) == [False, True]
    results = [cli("plugin", "check", f"bpfctl-{name}") for name in ("first", "second")]
    assert sorted("is hidden by bpfctl-" in result.stderr for result in results) == [False, True]


def test_a_syntax_error_shows_the_path(cli: Cli, install: Any) -> None:
    path = install("bpfctl-ring", "def map_types(:\n")
    result = cli(*CREATE.split())
    assert result.status == 255
    assert f"cannot be imported: SyntaxError in {path}" in result.stderr


def test_an_exception_names_plugin_type_operation_and_file(cli: Cli, install: Any) -> None:
    path = install(
        "bpfctl-ring",
        SOURCE.replace("        if flags > 2:\n", "        1 // flags\n        if 0:\n"),
    )
    cli.ok(*CREATE.split())
    result = cli(*UPDATE.split())
    line = path.read_text().splitlines().index("        1 // flags") + 1
    assert result.status == 255
    assert result.stderr == (
        "Error: plugin bpfctl-ring: update() of map type ring failed: ZeroDivisionError: integer "
        f"division or modulo by zero ({path}:{line})\n"
    )
    with pytest.raises(ZeroDivisionError):
        cli("-d", *UPDATE.split())


def test_a_missing_plugin_names_itself_and_stops_nothing_else(cli: Cli, install: Any) -> None:
    install("bpfctl-ring", SOURCE)
    cli.ok("memcg", "create", "/w")
    cli.ok("--cgroup", "/w", *CREATE.split())
    cli.ok(*UPDATE.split())
    made = "type hash key 4 value 8 entries 8 name h"
    cli.ok("map", "create", "/sys/fs/bpf/h", *made.split())
    install.remove()
    shown = cli.ok("map", "show")
    assert "name r  flags 0x0" in shown
    assert "hash  name h" in shown
    for words in ("map dump name r", UPDATE, "map lookup name r key 1 0 0 0"):
        result = cli(*words.split())
        assert result.status == 255
        assert (
            "map 1 is of type ring of bpfctl-ring: no installed plugin offers it" in result.stderr
        )
    cli.ok("map", "update", "name", "h", *UPDATE.split()[4:])
    assert "hash" in cli.ok("cost", "--map", "type=hash,key=4,value=8,entries=8")
    assert cli.ok("memcg", "show", "/w", "memory.current") != "0\n"
    cli.ok("sim", "rm", "/sys/fs/bpf/r")
    assert "name r" not in cli.ok("map", "show")
    assert cli.ok("memcg", "show", "/w", "memory.current") == "0\n"
    assert cli.ok("sim", "check") == "ok\n"
