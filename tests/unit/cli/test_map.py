"""``bpfctl map`` on the simulated kernel, beyond what the recorded scenarios show."""

import json
import struct

import pytest

FS = "/sys/fs/bpf"


@pytest.fixture
def make(cli):
    """Create a pinned map and return its path."""

    def create(kind="array", name="m", key=4, value=4, entries=4, *more):
        path = f"{FS}/{name}"
        cli.ok(
            "map",
            "create",
            path,
            "type",
            kind,
            "key",
            key,
            "value",
            value,
            "entries",
            entries,
            "name",
            name,
            *more,
        )
        return path

    return create


def test_a_failed_pin_takes_the_map_along(cli):
    result = cli(
        "map",
        "create",
        f"{FS}/a.b",
        "type",
        "array",
        "key",
        4,
        "value",
        4,
        "entries",
        1,
        "name",
        "a",
    )
    assert (result.status, result.stderr) == (
        255,
        f"Error: can't pin the object ({FS}/a.b): Operation not permitted\n",
    )
    assert cli.ok("map", "show") == ""


def test_map_without_pin_lives_as_long_as_its_batch(cli, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text(f"map create {FS}/none/x type array key 4 value 4 entries 1 name x\n")
    assert cli("batch", "file", lines).status == 255
    assert cli.ok("-j", "map") == "[]\n"


@pytest.mark.parametrize("where", ["pins/x", "./pins//x"])
def test_relative_paths_and_a_bpffs_of_ones_own(cli, tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    create = (
        "map",
        "create",
        where,
        "type",
        "array",
        "key",
        4,
        "value",
        4,
        "entries",
        1,
        "name",
        "x",
    )
    assert cli(*create).stderr == (
        f"Error: can't pin BPF object: dir '{where.rpartition('/')[0].rstrip('/')}' doesn't exist\n"
    )
    (tmp_path / "pins").mkdir()
    assert cli("-n", *create).stderr == (
        "Error: no BPF file system found, not mounting it due to --nomount option\n"
    )
    cli.ok(*create)
    assert f"pinned {tmp_path}/pins/x\n" in cli.ok("-f", "map", "show", "pinned", "pins/x")
    assert cli(*create).stderr == (f"Error: can't pin BPF object: path '{where}' already exists\n")


def test_files_that_are_no_pins(cli, tmp_path):
    (tmp_path / "plain").write_text("x")
    assert cli("map", "show", "pinned", tmp_path / "plain").stderr == (
        f"Error: bpf obj get ({tmp_path}): directory not in bpf file system (bpffs)\n"
    )
    assert cli("map", "show", "pinned", tmp_path / "none").stderr == (
        f"Error: bpf obj get ({tmp_path}/none): No such file or directory\n"
    )
    assert cli("map", "show", "pinned", FS).stderr == (
        "Error: bpf obj get (/sys/fs): directory not in bpf file system (bpffs)\n"
    )


def test_pin_again_and_show_all_paths(cli, make):
    path = make(name="a")
    cli.ok("map", "pin", "pinned", path, f"{FS}/b")
    shown = json.loads(cli.ok("-jf", "map", "show", "name", "a"))
    assert shown["pinned"] == [f"{FS}/a", f"{FS}/b"]


def test_who_holds_a_map(cli, make):
    path = make(name="held")
    pid = int(cli.ok("task", "spawn", "--comm", "agent", "--open", path).split()[0])
    assert cli.ok("map", "show", "name", "held").endswith(f"\n\tpids agent({pid})\n")
    assert json.loads(cli.ok("-j", "map"))[0]["pids"] == [{"pid": pid, "comm": "agent"}]


def elements(count, key_size, value_size):
    for number in range(count):
        key = struct.pack("<Q", number)[:key_size].ljust(key_size, b"\0")
        yield key, bytes((number + at) & 0xFF for at in range(value_size))


def hex_words(data):
    return " ".join(f"{byte:02x}" for byte in data)


@pytest.mark.parametrize(
    ("kind", "key_size", "value_size"),
    [
        ("hash", 4, 8),
        ("hash", 8, 9),
        ("hash", 9, 8),
        ("hash", 16, 16),
        ("hash", 17, 1),
        ("hash", 1, 17),
        ("array", 4, 3),
        ("lru_hash", 4, 4),
        ("percpu_hash", 4, 5),
    ],
)
def test_dump_prints_what_lookup_prints(cli, make, tmp_path, kind, key_size, value_size):
    """The quick layouts of a dump equal those of single elements, plain and JSON."""
    path = make(kind, "m", key_size, value_size, 40)
    cells = dict(elements(40, key_size, value_size))
    lines = tmp_path / "lines"
    lines.write_text(
        "".join(
            f"map update pinned {path} key hex {hex_words(key)} value hex {hex_words(value)}\n"
            for key, value in cells.items()
        )
    )
    assert cli.ok("batch", "file", lines) == "processed 40 commands\n"
    order = [
        bytes(int(byte, 16) for byte in cell["key"])
        for cell in json.loads(cli.ok("-j", "map", "dump", "pinned", path))
    ]
    assert sorted(order) == sorted(cells)
    for option, joint, frame in (
        ("-n", "", "{}Found 40 elements\n"),
        ("-j", ",", "[{}]\n"),
    ):
        alone = [
            cli.ok(option, "map", "lookup", "pinned", path, "key", "hex", *hex_words(key).split())
            for key in order
        ]
        if option == "-j":
            alone = [text.rstrip("\n") for text in alone]
        assert cli.ok(option, "map", "dump", "pinned", path) == frame.format(joint.join(alone))
    pretty = cli.ok("-p", "map", "dump", "pinned", path)
    assert json.loads(pretty) == json.loads(cli.ok("-j", "map", "dump", "pinned", path))
    assert pretty.startswith('[{\n        "key": ["0x')


def test_dump_agrees_with_a_walk(cli, make, tmp_path, monkeypatch):
    path = make("hash", "m", 4, 4, 64)
    lines = tmp_path / "lines"
    lines.write_text(
        "".join(f"map update pinned {path} key {n} 0 0 0 value {n} 1 1 1\n" for n in range(50))
    )
    cli.ok("batch", "file", lines)
    by_batch = cli.ok("map", "dump", "pinned", path)
    monkeypatch.setattr("bpfctl_maps.hashtab.Htab.batch_is_walk", False)
    assert cli.ok("map", "dump", "pinned", path) == by_batch
    monkeypatch.undo()


def test_small_batches_end_where_large_ones_do(cli, make, tmp_path, monkeypatch):
    path = make("hash", "m", 4, 4, 300)
    lines = tmp_path / "lines"
    lines.write_text(
        "".join(f"map update pinned {path} key {n} 0 0 0 value {n} 1 1 1\n" for n in range(250))
    )
    cli.ok("batch", "file", lines)
    whole = cli.ok("-j", "map", "dump", "pinned", path)
    monkeypatch.setattr("bpfctl.cli.map.dump.BATCH_ELEMENTS", 7)
    assert cli.ok("-j", "map", "dump", "pinned", path) == whole


def test_empty_maps(cli, make):
    path = make("hash", "m")
    assert cli.ok("map", "dump", "pinned", path) == "Found 0 elements\n"
    assert cli.ok("-j", "map", "dump", "pinned", path) == "[]\n"
    assert cli.ok("-p", "map", "dump", "pinned", path) == "[]\n"
    assert cli("map", "getnext", "pinned", path).status == 254


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("update id 1 key 1 0 0 0 key 1 0 0 0", "duplicate key"),
        ("update id 1 value 1 0 0 0 v 1 0 0 0", "duplicate value"),
        ("update id 1 key 1 0 0 0", "did not find value"),
        ("update id 1", "did not find key"),
        ("update id 1 key 1 0 0 0 value 1 0 0 0 e a", "flags specified multiple times: a"),
        ("update id 1 key 1 0 0 0 value 1 0 0 0 9", "expected key or value, got: 9"),
        ("lookup id 1 key 1 0 0 0 value 1 0 0 0", "unnecessary value"),
        ("lookup id 1 key 1 0 0 0 any", "flags specified multiple times: any"),
        ("delete id 1", "did not find key"),
        ("getnext id 1 value 1", "unnecessary value"),
        ("freeze id 1 2", "what is '2'?"),
        ("lookup id 9 key 1", "get map by id (9): No such file or directory"),
        ("lookup id 4294967297 key 1", "key expected 4 bytes got 1"),
        ("event_pipe id 1", "map is not a perf event array"),
        ("show id 1 2", "what is 'id'?"),
    ],
)
def test_argument_errors(cli, make, words, error):
    make("hash")
    assert cli("map", *words.split()).stderr == f"Error: {error}\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("update id 1 key 1 0 0 0 value 1 0 0 0 exist", 254),
        ("update id 1 key 0 0 0 0 value 1 0 0 0 noexist", 239),
        ("delete id 1 key 9 0 0 0", 254),
        ("lookup id 1 key 9 0 0 0", 254),
        ("getnext id 2 key 0 0 0 0", 254),
        ("delete id 2 key 0 0 0 0", 234),
        ("update id 2 key 9 0 0 0 value 1 0 0 0", 249),
        ("pop id 2", 244),
        ("pin id 1", 234),
        ("dump id 1 x", 255),
    ],
)
def test_exit_status_is_the_errno(cli, make, words, status):
    make("hash", "h")
    make("array", "a", 4, 4, 1)
    cli.ok("map", "update", "id", 1, "key", 0, 0, 0, 0, "value", 0, 0, 0, 0)
    assert cli("map", *words.split()).status == status


