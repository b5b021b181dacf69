"""Third-party types of every kind of value: found by entry point, held to the rules, used by hand.

No table of bpfctl's has an entry for them; what they are is said by their classes alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfctl import plugins
from conftest import Cli

PACKAGES = Path(__file__).parents[2] / "plugins"
OBJECTS = Path(__file__).parents[1] / "data" / "objects"

# Distribution: its entry point, a module with a hook or a class, and the type that it offers.
OFFERED = {
    "bpfctl-counting-bloom": ("bpfctl_counting_bloom", "counting_bloom"),
    "bpfctl-percpu-list": ("bpfctl_percpu_list:PercpuList", "percpu_list"),
    "bpfctl-prog-table": ("bpfctl_prog_table:ProgTable", "prog_table"),
}


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the packages of plugins/ look as if pip had installed them."""
    plugins.map_type.cache_clear()
    for package, (value, kind) in OFFERED.items():
        facts = tmp_path / "site" / f"{package.replace('-', '_')}-0.1.dist-info"
        facts.mkdir(parents=True)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
        (facts / "entry_points.txt").write_text(f"[bpfctl.map_types]\n{kind} = {value}\n")
        monkeypatch.syspath_prepend(str(PACKAGES / package / "src"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    plugins.map_type.cache_clear()


@pytest.fixture
def make(cli: Cli) -> Callable[..., str]:
    def make(kind: str, key: int, value: int, entries: int = 8) -> str:
        path = f"/sys/fs/bpf/{kind}"
        cli.ok("map", "create", path, "type", kind, "key", key, "value", value,
               "entries", entries, "name", kind[:15])
        return path

    return make


@pytest.mark.parametrize("package", OFFERED)
def test_plugin_check_finds_nothing(package: str, cli: Cli) -> None:
    result = cli("plugin", "check", package)
    assert result.status == 0, result.stdout
    assert "0 broken" in result.stdout
    assert "commands         ok" in result.stdout


def test_a_per_cpu_value_goes_in_and_out(cli: Cli, make: Callable[..., str]) -> None:
    path = make("percpu_list", 2, 3)
    cli.ok("map", "update", "pinned", path, "key", 1, 2, "value", 7, 8, 9)
    cli.ok("map", "update", "pinned", path, "key", 0, 1, "value", 1, 2, 3)
    shown = "key:\n{}\n" + "".join(f"value (CPU {cpu:02}): {{}}\n" for cpu in range(4))
    first = shown.format("01 02", *["07 08 09"] * 4)
    second = shown.format("00 01", *["01 02 03"] * 4)
    assert cli.ok("map", "dump", "pinned", path) == f"{first}{second}Found 2 elements\n"
    found = json.loads(cli.ok("-j", "map", "lookup", "pinned", path, "key", 0, 1))
    assert [slot["value"] for slot in found["values"]] == [["0x01", "0x02", "0x03"]] * 4
    assert cli.ok("sim", "check") == "ok\n"


def test_a_map_that_holds_programs_is_sound(cli: Cli, make: Callable[..., str]) -> None:
    path = make("prog_table", 5, 4)
    cli.ok("prog", "load", OBJECTS / "basic.bpf.o", "/sys/fs/bpf/p", "type", "socket")
    cli.ok("map", "update", "pinned", path, "key", *b"hello", "value", "pinned", "/sys/fs/bpf/p")
    assert cli.ok("sim", "check") == "ok\n"
    # The table keeps the program when its pin has gone.
    cli.ok("sim", "rm", "/sys/fs/bpf/p")
    assert json.loads(cli.ok("-j", "prog", "show"))[0]["id"] == 2
    assert cli.ok("map", "dump", "pinned", path) == (
        "key: 68 65 6c 6c 6f  value: 02 00 00 00\nFound 1 element\n"
    )
    assert "owner_prog_type socket_filter" in cli.ok("map", "show", "pinned", path)
    assert cli.ok("sim", "check") == "ok\n"
    cli.ok("sim", "rm", path)
    assert cli.ok("-j", "prog", "show") == "[]\n"
    assert cli.ok("sim", "check") == "ok\n"


def test_what_a_map_holds_is_compared(cli: Cli, make: Callable[..., str], state: Path) -> None:
    path = make("prog_table", 1, 4)
    cli.ok("prog", "load", OBJECTS / "basic.bpf.o", "/sys/fs/bpf/p", "type", "socket")
    cli.ok("map", "update", "pinned", path, "key", 1, "value", "pinned", "/sys/fs/bpf/p")
    import sqlite3

    conn = sqlite3.connect(state)
    conn.execute("UPDATE prog SET refcnt = refcnt - 1")
    conn.commit()
    conn.close()
    assert "prog 2: refcnt is 1, 2 refer to it" in cli("sim", "check").stdout


def test_map_extra_is_taken_by_types_that_give_it_a_meaning(cli: Cli) -> None:
    from bpfctl.errors import E, KernelError
    from bpfctl.kernel.kernel import Kernel
    from bpfctl.libbpf.bpf import Bpf
    from bpfctl.plugins import type_number
    from bpfctl.uapi import MapCreateAttr

    kernel = Kernel.in_memory("6.12")
    bpf = Bpf(kernel, kernel.start_command())
    bpf.map_create(MapCreateAttr(type_number("counting_bloom"), 4, 4, 8, map_extra=3))
    with pytest.raises(KernelError) as refused:
        bpf.map_create(MapCreateAttr(type_number("percpu_list"), 4, 4, 8, map_extra=3))
    assert refused.value.code == E.INVAL
