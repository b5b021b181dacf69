"""``bpfctl sim``: settings, saving, comparing, the virtual bpffs."""

from __future__ import annotations

import json

import pytest

MAP = "map create /sys/fs/bpf/m type hash key 4 value 8 entries 100 name foo flags 1"
UPDATE = "map update pinned /sys/fs/bpf/m key 1 0 0 0 value 1 2 3 4 5 6 7 8"


def facts(cli) -> dict:
    return json.loads(cli.ok("sim", "show", "--json"))


def test_a_state_is_made_on_first_use(cli, state):
    shown = facts(cli)
    assert state.exists()
    assert shown["settings"]["possible_cpus"] == 4
    assert shown["settings"]["memlock_default"] == 8 << 20
    assert shown["objects"]["tasks"] == 1


def test_new_takes_every_setting(cli):
    command = (
        "sim new --kernel 5.10 --patch 7 --cpus 8 --page-size 16K --memory 16G "
        "--memlock-default 1M --cgroup-memory nokmem --unprivileged-bpf-disabled 0 "
        "--numa-nodes 2 --seed 5"
    )
    cli.ok(*command.split())
    shown = facts(cli)
    assert (shown["kernel"], shown["patch"]) == ("5.10", 7)
    assert shown["settings"] == {
        "possible_cpus": 8,
        "page_size": 16384,
        "memory": 16 << 30,
        "memlock_default": 1 << 20,
        "cgroup_memory": "nokmem",
        "unprivileged_bpf_disabled": 0,
        "jit_enable": 1,
        "hash_seed": 5,
        "random_seed": 0,
        "perf_event_max_stack": 127,
        "numa_nodes": 2,
        "engine": "auto",
    }


def test_new_replaces_a_state_only_when_forced(cli, state):
    cli.ok(*MAP.split())
    refused = cli("sim", "new", "--kernel", "5.10")
    assert (refused.status, refused.stdout) == (255, "")
    assert refused.stderr == (
        f"Error: state file '{state}' exists already\n"
        "hint: replace it with --force, or choose another one with --state\n"
    )
    assert facts(cli)["objects"]["maps"] == 1
    cli.ok("sim", "new", "--kernel", "5.10", "--force")
    assert facts(cli)["objects"]["maps"] == 0
    assert facts(cli)["kernel"] == "5.10"


@pytest.mark.parametrize(
    "content", [b"", b"SQLite format 3\0" + bytes(52) + b"bpfc" + bytes(100)], ids=["empty", "ours"]
)
def test_force_replaces_what_is_of_no_use(cli, state, content):
    state.write_bytes(content)
    assert cli("map", "show").status == 255
    cli.ok("sim", "new", "--force")
    cli.ok("sim", "check")


def test_force_does_not_replace_what_is_not_ours(cli, state):
    state.write_text("a letter" * 100)
    assert cli("sim", "new", "--force").status == 255
    assert state.read_text() == "a letter" * 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--kernel 7.0", "unknown kernel '7.0'"),
        ("--kernel 6.1 --patch 3", "kernel 6.1 has no patch 3 of the series"),
        ("--kernel 5.10 --patch 35", "kernel 5.10 has no patch 35 of the series"),
        ("--cpus 0", "possible_cpus must be 1 to 8192"),
        ("--cpus many", "setting possible_cpus: 'many' is not a number"),
        ("--page-size 4097", "page_size must be one of (4096, 8192, 16384, 32768, 65536)"),
        ("--memory lots", "can't parse 'lots' as memory: expected bytes, 64K, 8M or unlimited"),
        ("--from-toml /nonexistent", "can't read /nonexistent: No such file or directory"),
    ],
)
def test_bad_settings_make_no_state(cli, state, words, message):
    result = cli("sim", "new", *words.split())
    assert result.status == 255
    assert result.stderr.splitlines()[0] == f"Error: {message}"
    assert list(state.parent.iterdir()) == []


def test_settings_from_toml_give_way_to_options(cli, tmp_path):
    file = tmp_path / "machine.toml"
    file.write_text('[sim]\nkernel = "6.1"\ncpus = 16\nmemory = "32G"\n')
    cli.ok("sim", "new", "--from-toml", file, "--cpus", "2")
    shown = facts(cli)
    assert shown["kernel"] == "6.1"
    assert shown["settings"]["possible_cpus"] == 2
    assert shown["settings"]["memory"] == 32 << 30