def test_a_limit_that_was_asked_for_is_felt(cli):
    """bpftool lifts RLIMIT_MEMLOCK where the kernel has one; --memlock keeps it."""
    cli.ok("sim", "new", "--kernel", "5.10")
    words = (
        "map",
        "create",
        f"{FS}/a",
        "type",
        "array",
        "key",
        4,
        "value",
        8,
        "entries",
        20000,
        "name",
        "a",
    )
    refused = cli("--memlock", "64K", *words)
    assert (refused.status, refused.stderr) == (
        255,
        "Error: map create failed: Operation not permitted\n",
    )
    assert cli("--uid", 1000, *words).status == 255
    cli.ok(*words)


def test_hint_on_request(cli, monkeypatch):
    cli.ok("sim", "new", "--kernel", "5.10")
    monkeypatch.setenv("BPFCTL_HINTS", "always")
    refused = cli(
        "--memlock",
        "4K",
        "map",
        "create",
        f"{FS}/a",
        "type",
        "array",
        "key",
        4,
        "value",
        8,
        "entries",
        20000,
        "name",
        "a",
    )
    error, hint = refused.stderr.splitlines()
    assert error == "Error: map create failed: Operation not permitted"
    assert hint.startswith("hint: RLIMIT_MEMLOCK of 4096 bytes")


