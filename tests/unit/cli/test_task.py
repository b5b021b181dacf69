"""``bpfctl task``: long-lived tasks, their limits and what they hold open."""

from __future__ import annotations

import json

import pytest

MAP = "map create /sys/fs/bpf/m type hash key 4 value 8 entries 100 name foo flags 1"


def show(cli, pid: str) -> dict:
    return json.loads(cli.ok("task", "show", pid, "--json"))


def test_spawn_takes_credentials_limits_and_cgroup(cli):
    cli.ok("memcg", "create", "/a")
    command = (
        "task spawn --comm web --uid 1000 --caps CAP_BPF,cap_net_admin --cgroup /a --memlock 64K:1M"
    )
    pid = cli.ok(*command.split()).strip()
    assert show(cli, pid) == {
        "pid": int(pid),
        "comm": "web",
        "uid": 1000,
        "caps": "CAP_NET_ADMIN,CAP_BPF",
        "cgroup": "/a",
        "memlock_soft": 64 << 10,
        "memlock_hard": 1 << 20,
        "locked_vm": 0,
        "mlocked": 0,
        "pinned": 0,
        "fds": [],
    }


@pytest.mark.parametrize(
    ("words", "caps", "memlock"),
    [
        ("", "all", (8 << 20, 8 << 20)),
        ("--uid 5", "none", (8 << 20, 8 << 20)),
        ("--uid 5 --caps all", "all", (8 << 20, 8 << 20)),
        ("--memlock unlimited", "all", (None, None)),
        ("--memlock 4096:unlimited", "all", (4096, None)),
        ("--memlock 0", "all", (0, 0)),
    ],
)
def test_defaults_of_a_new_task(cli, words, caps, memlock):
    made = show(cli, cli.ok("task", "spawn", *words.split()).strip())
    assert made["caps"] == caps
    assert (made["memlock_soft"], made["memlock_hard"]) == memlock


def test_a_descriptor_keeps_a_map_alive(cli):
    cli.ok(*MAP.split())
    pid = cli.ok("task", "spawn", "--open", "/sys/fs/bpf/m").strip()
    assert cli.ok("task", "open", pid, "id", "1") == "4\n"
    assert show(cli, pid)["fds"] == [
        {"fd": 3, "kind": "map", "id": 1},
        {"fd": 4, "kind": "map", "id": 1},
    ]
    cli.ok("sim", "rm", "/sys/fs/bpf/m")
    assert "name foo" in cli.ok("map", "show")
    cli.ok("task", "close", pid, "3")
    assert "name foo" in cli.ok("map", "show")
    cli.ok("task", "exit", pid)
    assert cli.ok("map", "show") == ""
    cli.ok("sim", "check")


def test_a_spawn_that_cannot_open_leaves_no_task(cli):
    result = cli("task", "spawn", "--open", "id 1")
    assert result.status == 255
    assert result.stderr.startswith("Error: the task can't open 'id 1': No such file")
    assert len(json.loads(cli.ok("task", "show", "--json"))) == 1


@pytest.mark.parametrize("words", ["--open m", "--cgroup /nowhere"])
def test_a_wrong_spawn_takes_no_pid(cli, words):
    assert cli("task", "spawn", *words.split()).status == 255
    assert cli.ok("task", "spawn") == "2\n"


def test_raising_the_hard_limit_takes_a_capability(cli):
    plain = cli.ok("task", "spawn", "--uid", "5", "--memlock", "64K:1M").strip()
    cli.ok("task", "set", plain, "--memlock", "1M")
    assert (show(cli, plain)["memlock_soft"], show(cli, plain)["memlock_hard"]) == (
        1 << 20,
        1 << 20,
    )
    refused = cli("task", "set", plain, "--memlock", "2M:2M")
    assert refused.status == 255
    assert refused.stderr.splitlines() == [
        f"Error: can't set RLIMIT_MEMLOCK of task {plain}: Operation not permitted",
        "hint: it takes CAP_SYS_RESOURCE",
    ]
    able = cli.ok("task", "spawn", "--uid", "5", "--caps", "CAP_SYS_RESOURCE").strip()
    cli.ok("task", "set", able, "--memlock", "unlimited:unlimited")
    assert show(cli, able)["memlock_hard"] is None


def test_locked_memory_is_shared_with_bpf_unless_by_mlock(cli):
    cli.ok("sim", "new", "--kernel", "5.10")
    pid = cli.ok("task", "spawn", "--uid", "7", "--memlock", "64K").strip()
    cli.ok("task", "lock", pid, "10000")
    cli.ok("task", "lock", pid, "8K", "--mlock")
    held = show(cli, pid)
    assert (held["pinned"], held["mlocked"], held["locked_vm"]) == (12288, 8192, 12288)
    cli.ok("sim", "check")
    for words in (("64K",), ("64K", "--mlock")):
        refused = cli("task", "lock", pid, *words)
        assert refused.status == 255
        assert refused.stderr.startswith(f"Error: task {pid} can't lock 64K: ")
        assert "hint: RLIMIT_MEMLOCK" in refused.stderr
    cli.ok("task", "unlock", pid)
    held = show(cli, pid)
    assert (held["pinned"], held["mlocked"], held["locked_vm"]) == (0, 0, 0)
    cli.ok("task", "lock", pid, "4K")
    cli.ok("task", "exit", pid)
    cli.ok("sim", "check")


def test_set_moves_and_renames(cli):
    cli.ok("memcg", "create", "/a")
    pid = cli.ok("task", "spawn").strip()
    cli.ok("task", "set", pid, "--cgroup", "/a", "--comm", "db")
    assert (show(cli, pid)["cgroup"], show(cli, pid)["comm"]) == ("/a", "db")


def test_the_listing(cli):
    cli.ok("task", "spawn", "--comm", "web", "--uid", "7", "--memlock", "4K:1M")
    assert cli.ok("task") == (
        "  pid  comm      uid  caps    cgroup    memlock      fds\n"
        "    1  init        0  all     /         8.0M           0\n"
        "    2  web         7  none    /         4.0K:1.0M      0\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("spawn --caps CAP_FLY", "unknown capability 'CAP_FLY'"),
        ("spawn --cgroup /x", "can't start a task in cgroup '/x': No such file or directory"),
        ("spawn --memlock 2M:1M", "can't set RLIMIT_MEMLOCK: Invalid argument"),
        ("spawn --memlock much", "can't parse 'much' as memlock"),
        ("show 99", "can't look up task 99: No such file or directory"),
        ("exit 99", "can't look up task 99: No such file or directory"),
        ("exit 1", "can't end task 1: it is init"),
        ("set 1", "nothing to set"),
        ("set 1 --cgroup /x", "can't move task 1 to '/x': No such file or directory"),
        ("open 1 id 7", "task 1 can't open 'id 7': No such file or directory"),
        ("open 1 /sys/fs/bpf/x", "task 1 can't open '/sys/fs/bpf/x': No such file or directory"),
        ("open 1 /sys/fs/bpf", "task 1 can't open '/sys/fs/bpf': Permission denied"),
        ("open 1 teapot", "can't parse 'teapot' as an object"),
        ("close 1 3", "task 1 can't close fd 3: Bad file descriptor"),
    ],
)
def test_refusals_have_a_hint(cli, words, message):
    result = cli("task", *words.split())
    assert result.status == 255
    error, hint = result.stderr.splitlines()
    assert error.startswith(f"Error: {message}")
    assert hint.startswith("hint: ")
