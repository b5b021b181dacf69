"""Replay every scenario against the command line, in this process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from golden.scenario import CGROUP, Replay, Scenario, compile_expected

HERE = Path(__file__).parent
FILES = sorted((HERE / "scenarios").glob("*.toml"))
# Started as real processes, too: streams, exit status and the entry point are the system's then.
AS_PROCESS = ("batch-tabs-b", "cli-flags", "elem-walk")


def load_hook():
    spec = importlib.util.spec_from_file_location("golden_hook", HERE / "hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def replay(scenario, runner, state, tmp_path, monkeypatch):
    wanted = {
        "needs": scenario.needs, "bpffs": "/sys/fs/bpf", "netdevs": ["lo", "rec0", "rec1"],
        "cgroup": CGROUP, "subcgroups": scenario.subcgroups,
    }  # fmt: skip
    load_hook().up(str(state), wanted)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    wrong = Replay(runner, str(work)).run(scenario)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path, cli, state, tmp_path, monkeypatch):
    def run(argv, stdin):
        result = cli(*argv, stdin=stdin)
        return result.status, result.stdout, result.stderr

    replay(Scenario.load(path), run, state, tmp_path, monkeypatch)


@pytest.mark.parametrize("name", AS_PROCESS)
def test_scenario_as_processes(name, state, tmp_path, monkeypatch):
    def run(argv, stdin):
        command = [sys.executable, "-m", "bpfctl", *argv]
        done = subprocess.run(command, input=stdin.encode(), capture_output=True, env=os.environ)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    path = HERE / "scenarios" / f"{name}.toml"
    replay(Scenario.load(path), run, state, tmp_path, monkeypatch)


def test_names_are_unique():
    names = [Scenario.load(path).name for path in FILES]
    assert names == [path.stem for path in FILES]


@pytest.mark.parametrize(
    ("expected", "text", "same"),
    [
        ("<id:map1>: x", "12: x", True),
        ("<id:map1>: x", "ab: x", False),
        ("<id:map1> <id:map1>", "1 1", True),
        ("<id:map1> <id:map1>", "1 2", False),
        ("<id:map1> <id:map2>", "1 1", False),
        ('{"id":"<id:map1>","m":"<memlock>"}', '{"id":3,"m":4096}', True),
        ('["<le32:map1>"] "<id:map1>"', '["0x03","0x00","0x00","0x00"] 3', True),
        ("value: <le32:map1>", "value: 03 00 00 00", True),
        ("<no entry>", "<no entry>", True),
        ("<no entry>", "<some entry>", False),
    ],
)
def test_the_replayer_can_tell(expected, text, same):
    assert compile_expected(expected)
    assert Replay(lambda argv, stdin: (0, "", ""), "").matches(expected, text) is same
