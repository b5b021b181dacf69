"""``bpfctl memcg``: cgroup files as cgroupfs would have them."""

from __future__ import annotations

import json

import pytest

from bpfctl.cli.memcg.verbs import usage_bar


def one(cli, path: str, file: str) -> str:
    return cli.ok("memcg", "show", path, file).strip()


def test_limits_are_written_and_shown(cli):
    cli.ok("memcg", "create", "/a", "--max", "64M", "--low", "4096")
    cli.ok("memcg", "set", "/a", "memory.high=1M", "min=5000")
    shown = json.loads(cli.ok("memcg", "show", "--json", "/a"))
    assert {name: shown[f"memory.{name}"] for name in ("max", "high", "low", "min")} == {
        "max": 64 << 20,
        "high": 1 << 20,
        "low": 4096,
        "min": 4096,
    }
    assert one(cli, "/a", "memory.max") == str(64 << 20)
    cli.ok("memcg", "set", "/a", "--max", "max")
    assert one(cli, "/a", "memory.max") == "max"


def test_files_of_a_cgroup(cli):
    cli.ok("memcg", "create", "/a")
    pid = cli.ok("task", "spawn", "--cgroup", "/a").strip()
    names = list(json.loads(cli.ok("memcg", "show", "--json", "/a")))
    assert names == [
        "path",
        "memory.current",
        "memory.peak",
        "memory.min",
        "memory.low",
        "memory.high",
        "memory.max",
        "memory.events",
        "memory.events.local",
        "memory.stat",
        "cgroup.procs",
    ]
    assert one(cli, "/a", "cgroup.procs") == pid
    assert cli.ok("memcg", "events", "/a") == "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n"
    assert list(json.loads(cli.ok("memcg", "show", "--json"))) == [
        "path",
        "memory.stat",
        "cgroup.procs",
    ]


def test_charges_show_up_the_tree_and_go(cli):
    cli.ok("sim", "new", "--kernel", "6.12")
    cli.ok("memcg", "create", "-p", "/a/b", "--max", "1M")
    create = "map create /sys/fs/bpf/m type array key 4 value 4096 entries 100 name m"
    cli.ok("--cgroup", "/a/b", *create.split())
    assert int(one(cli, "/a/b", "memory.current")) >= 100 * 4096
    assert one(cli, "/a", "memory.current") == one(cli, "/a/b", "memory.current")
    stat = dict(line.split() for line in cli.ok("memcg", "stat", "/a").splitlines())
    assert stat["vmalloc"] == str(101 * 4096)
    table = cli.ok("memcg", "tree").splitlines()
    assert table[3].startswith("   └─ b")
    assert "[####......] 40%" in table[3]
    branch = json.loads(cli.ok("memcg", "tree", "--json"))
    assert branch["children"][0]["children"][0]["memory.max"] == 1 << 20
    cli.ok("sim", "rm", "/sys/fs/bpf/m")
    assert one(cli, "/a/b", "memory.current") == "0"
    assert int(one(cli, "/a/b", "memory.peak")) >= 100 * 4096


def test_a_limit_below_the_usage_takes_tasks(cli):
    cli.ok("sim", "new", "--kernel", "6.12")
    cli.ok("memcg", "create", "/a")
    create = "map create /sys/fs/bpf/m type array key 4 value 4096 entries 100 name m"
    cli.ok("--cgroup", "/a", *create.split())
    pid = cli.ok("task", "spawn", "--cgroup", "/a", "--open", "/sys/fs/bpf/m").strip()
    cli.ok("sim", "rm", "/sys/fs/bpf/m")
    result = cli("memcg", "set", "/a", "memory.max=64K")
    assert (result.status, result.stderr) == (0, f"the OOM killer of /a took task {pid}\n")
    events = json.loads(cli.ok("memcg", "events", "--json", "/a"))
    assert (events["oom"], events["oom_kill"]) == (1, 1)
    assert one(cli, "/a", "memory.current") == "0"
    cli.ok("sim", "check")


def test_moving_and_removing(cli):
    cli.ok("memcg", "create", "-p", "/a/b")
    pid = cli.ok("task", "spawn", "--cgroup", "/a/b").strip()
    busy = cli("memcg", "rm", "/a/b")
    assert busy.stderr == (
        "Error: can't remove cgroup '/a/b': Device or resource busy\n"
        f"hint: 1 task in it: move them away (bpfctl memcg move {pid} /) or end them\n"
    )
    cli.ok("memcg", "move", pid, "/")
    assert "remove /a/b first" in cli("memcg", "rm", "/a").stderr
    cli.ok("memcg", "rm", "/a/b", "/a")
    assert one(cli, "/", "cgroup.procs").split() == ["1", pid]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("create /a", "can't create cgroup '/a': File exists"),
        ("create /x/y", "can't create cgroup '/x/y': No such file or directory"),
        ("create /b --max lots", "can't parse 'lots' as memory.max"),
        ("set /x memory.max=1M", "can't look up cgroup '/x': No such file or directory"),
        ("set / memory.max=1M", "can't write memory.max of '/': No such file or directory"),
        ("set /a memory.current=1", "can't write 'memory.current=1'"),
        ("set /a memory.max", "can't write 'memory.max'"),
        ("set /a", "nothing to set"),
        ("show /x", "can't look up cgroup '/x': No such file or directory"),
        ("show / memory.max", "can't read 'memory.max' of '/': No such file or directory"),
        ("move 99 /a", "can't move task 99: No such file or directory"),
        ("move 1 /x", "can't look up cgroup '/x': No such file or directory"),
        ("rm /", "can't remove cgroup '/': Device or resource busy"),
        ("rm /x", "can't remove cgroup '/x': No such file or directory"),
    ],
)
def test_refusals_are_those_of_cgroupfs(cli, words, message):
    cli.ok("memcg", "create", "/a")
    before = cli.ok("sim", "export")
    result = cli("memcg", *words.split())
    assert result.status == 255
    assert result.stderr.startswith(f"Error: {message}")
    assert cli.ok("sim", "export") == before


def test_without_a_memory_controller_there_are_no_files(cli):
    cli.ok("sim", "new", "--cgroup-memory", "off")
    cli.ok("memcg", "create", "/a")
    assert list(json.loads(cli.ok("memcg", "show", "--json", "/a"))) == ["path", "cgroup.procs"]
    result = cli("memcg", "set", "/a", "memory.max=1M")
    assert result.stderr == (
        "Error: can't write memory.max of '/a': No such file or directory\n"
        "hint: this kernel runs without the memory controller (cgroup_memory off)\n"
    )


@pytest.mark.parametrize(
    ("usage", "maximum", "bar"),
    [
        (0, None, ""),
        (0, 10, "[..........] 0%"),
        (5, 10, "[#####.....] 50%"),
        (30, 10, "[##########] 300%"),
        (1, 0, "[##########] 100%"),
    ],
)
def test_bars(usage, maximum, bar):
    assert usage_bar(usage, maximum) == bar