def test_unprivileged_listing_fails_inside_the_array(cli):
    result = cli("-j", "--uid", 1000, "map", "show")
    assert (result.status, result.stdout) == (
        255,
        '[{"error":"can\'t get next map: Operation not permitted"}]\n',
    )


@pytest.mark.parametrize(
    ("option", "error"),
    [
        (("--as", 77), "no task 77"),
        (("--cgroup", "/none"), "can't run in cgroup /none: No such file or directory"),
    ],
)
def test_running_as_nobody(cli, option, error):
    assert cli(*option, "map").stderr == f"Error: {error}\n"


def test_reading_commands_do_not_write(cli, make, state):
    path = make("hash")
    before = state.read_bytes()
    for words in (
        ["show"],
        ["dump", "pinned", path],
        ["getnext", "pinned", path],
        ["lookup", "pinned", path, "key", 1, 1, 1, 1],
    ):
        cli("map", *words)
    assert state.read_bytes() == before


@pytest.mark.parametrize(("size", "status"), [(1, 254), (24, 254), (25, 0)])
def test_peek_of_a_bloom_filter_asks_for_whatever_the_heap_left(cli, make, size, status):
    make("bloom_filter", "b", 0, size)
    miss = cli("map", "peek", "name", "b")
    assert (miss.status, miss.stdout) == (254, "key:\n\n\nNot found\n")
    cli.ok("map", "push", "name", "b", "value", *"0" * size)
    assert cli("map", "peek", "name", "b").status == status


@pytest.mark.parametrize(("size", "status"), [(4, 254), (24, 254), (25, 0)])
def test_pop_of_a_hash_map_has_whatever_key_the_heap_left(cli, make, size, status):
    make("hash", "h", size, 4)
    cli.ok("map", "update", "name", "h", "key", *"0" * size, "value", *"1000")
    assert cli("map", "pop", "name", "h").status == status
    assert ("Found 1 element" in cli.ok("map", "dump", "name", "h")) is (status != 0)


@pytest.mark.parametrize(
    ("tag", "error"),
    [("0123456789abcdef", ""), ("0123456789abcdeg", ""), ("0123456789abcdef0", ""),
     ("0123456789abcd", "Error: can't parse tag\n"), ("x", "Error: can't parse tag\n")],
)
def test_tags_are_read_as_scanf_does(cli, tag, error):
    result = cli("prog", "show", "tag", tag)
    assert (result.status, result.stderr) == (255, error)
