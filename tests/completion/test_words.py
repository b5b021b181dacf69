"""What is offered at each place of a line."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bpfctl.cli.complete.answer import complete
from bpfctl.cli.complete.state import State

FREE: list[str] = []
OBJECTS = [
    "help", "batch", "prog", "map", "link", "cgroup", "perf", "net", "feature", "btf", "gen",
    "struct_ops", "iter", "version",
]  # fmt: skip
OWN = ["sim", "memcg", "task", "plugin", "sample", "cost", "check", "series", "why", "completion"]
MAPS = ["1", "2", "3", "4"]
NAMES = ["flows", "jobs", "progs", "outer"]
PINS = [f"/sys/fs/bpf/{name}" for name in ("flows", "outer", "progs", "sub/jobs")]
SELECTORS = ["id", "name", "pinned"]
FLAGS = ["any", "noexist", "exist"]
RELEASES = ["5.10", "5.11", "5.15", "6.1", "6.6", "6.12", "6.18", "7.3", "this"]
CREATE = ["type", "name", "key", "value", "entries", "flags", "offload_dev", "inner_map"]
FILE = ["<file>"]
DIRECTORY = ["<dir>"]

# A line, "|" where the cursor is: what is offered.
CASES: dict[str, list[str]] = {
    # objects and verbs
    "|": OBJECTS + OWN,
    "p|": ["prog", "perf", "plugin"],
    "m s|": ["show"],
    "m de|": ["delete", "dequeue"],
    "pr |": [
        "show", "list", "help", "dump", "pin", "load", "loadall", "attach", "detach", "tracelog",
        "run", "profile", "trace", "exec",
    ],
    "perf |": ["show", "list", "help"],
    "help |": OBJECTS + OWN,
    "help perf |": ["show", "list", "help"],
    "version |": FREE,
    "nonsense |": FREE,
    "map nonsense |": FREE,
    # global options, wherever they stand
    "--st|": ["--state"],
    "map --p|": ["--pretty"],
    "-j map s|": ["show"],
    "map -p show id |": MAPS,
    "map show -- |": SELECTORS,
    "--cgroup |": ["/", "/web", "/web/two words"],
    "--cgroup=/w|": ["--cgroup=/web", "--cgroup=/web/two words"],
    "--cgr=/web/|": ["--cgr=/web/two words"],
    "map --as |": ["1", "2"],
    "--caps |": [
        "all", "none", "CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_ADMIN", "CAP_NET_RAW",
        "CAP_IPC_LOCK", "CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_PERFMON", "CAP_BPF",
    ],
    "--caps cap_bpf,perf|": ["cap_bpf,perfmon"],
    "--observe ch|": ["charges"],
    "--state |": FILE,
    "-B |": FILE,
    "--memlock u|": ["unlimited"],
    "--state /none map show id |": FREE,
    # selectors
    "map show |": SELECTORS,
    "map list n|": ["name"],
    "map dump id |": MAPS,
    "map dump i |": MAPS,
    "map pop name |": NAMES,
    "map freeze pinned |": PINS,
    "map show pinned /sys/fs/bpf/s|": ["/sys/fs/bpf/sub/jobs"],
    "map show id 1 |": FREE,
    "map pin id 1 |": ["/sys/fs/bpf/", "/sys/fs/bpf/sub/"],
    "map event_pipe id 1 |": ["cpu", "index"],
    "map event_pipe id 1 cpu 0 |": ["index"],
    "prog show |": ["id", "tag", "name", "pinned"],
    "prog show id |": FREE,
    "prog pin pinned |": FREE,
    "net show dev |": ["lo", "eth7"],
    "batch |": ["file"],
    "batch f |": FILE,
    "batch file x |": FREE,
    # elements: the map says how many bytes
    "map update name flows |": ["key", "value", *FLAGS],
    "map update name flows key |": ["hex"],
    "map update name flows key hex |": FREE,
    "map update name flows key 1 2 3 |": FREE,
    "map update name flows key 1 2 3 4 |": ["value", *FLAGS],
    "map update name flows key hex 01 02 03 04 v|": ["value"],
    "map update name flows k 1 2 3 4 v h 1 2 3 4 5 6 7 8 |": FLAGS,
    "map update name flows key 1 2 3 4 value hex 1 2 3 4 5 6 7 8 any |": FREE,
    "map update name none key 1 2 |": ["value", *FLAGS],
    "map update name none key 1 2 value 3 n|": ["noexist"],
    "map push id 2 |": ["value", *FLAGS],
    "map lookup pinned /sys/fs/bpf/flows |": ["key"],
    "map peek name jobs |": FREE,
    "map getnext name flows key 1 2 3 4 |": FREE,
    "map delete name flows |": ["key"],
    "map update name outer key 0 0 0 0 value |": SELECTORS,
    "map update name outer key 0 0 0 0 value name fl|": ["flows"],
    "map update name outer key 0 0 0 0 value name flows |": FLAGS,
    "map update name progs key 0 0 0 0 value |": ["id", "tag", "name", "pinned"],
    # map create
    "map create |": ["/sys/fs/bpf/", "/sys/fs/bpf/sub/"],
    "map create /sys/fs/bpf/x |": CREATE,
    "map create /sys/fs/bpf/x type lru|": ["lru_hash", "lru_percpu_hash"],
    "map create /sys/fs/bpf/x t hash_of|": ["hash_of_maps"],
    "map create /sys/fs/bpf/x type hash |": [w for w in CREATE[1:] if w != "inner_map"],
    "map create /sys/fs/bpf/x type array_of_maps |": CREATE[1:],
    "map create /sys/fs/bpf/x key |": FREE,
    "map create /sys/fs/bpf/x type hash key 4 v|": ["value"],
    "map create /sys/fs/bpf/packets name |": ["packets"],
    "map create /sys/fs/bpf/x flags 0x40|": ["0x40", "0x400", "0x40000"],
    "map create /sys/fs/bpf/x offload_dev |": ["lo", "eth7"],
    "map create /sys/fs/bpf/x inner_map |": SELECTORS,
    "map create /sys/fs/bpf/x inner_map name o|": ["outer"],
    # our own objects, which Click completes
    "si n|": ["new", "net"],
    "sim new --kern|": ["--kernel"],
    "sim new --kernel |": RELEASES,
    "sim new --kernel=5|": ["--kernel=5.10", "--kernel=5.11", "--kernel=5.15"],
    "sim new --patch 3|": ["3", "30", "31", "32", "33", "34"],
    "sim new --cgroup-memory no|": ["nokmem", "nobpf"],
    "sim new --from-toml |": FILE,
    "sim set ker|": ["kernel"],
    "sim set kernel 6|": ["6.1", "6.6", "6.12", "6.18"],
    "sim set cgroup-memory of|": ["off"],
    "sim import |": FILE,
    "sim diff a |": FILE,
    "sim rm /sys/fs/bpf/s|": ["/sys/fs/bpf/sub/", "/sys/fs/bpf/sub/jobs"],
    "sim mkdir |": ["/sys/fs/bpf/", "/sys/fs/bpf/sub/"],
    "sim object |": ["list", "create", "kinds", "rm", "help"],
    "sim object create net|": ["netdev", "netns"],
    "sim object create socket re|": ["reuseport="],
    "sim object create socket proto=u|": ["proto=udp", "proto=unix"],
    "sim object rm |": ["1", "2"],
    "memcg create |": ["/", "/web/", "/web/two words/"],
    "memcg show |": ["/", "/web", "/web/two words"],
    "memcg show /web memory.ev|": ["memory.events", "memory.events.local"],
    "memcg set /web memory.m|": ["memory.max=", "memory.min="],
    "memcg set /web memory.max=|": ["memory.max=max"],
    "memcg move |": ["1", "2"],
    "memcg move 2 /w|": ["/web", "/web/two words"],
    "task show |": ["1", "2"],
    "task close 2 |": ["3"],
    "task open 2 |": ["id", "pinned", "map", "prog", "btf", "object", *PINS],
    "task open 2 map |": ["id", "pinned"],
    "task open 2 map id |": MAPS,
    "task open 2 object |": ["1", "2"],
    "task spawn --cgroup /web/|": ["/web/two words"],
    "task spawn --caps no|": ["none"],
    "plugin show bloom|": ["bloom_filter"],
    "sample |": ["list", "run", "compare", "object", "help"],
    "sample run test_lru_d|": ["test_lru_dist"],
    "sample run test_lru_dist --kernel 5.10+3|": [f"5.10+{n}" for n in (3, *range(30, 35))],
    "sample compare test_lru_dist --kernel 6.1|": ["6.1", "6.12", "6.18"],
    "cost |": FILE,
    "cost --map type=lru_h|": ["type=lru_hash"],
    "cost --map type=hash,ent|": ["type=hash,entries="],
    "cost --map type=hash,flags=no_p|": ["type=hash,flags=no_prealloc"],
    "cost --map type=hash,flags=no_prealloc|zero|": ["type=hash,flags=no_prealloc|zero_seed"],
    "cost --kernel 5.10,6.18,6|": ["5.10,6.18,6.1", "5.10,6.18,6.6", "5.10,6.18,6.12"],
    "cost --fill e|": ["empty"],
    "series show 3|": ["3", "30", "31", "32", "33", "34"],
    "completion |": ["bash", "zsh", "fish"],
    "plugin new x --directory |": DIRECTORY,
}  # fmt: skip


def offered(line: str) -> list[str]:
    words = line[:-1].split(" ")
    found = complete(words[:-1], words[-1])
    return [each.value if each.type in ("plain", "part") else f"<{each.type}>" for each in found]


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("line", CASES)
def test_offers(line: str) -> None:
    assert offered(line) == CASES[line]


def test_third_party_map_types(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from bpfctl import plugins

    entry = EntryPoint("time_buckets", "bpfctl_time_buckets", plugins.MAP_TYPES_GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    for line in ("map create F type time|", "plugin show time|"):
        assert offered(line) == ["time_buckets"]


def test_help_says_what_an_id_is(machine: Path) -> None:
    about = {each.value: each.help for each in complete(["map", "show", "id"], "")}
    assert about["1"] == "hash flows"
    assert about["2"] == "queue jobs"


def test_without_a_state_there_are_the_places_of_a_fresh_one(state: Path) -> None:
    assert offered("map create |") == ["/sys/fs/bpf/"]
    assert offered("memcg show |") == ["/"]
    assert offered("map show id |") == []
    assert not state.exists()


def test_mappings_of_a_task(machine: Path) -> None:
    columns = 'id, pid, map_id, start, "offset", length, writable, objcg, priv'
    with closing(sqlite3.connect(machine)) as conn:
        for number, pid in ((1, 2), (2, 1), (3, 2)):
            row = f"{number}, {pid}, 1, 0, 0, 4096, 1, 0, '{{}}'"
            conn.execute(f"INSERT INTO mapping ({columns}) VALUES ({row})")
        conn.commit()
    found = [("1", "map 1, 4096 bytes"), ("3", "map 1, 4096 bytes")]
    assert list(State({}).mappings(2)) == found