@pytest.mark.parametrize(
    "text", ["x", "a = 1", "sim = 3", "cpus = [1]", "kernel = true", "\udcff"], ids=repr
)
def test_bad_toml_is_refused(cli, tmp_path, text):
    file = tmp_path / "machine.toml"
    file.write_text(text, errors="surrogateescape")
    result = cli("sim", "new", "--from-toml", file)
    assert result.status == 255
    assert result.stderr.startswith("Error: ")


def test_show_says_who_pays_and_who_does_not(cli):
    cli.ok("sim", "new", "--kernel", "6.12", "--cpus", "2")
    cli.ok("memcg", "create", "/a")
    sizes = "key 4 value 1000 entries 10 name p"
    charged = f"--cgroup /a map create /sys/fs/bpf/p type percpu_array {sizes}"
    cli.ok(*charged.split())
    of_root = f"map create /sys/fs/bpf/root type array {sizes}"
    cli.ok(*of_root.split())
    memory = facts(cli)["memory"]
    by_root = "a task of the root cgroup made it"
    by_helpers = "allocated by map helpers during creation, before the map knows who pays"
    assert memory["reasons"].keys() == {by_root, by_helpers}
    assert memory["reasons"][by_helpers] == 10 * 1000 * 2
    assert memory["charged_to_nobody"] == sum(memory["reasons"].values())
    assert 0 < memory["charged"] < memory["in_use"]


def test_show_says_what_users_have_locked(cli):
    cli.ok("sim", "new", "--kernel", "5.10")
    cli.ok(*MAP.split())
    memory = facts(cli)["memory"]
    assert memory["charged"] == 0
    assert list(memory["locked"]) == ["0"]
    assert memory["reasons"].keys() == {"Linux 5.10 does not account maps of this type"}
    assert "locked by user 0: " in cli.ok("sim", "show")


def test_set_changes_what_objects_do_not_depend_on(cli):
    cli.ok(*MAP.split())
    cli.ok("sim", "set", "unprivileged-bpf-disabled", "0")
    cli.ok("sim", "set", "memory", "1G")
    assert facts(cli)["settings"]["unprivileged_bpf_disabled"] == 0
    assert facts(cli)["settings"]["memory"] == 1 << 30


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cpus", "8", "possible_cpus cannot change while there are objects (1 maps)"),
        ("kernel", "5.10", "kernel cannot change while there are objects (1 maps)"),
        ("page-size", "8K", "page_size cannot change later"),
        ("memory", "4K", "memory cannot be less than what is in use"),
        ("colour", "red", "unknown setting 'colour'"),
        ("unprivileged-bpf-disabled", "7", "unprivileged_bpf_disabled must be 0 to 2"),
    ],
)
def test_set_refuses(cli, key, value, message):
    cli.ok(*MAP.split())
    before = facts(cli)
    result = cli("sim", "set", key, value)
    assert result.status == 255
    assert result.stderr.startswith(f"Error: {message}")
    assert facts(cli) == before


def test_another_kernel_brings_its_default_rlimit(cli):
    cli.ok("sim", "set", "kernel", "5.10")
    assert facts(cli)["settings"]["memlock_default"] == 64 << 10
    [init] = json.loads(cli.ok("task", "show", "--json"))
    assert init["memlock_soft"] == init["memlock_hard"] == 64 << 10


def test_reset_keeps_the_settings_only(cli):
    cli.ok("sim", "new", "--kernel", "6.1", "--cpus", "3")
    cli.ok(*MAP.split())
    cli.ok("memcg", "create", "/a")
    cli.ok("task", "spawn", "--cgroup", "/a")
    cli.ok("sim", "reset", "--force")
    shown = facts(cli)
    assert (shown["kernel"], shown["settings"]["possible_cpus"]) == ("6.1", 3)
    assert shown["objects"] == {
        "maps": 0,
        "programs": 0,
        "btfs": 0,
        "tasks": 1,
        "cgroups": 1,
        "objects": 1,
        "pins": 0,
    }
    cli.ok(*MAP.split())
    assert '"id":1,' in cli.ok("-j", "map", "show")


def test_export_and_import_restore_a_state(cli, state, tmp_path):
    cli.ok(*MAP.split())
    cli.ok(*UPDATE.split())
    copy = tmp_path / "copy.db"
    text = cli.ok("sim", "export")
    file = tmp_path / "state.jsonl"
    cli.ok("sim", "export", file)
    assert file.read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.db", "state.jsonl"]
    cli.ok("--state", copy, "sim", "import", "-", stdin=text)
    assert cli("sim", "diff", state, copy) == cli("sim", "diff", copy, state)
    assert cli.ok("sim", "diff", state, copy) == ""
    assert cli.ok("--state", copy, "sim", "export") == text
    dump = cli.ok("map", "dump", "pinned", "/sys/fs/bpf/m")
    assert cli.ok("--state", copy, "map", "dump", "pinned", "/sys/fs/bpf/m") == dump


