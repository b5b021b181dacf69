"""Mapping maps from the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest

PIN = "/sys/fs/bpf/a"


@pytest.fixture
def mapped(cli: Any) -> Any:
    """A task in cgroup /g with a mappable array of 1024 values open as fd 3."""
    cli.ok("memcg", "create", "/g")
    cli.ok(*f"map create {PIN} type array key 4 value 8 entries 1024 name a flags 0x400".split())
    pid = json.loads(cli.ok("task", "spawn", "--cgroup", "/g", "--json"))["pid"]
    cli.ok("task", "open", str(pid), PIN)
    return str(pid)


def mmap(cli: Any, pid: str, *options: str) -> str:
    found = json.loads(cli.ok("task", "mmap", pid, "3", *options, "--json"))
    return str(found["mapping"])


def test_what_is_written_through_a_mapping_is_in_the_map(cli: Any, mapped: str) -> None:
    number = mmap(cli, mapped, "--write", "--length", "8K")
    cli.ok("task", "write", mapped, number, "8", "0102030405060708")
    found = cli.ok("map", "lookup", "pinned", PIN, "key", "1", "0", "0", "0")
    assert found.endswith("value: 01 02 03 04 05 06 07 08\n")
    assert cli.ok("task", "read", mapped, number, "8", "4") == "01 02 03 04\n"


def test_a_writable_mapping_keeps_the_map_from_being_frozen(cli: Any, mapped: str) -> None:
    number = mmap(cli, mapped, "--write")
    assert cli("map", "freeze", "pinned", PIN).status == 240
    cli.ok("task", "munmap", mapped, number)
    cli.ok("map", "freeze", "pinned", PIN)
    refused = cli("task", "mmap", mapped, "3", "--write")
    assert (refused.status, "Operation not permitted" in refused.stderr) == (255, True)


def test_a_mapping_is_paid_by_its_task_and_ends_with_it(cli: Any, mapped: str) -> None:
    before = cli.ok("memcg", "stat", "/g", "--json")
    mmap(cli, mapped)
    assert cli.ok("memcg", "stat", "/g", "--json") != before
    cli.ok("task", "exit", mapped)
    assert set(json.loads(cli.ok("memcg", "stat", "/g", "--json")).values()) == {0}
    assert cli("sim", "check").status == 0


def test_accounted_pages_cannot_be_mapped_before_patch_4(cli: Any) -> None:
    """No point of the series has patch 7 without 4, so 5.10 maps and so does patch 7."""
    for patch in ("0", "7"):
        cli.ok("sim", "new", "--kernel", "5.10", "--patch", patch, "--force")
        cli.ok(*f"map create {PIN} type array key 4 value 8 entries 9 name a flags 0x400".split())
        pid = str(json.loads(cli.ok("task", "spawn", "--json"))["pid"])
        cli.ok("task", "open", pid, PIN)
        assert mmap(cli, pid)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["mmap", "{pid}", "9"], "Bad file descriptor"),
        (["mmap", "{pid}", "3", "--offset", "1"], "Invalid argument"),
        (["mmap", "{pid}", "3", "--length", "64K"], "Invalid argument"),
        (["mmap", "{pid}", "3", "--private"], "Invalid argument"),
        (["mmap", "{pid}", "3", "--length", "x"], "can't parse 'x'"),
        (["mmap", "99", "3"], "no task 99"),
        (["munmap", "{pid}", "7"], "has no mapping 7"),
        (["read", "{pid}", "7", "0", "4"], "has no mapping 7"),
        (["write", "{pid}", "1", "0", "xy"], "'xy' is not hex"),
    ],
)
def test_refusals(cli: Any, mapped: str, words: list[str], text: str) -> None:
    refused = cli("task", *(word.format(pid=mapped) for word in words))
    assert refused.status == 255
    assert text in refused.stderr
    assert "Traceback" not in refused.stderr
