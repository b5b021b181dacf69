"""What needs no state: help, version, usage, unknown words."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from bpfctl.cli.app import usage
from bpfctl.cli.app.dispatch import OBJECTS, OWN_OBJECTS, find, find_own, target_of
from bpfctl.cli.app.table import Table


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("", "help"),
        ("b", "batch"),
        ("p", "prog"),
        ("pe", "perf"),
        ("m", "map"),
        ("bt", "btf"),
        ("s", "struct_ops"),
        ("c", "cgroup"),
        ("v", "version"),
    ],
)
def test_object_prefixes(word, name):
    assert find(word) == find(name)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("si", "sim"),
        ("me", "memcg"),
        ("t", "task"),
        ("co", "cost"),
        ("com", "completion"),
        ("s", None),
        ("m", None),
        ("p", None),
        ("c", None),
        ("x", None),
    ],
)
def test_our_objects_come_second(word, name):
    assert find_own(word) == name


def test_our_names_abbreviate_nothing_of_bpftools():
    for own in OWN_OBJECTS:
        assert find_own(own) == own


def table(name):
    return target_of(OBJECTS[name])


@pytest.mark.parametrize(
    ("name", "verbs"),
    [
        (
            "map",
            "show list help dump update lookup getnext delete pin event_pipe create peek push "
            "enqueue pop dequeue freeze",
        ),
        (
            "prog",
            "show list help dump pin load loadall attach detach tracelog run profile trace exec",
        ),
        ("link", "show list help pin detach"),
        ("cgroup", "show list tree attach detach help"),
        ("perf", "show list help"),
        ("net", "show list attach detach help"),
        ("feature", "probe list_builtins help"),
        ("btf", "show list help dump"),
        ("gen", "object skeleton subskeleton min_core_btf help"),
        ("struct_ops", "show list register unregister dump help"),
        ("iter", "help pin"),
    ],
)
def test_verb_order_decides_abbreviations(name, verbs):
    assert list(table(name).verbs) == verbs.split()


@pytest.mark.parametrize("name", [n for n in OBJECTS if isinstance(table(n), Table)])
def test_help_and_unknown_words(cli, state, name):
    text = usage.text(name, name)
    deaf = name in usage.DEAF_TO_JSON
    asked = cli(name, "help", "me")
    assert (asked.status, asked.stdout, asked.stderr) == (0, "", text)
    unknown = cli(name, "nosuch")
    assert (unknown.status, unknown.stdout, unknown.stderr) == (255, "", text)
    as_json = cli("-j", name, "nosuch")
    assert (as_json.status, as_json.stdout) == (255, "\n" if deaf else "null\n")
    assert as_json.stderr == (text if deaf else "")
    assert not state.exists()


def test_object_word_as_typed(cli):
    assert cli("m", "h").stderr.startswith("Usage: bpftool m { show | list }   [MAP]\n")
    assert cli("bt", "h").stderr.startswith("Usage: bpftool btf {")


def test_every_text_is_used():
    texts = {name.removesuffix(".txt") for name in os.listdir(usage.FOLDER)}
    tables = {name for name in OBJECTS if isinstance(table(name), Table)}
    assert texts == tables | {"main"}


@pytest.mark.parametrize(
    ("argv", "status", "stdout"),
    [
        (["-V"], 0, "bpftool v7.5.0\nusing libbpf v1.5\nfeatures: llvm, skeletons\n"),
        (
            ["v", "-j"],
            0,
            '{"version":"7.5.0","libbpf_version":"1.5","features":{"libbfd":false,"llvm":true,'
            '"skeletons":true,"bootstrap":false}}\n',
        ),
        (["-j", "-h"], 0, "null"),
        (["-j", "help"], 0, "null\n"),
        (["-j", "--nosuch"], 255, '{"error":"unrecognized option \'--nosuch\'"}\n'),
        (
            ["-j", "-B", "/nonexistent"],
            255,
            '{"error":"failed to parse base BTF at \'/nonexistent\': -2\n"}',
        ),
        (["-j", "map", "dump"], 255, "null\n"),
        (
            ["-j", "btf", "dump"],
            255,
            '{"error":"\'dump\' needs at least 2 arguments, 0 found"},null\n',
        ),
        (
            ["-p", "prog", "pin"],
            234,
            '{\n    "error": "\'pin\' needs at least 3 arguments, 0 found"\n}\n',
        ),
        (
            ["-j", "map", "create"],
            255,
            '{"error":"\'create\' needs at least 7 arguments, 0 found"}\n',
        ),
        (["-j", "perf"], 0, "[]\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_without_a_state(cli, state, argv, status, stdout):
    result = cli(*argv)
    assert (result.status, result.stdout, result.stderr) == (status, stdout, "")
    assert not state.exists()


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["batch"], "too few parameters for batch"),
        (["batch", "file", "a", "b"], "too many parameters for batch"),
        (["batch", "x", "a"], "expected 'file', got: x"),
        (
            ["batch", "f", "/nonexistent/b"],
            "Can't open file (/nonexistent/b): No such file or directory",
        ),
        (["batch", "file", "/"], "reading batch file failed: Is a directory"),
        (["map", "show", "what"], "what is 'what'?"),
        (["map", "freeze", "id"], "'freeze' needs at least 2 arguments, 1 found"),
        (["map", "show", "nosuch", "x"], "expected 'id', 'name' or 'pinned', got: 'nosuch'?"),
        (["map", "event_pipe"], "expected 'id', 'name' or 'pinned', got: '(null)'?"),
        (["map", "show", "id", "7x"], "can't parse 7x as ID"),
        (["map", "show", "name", "x" * 16], "can't parse name"),
        (["prog", "load", "a"], "'load' needs at least 2 arguments, 1 found"),
        (["prog", "show", "tag", "12"], "can't parse tag"),
        (["cgroup"], "'cgroup' needs at least 1 arguments, 0 found"),
        (["--uid", "x", "map"], "can't parse 'x' as uid: expected a number"),
        (
            ["--memlock", "8Q", "map"],
            "can't parse '8Q' as memlock: expected bytes, 64K, 8M or unlimited",
        ),
        (["--caps", "cap_x", "map"], "unknown capability 'cap_x'"),
        (["--state"], "option '--state' needs a value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_one_clear_error(cli, state, argv, error):
    result = cli(*argv)
    assert (result.status, result.stdout, result.stderr) == (255, "", f"Error: {error}\n")
    assert not state.exists()


def modules_after(argv, tmp_path):
    code = (
        "import sys; from bpfctl.cli.app.main import main; "
        f"main({argv!r}); print(*sorted(sys.modules), file=sys.stderr)"
    )
    env = {**os.environ, "BPFCTL_STATE": str(tmp_path / "s.db"), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


HEAVY = {"click", "pluggy", "tabulate", "elftools", "platformdirs", "importlib.metadata"}


def test_help_loads_next_to_nothing(tmp_path):
    loaded = modules_after(["map", "help"], tmp_path)
    assert not loaded & (HEAVY | {"sqlite3", "dataclasses_json", "bpfctl.store"})


def test_map_show_loads_no_more_than_it_needs(tmp_path):
    modules_after(["map", "show"], tmp_path)  # makes the state
    loaded = modules_after(["map", "show"], tmp_path)
    assert not loaded & HEAVY
    assert not {name for name in loaded if name.startswith(("bpfctl.btf", "bpfctl_maps"))}


def process(argv, tmp_path, **kwargs):
    env = {**os.environ, "BPFCTL_STATE": str(tmp_path / "s.db"), "HOME": str(tmp_path)}
    return subprocess.Popen([sys.executable, "-m", "bpfctl", *argv], env=env, **kwargs)


def test_a_reader_that_goes_away(tmp_path):
    pipe = subprocess.PIPE
    pipes = {"stdin": pipe, "stdout": pipe, "stderr": pipe}

    def heeded() -> None:
        # A job in the background of a script inherits SIGINT ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with process(["batch", "file", "-"], tmp_path, preexec_fn=heeded, **pipes) as run:
        run.stdin.write(b"version\n")
        run.stdin.flush()
        assert run.stdout.readline() == b"bpftool v7.5.0\n"
        run.stdout.close()
        run.stdin.write(b"version\n" * 3)
        run.stdin.close()
        assert run.wait() == 141
        assert run.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(tmp_path):
    with open("/dev/full", "wb") as full:
        run = process(["version"], tmp_path, stdout=full, stderr=subprocess.PIPE)
        _, stderr = run.communicate()
    assert run.returncode == 255
    assert stderr == b"Error: can't write the output: No space left on device\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_is_quiet(tmp_path):
    pipe = subprocess.PIPE
    pipes = {"stdin": pipe, "stdout": pipe, "stderr": pipe}

    def heeded() -> None:
        # A job in the background of a script inherits SIGINT ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with process(["batch", "file", "-"], tmp_path, preexec_fn=heeded, **pipes) as run:
        run.stdin.write(b"version\n")
        run.stdin.flush()
        assert run.stdout.readline() == b"bpftool v7.5.0\n"
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 130
        assert run.stderr.read() == b""


def test_a_killed_command(cli):
    """The OOM killer takes the command, as the shell would report it."""
    from bpfctl.cli.app import dispatch
    from bpfctl.errors import TaskKilled

    def killed(app, words):
        raise TaskKilled("/w")

    dispatch._found["killed"] = killed
    try:
        result = cli("-j", "killed")
    finally:
        del dispatch._found["killed"]
    assert (result.status, result.stderr) == (137, "Killed\n")


def test_a_bug_is_reported_as_such(cli, monkeypatch):
    from bpfctl.cli.app import dispatch

    def broken(app, words):
        raise ZeroDivisionError("oops")

    monkeypatch.setitem(dispatch._found, "broken", broken)
    result = cli("broken")
    assert (result.status, result.stderr) == (
        255,
        "Error: internal error: ZeroDivisionError: oops\n",
    )
    with pytest.raises(ZeroDivisionError):
        cli("-d", "broken")


def test_what_a_damaged_state_causes_is_no_bug(cli, state):
    cli.ok("sim", "new")
    with closing(sqlite3.connect(state)) as conn:
        conn.execute("DELETE FROM counter WHERE name = 'ino'")
        conn.commit()
    result = cli("sim", "mkdir", "/sys/fs/bpf/d")
    assert result.status == 255
    assert "it is damaged (counter ino: is missing)" in result.stderr


def test_what_no_file_name_can_hold_is_escaped(cli, tmp_path):
    export = cli.ok("sim", "export")
    (tmp_path / "lines").write_text(export.replace('{"counter"', '{"\\ud800"', 1))
    result = cli("sim", "import", "--force", tmp_path / "lines")
    assert result.status == 255
    assert "\\ud800" in result.stderr