def test_an_import_that_does_not_check_changes_nothing(cli, tmp_path):
    cli.ok(*MAP.split())
    text = cli.ok("sim", "export")
    file = tmp_path / "bad.jsonl"
    file.write_text(text.replace('"refcnt":1', '"refcnt":9'))
    result = cli("sim", "import", "--force", file)
    assert result.status == 255
    assert result.stderr == (
        f"Error: cannot import {file}: map 1: refcnt is 9, 1 refer to it\n"
        "hint: 1 finding in all; nothing was changed\n"
    )
    assert cli.ok("sim", "export") == text
    cli.ok("sim", "import", "--force", "--unchecked", file)
    checked = cli("sim", "check")
    assert (checked.status, checked.stdout) == (1, "map 1: refcnt is 9, 1 refer to it\n")
    assert json.loads(cli("sim", "check", "--json").stdout) == {
        "ok": False,
        "findings": ["map 1: refcnt is 9, 1 refer to it"],
    }


def test_check_of_a_sound_state(cli):
    cli.ok(*MAP.split())
    assert cli.ok("sim", "check") == "ok\n"
    assert json.loads(cli.ok("-j", "sim", "check")) == {"ok": True, "findings": []}


def test_diff_shows_rows_and_has_status_1(cli, state, tmp_path):
    cli.ok(*MAP.split())
    other = tmp_path / "other.db"
    cli.ok("--state", other, "sim", "import", "-", stdin=cli.ok("sim", "export"))
    cli.ok(*UPDATE.split())
    result = cli("sim", "diff", other, state)
    assert result.status == 1
    assert "+ elem 1 01000000: value 0102030405060708\n" in result.stdout
    rows = json.loads(cli("sim", "diff", "--json", state, other).stdout)
    assert {
        "table": "elem",
        "key": {"map": 1, "key": "01000000"},
        "change": "removed",
        "fields": {"value": "0102030405060708"},
    } in rows
    missing = cli("sim", "diff", state, tmp_path / "none.db")
    assert (missing.status, missing.stdout) == (255, "")


def test_the_bpffs_can_be_listed_and_cleared(cli):
    cli.ok(*MAP.split())
    assert cli.ok("sim", "ls") == "m  map 1\n"
    assert cli.ok("sim", "ls", "/sys/fs/bpf/m") == "/sys/fs/bpf/m  map 1\n"
    cli.ok("sim", "mkdir", "-p", "/sys/fs/bpf/a/b")
    assert cli.ok("sim", "ls", "-R", "/sys/fs/bpf") == (
        "/sys/fs/bpf/a/\n/sys/fs/bpf/a/b/\n/sys/fs/bpf/m  map 1\n"
    )
    assert json.loads(cli.ok("sim", "ls", "--json"))[1] == {
        "path": "/sys/fs/bpf/m",
        "kind": "map",
        "id": 1,
    }
    cli.ok("sim", "rm", "/sys/fs/bpf/m")
    assert cli.ok("map", "show") == ""
    cli.ok("sim", "rm", "-r", "/sys/fs/bpf/a")
    assert cli.ok("sim", "ls") == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rm /sys/fs/bpf/x", "can't remove '/sys/fs/bpf/x': No such file or directory"),
        ("rm /sys/fs/bpf", "can't remove '/sys/fs/bpf': Device or resource busy"),
        ("rm /sys/fs/bpf/d", "can't remove '/sys/fs/bpf/d': Directory not empty"),
        ("mkdir /sys/fs/bpf/d", "can't create directory '/sys/fs/bpf/d': File exists"),
        ("mkdir /sys/fs/bpf/x/y", "can't create directory '/sys/fs/bpf/x/y': No such file"),
        ("mkdir /sys/fs/bpf/a.b", "can't create directory '/sys/fs/bpf/a.b': Operation not"),
        ("mkdir /elsewhere", "can't create directory '/elsewhere': it is in no bpffs"),
        ("ls /nowhere", "can't list '/nowhere': No such file or directory"),
    ],
)
def test_the_bpffs_refuses(cli, words, message):
    cli.ok("sim", "mkdir", "-p", "/sys/fs/bpf/d/e")
    result = cli("sim", *words.split())
    assert result.status == 255
    error, hint = result.stderr.splitlines()
    assert error.startswith(f"Error: {message}")
    assert hint.startswith("hint: ")


