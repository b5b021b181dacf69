"""Hints for what the kernel's checks refuse, and ``bpfctl why``."""

from __future__ import annotations

import json
import re

import pytest

CREATE = "map create /sys/fs/bpf/x type {} name x"
FLAG = "flags 0x1 (BPF_F_NO_PREALLOC)"
# What is asked for, what the hint wants.
REFUSED = [
    ("array key 8 value 4 entries 1", "key 4", "array maps cannot have key 8"),
    ("array key 4 value 4 entries 0", "entries 1", "array maps cannot have entries 0"),
    ("hash key 4 value 0 entries 4", "value 4", "hash maps cannot have value 0"),
    (
        "ringbuf key 0 value 0 entries 5000",
        "entries 8192 (a power of two, in whole pages)",
        "ringbuf maps cannot have entries 5000",
    ),
    (
        "ringbuf key 4 value 8 entries 4096",
        "key 0 value 0",
        "ringbuf maps cannot have key 4 value 8",
    ),
    ("lpm_trie key 8 value 4 entries 4", FLAG, "lpm_trie maps cannot have flags 0x0"),
    ("stack key 4 value 4 entries 4", "key 0", "stack maps cannot have key 4"),
    (
        "lru_hash key 4 value 4 entries 4 flags 1",
        "flags 0x0",
        "lru_hash maps cannot have flags 0x1",
    ),
    (
        "arena key 0 value 0 entries 4",
        "flags 0x400 (BPF_F_MMAPABLE)",
        "arena maps cannot have flags 0x0",
    ),
]


@pytest.fixture(autouse=True)
def hints(state, monkeypatch):
    monkeypatch.setenv("BPFCTL_HINTS", "always")


def hint_of(result) -> str:
    assert result.status == 255
    return result.stderr.partition("hint: ")[2].rstrip("\n")


@pytest.mark.parametrize(("words", "wanted", "had"), REFUSED, ids=lambda text: text.split()[0])
def test_a_map_of_the_wrong_shape(cli, words, wanted, had):
    assert hint_of(cli(*CREATE.format(words).split())) == f"say {wanted}: {had}"
    # What the hint says works.
    keyword_values = re.findall(r"(key|value|entries|flags) (\w+)", wanted)
    said = dict(zip(*[iter(words.split()[1:])] * 2, strict=True)) | dict(keyword_values)
    mended = " ".join([words.split()[0], *(part for pair in said.items() for part in pair)])
    cli.ok(*CREATE.format(mended).split())


@pytest.mark.parametrize(
    ("options", "words", "hint"),
    [
        ("--uid 5", "hash key 4 value 4 entries 1", "it takes CAP_BPF: --caps bpf; "),
        (
            "--uid 5 --caps bpf",
            "devmap key 4 value 4 entries 1",
            "it takes CAP_NET_ADMIN: --caps bpf,net_admin",
        ),
    ],
)
def test_a_missing_capability(cli, options, words, hint):
    found = hint_of(cli(*options.split(), *CREATE.format(words).split()))
    assert found.startswith(hint)
    [(said, _)] = re.findall(r"--caps (\S+?);?( |$)", found)
    cli.ok("--uid", "5", "--caps", said, *CREATE.format(words).split())


def test_too_large(cli):
    asked = CREATE.format("percpu_array key 4 value 40000 entries 1")
    assert hint_of(cli(*asked.split())) == "value can be 32768 at most"


def test_a_type_that_came_later(cli):
    cli.ok("sim", "new", "--kernel", "6.1")
    found = hint_of(cli(*CREATE.format("arena key 0 value 0 entries 4 flags 1024").split()))
    assert found == "Linux 6.1 has no arena maps; the first release here that has it is 6.12"


def test_what_is_done_to_a_map(cli):
    cli.ok(*CREATE.format("hash key 4 value 4 entries 1").split())
    cli.ok("map", "freeze", "name", "x")
    update = "map update name x key 0 0 0 0 value 0 0 0 0"
    result = cli(*update.split())
    assert "hint: the map is frozen, or open for reading only\n" in result.stderr


def test_no_hint_where_nobody_reads_it(cli, monkeypatch):
    monkeypatch.delenv("BPFCTL_HINTS")
    result = cli(*CREATE.format("array key 8 value 4 entries 1").split())
    assert result.stderr == "Error: map create failed: Invalid argument\n"


def test_why_says_who_refuses_and_who_does_not(cli):
    cli.ok("memcg", "create", "/app", "--max", "1M")
    big = CREATE.format("array key 4 value 4096 entries 512")
    assert cli("--cgroup", "/app", *big.split()).status == 255
    facts = json.loads(cli.ok("why", "--json"))
    assert facts["command"] == big
    assert (facts["errno"], facts["call"]) == ("ENOMEM", "MAP_CREATE")
    assert facts["limit"].startswith("memory.max of /app is 1048576 bytes")
    assert facts["kernels"]["5.10"] == "made"
    assert facts["kernels"]["5.11"] == facts["kernels"]["6.18"] == "ENOMEM (memory.max)"
    assert facts["since"] == "5.11 (5.10: made)"
    assert re.fullmatch(r"\d+/34 bpf: .*", facts["patch"])
    text = cli.ok("why")
    assert "since" in text
    assert "memory.max of /app" in text


def test_why_of_the_old_limit(cli):
    cli.ok("sim", "new", "--kernel", "5.10")
    big = CREATE.format("array key 4 value 4096 entries 512")
    assert cli("--memlock", "64K", *big.split()).status == 255
    facts = json.loads(cli.ok("why", "--json"))
    assert (facts["errno"], facts["kernels"]["5.10"]) == ("EPERM", "EPERM (RLIMIT_MEMLOCK)")
    assert facts["kernels"]["5.11"] == "made"
    assert facts["patch"] == "18/34 bpf: eliminate rlimit-based memory accounting for arraymap maps"


def test_why_of_a_check(cli):
    cli(*CREATE.format("array key 8 value 4 entries 1").split())
    facts = json.loads(cli.ok("why", "--json"))
    assert facts["mend"] == "say key 4: array maps cannot have key 8"
    assert set(facts["kernels"].values()) == {"EINVAL (sizes)"}
    assert (facts["since"], facts["patch"]) == ("always", None)


def test_why_of_anything_else(cli):
    cli.ok(*CREATE.format("hash key 4 value 4 entries 1").split())
    cli("map", "delete", "name", "x", *["key", "1", "2", "3", "4"])
    facts = json.loads(cli.ok("why", "--json"))
    assert (facts["errno"], facts["call"]) == ("ENOENT", "MAP_DELETE_ELEM")
    assert "kernels" not in facts


def test_nothing_has_failed(cli, state):
    cli.ok("map", "show")
    result = cli("why")
    assert result.stderr.startswith("Error: no command has failed on this state\n")
    assert sorted(path.name for path in state.parent.glob("state*")) == ["state.db"]
    state.with_name("state.db-why").write_text("[]")
    assert "not a failure" in cli("why").stderr