def test_objects_are_made_listed_and_removed(cli):
    assert cli.ok("sim", "object", "create", "netdev", "--name", "eth0", "ifindex=7") == "2\n"
    assert json.loads(cli.ok("sim", "object", "list", "--json"))[1] == {
        "id": 2,
        "kind": "netdev",
        "name": "eth0",
        "ifindex": 7,
        "xdp": True,
        "peer": "",
        "mac": "",
        "mtu": 1500,
        "queues": 1,
        "up": True,
        "descriptors": 0,
        "maps": [],
        "gone": False,
    }
    assert "eth0" in cli.ok("sim", "object")
    cli.ok("sim", "object", "rm", "2")
    assert "eth0" not in cli.ok("sim", "object")


def test_an_open_object_lives_until_it_is_closed(cli):
    made = cli.ok("sim", "object", "create", "socket", "proto=udp").strip()
    pid = cli.ok("task", "spawn", "--open", f"object {made}").strip()
    assert json.loads(cli.ok("task", "show", pid, "--json"))["fds"] == [
        {"fd": 3, "kind": "socket", "id": int(made)}
    ]
    cli.ok("sim", "check")
    cli.ok("sim", "object", "rm", made)
    assert "socket" in cli.ok("sim", "object")
    cli.ok("task", "exit", pid)
    assert "socket" not in cli.ok("sim", "object")


def test_kinds_of_objects_are_listed(cli):
    found = json.loads(cli.ok("sim", "object", "kinds", "--json"))
    assert "proto" in found["socket"]["attributes"]
    assert "  proto: " in cli.ok("sim", "object", "kinds")


@pytest.mark.parametrize(
    "words",
    [
        "create teapot",
        "create netdev",
        "create netdev --name lo",
        "create socket x",
        "create socket proto=pigeon",
        "create pidfd --name 99",
        "rm 99",
        "rm 1",
    ],
)
def test_objects_refuse_with_a_hint(cli, words):
    result = cli("sim", "object", *words.split())
    assert result.status == 255
    assert result.stderr.splitlines()[1].startswith("hint: ")


def names(cli):
    return [found["name"] for found in json.loads(cli.ok("-j", "map", "show"))]


def test_what_replaces_a_state_asks_and_can_be_undone(cli, state, tmp_path):
    cli.ok(*MAP.split())
    file = tmp_path / "export"
    cli.ok("sim", "export", file)
    for command in (["new", "--kernel", "5.10"], ["reset"], ["import", file]):
        refused = cli("sim", *command)
        assert refused.status == 255
        assert refused.stderr == (
            f"Error: state file '{state}' exists already\n"
            "hint: replace it with --force, or choose another one with --state\n"
        )
    cli.ok("sim", "new", "--force", "--kernel", "5.10")
    assert (names(cli), facts(cli)["kernel"]) == ([], "5.10")
    cli.ok("sim", "undo")
    assert (names(cli), facts(cli)["kernel"]) == (["foo"], "6.18")
    assert cli.ok("sim", "check") == "ok\n"
    cli.ok("sim", "undo")
    assert facts(cli)["kernel"] == "5.10"
    cli.ok("sim", "import", "--force", file)
    assert names(cli) == ["foo"]
    cli.ok("sim", "reset", "--force")
    assert names(cli) == []
    cli.ok("sim", "undo")
    assert names(cli) == ["foo"]
    assert sorted(path.name for path in tmp_path.glob("state*")) == ["state.db", "state.db-undo"]


def test_a_refused_import_keeps_the_earlier_state_that_is_kept(cli, tmp_path):
    cli.ok(*MAP.split())
    cli.ok("sim", "reset", "--force")
    bad = tmp_path / "bad"
    bad.write_text("{}")
    assert cli("sim", "import", "--force", bad).status == 255
    cli.ok("sim", "undo")
    assert names(cli) == ["foo"]


def test_nothing_to_undo(cli, state):
    cli.ok(*MAP.split())
    result = cli("sim", "undo")
    assert result.status == 255
    assert result.stderr.startswith(f"Error: no earlier state of '{state}' is kept\n")


def test_a_kept_state_of_a_full_map_comes_back_element_by_element(cli):
    cli.ok(*MAP.split())
    cli.ok(*UPDATE.split())
    before = cli.ok("sim", "export")
    cli.ok("sim", "reset", "--force")
    cli.ok("sim", "undo")
    assert cli.ok("sim", "export") == before


def test_path(cli, state):
    assert cli.ok("sim", "path") == f"{state}\n"
    assert json.loads(cli.ok("sim", "path", "--json")) == {"state": str(state), "exists": False}
    assert not state.exists()
