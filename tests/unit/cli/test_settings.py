"""Options, environment and bpfctl.toml."""

import pytest

from bpfctl.cli.app.settings import Settings, parse_size
from bpfctl.errors import CommandError
from bpfctl.kernel.task import CAP_BPF, CAP_PERFMON
from bpfctl.uapi import RLIM_INFINITY


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64K", 65536),
        ("64KiB", 65536),
        ("8m", 8 << 20),
        ("8MB", 8 << 20),
        ("1G", 1 << 30),
        ("unlimited", RLIM_INFINITY),
        ("99999999999999999999G", RLIM_INFINITY),
    ],
)
def test_parse_size(text, size):
    assert parse_size(text, "memlock") == size


@pytest.mark.parametrize("text", ["", "K", "-5", "64Q", "6 4", "1.5M", "KB64", "\u0663"])
def test_parse_size_refuses(text):
    with pytest.raises(CommandError, match="as memlock"):
        parse_size(text, "memlock")


@pytest.fixture
def home(tmp_path, monkeypatch, state):
    monkeypatch.delenv("BPFCTL_STATE")
    (tmp_path / "config" / "bpfctl").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_option_beats_environment_beats_file(home, monkeypatch):
    (home / "work" / "bpfctl.toml").write_text('uid = 1\nmemlock = "1K"\ncgroup = "/f"\n')
    monkeypatch.setenv("BPFCTL_UID", "2")
    monkeypatch.setenv("BPFCTL_MEMLOCK", "2K")
    settings = Settings({"uid": "3"})
    assert (settings.uid, settings.memlock, settings.cgroup) == (3, 2048, "/f")
    assert (settings.state, settings.as_pid, settings.caps) == (None, None, None)


def test_file_of_the_user(home):
    (home / "config" / "bpfctl" / "bpfctl.toml").write_text('caps = ["CAP_BPF", "CAP_PERFMON"]\n')
    assert Settings({}).caps == CAP_BPF | CAP_PERFMON


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("state =", "can't parse bpfctl.toml"),
        ("stat = 'x'", "unknown key 'stat'"),
        ("[state]\nx = 1", "'state' must be a plain value"),
        ("uid = 'root'", "can't parse 'root' as uid"),
    ],
)
def test_bad_files(home, content, error):
    (home / "work" / "bpfctl.toml").write_text(content)
    with pytest.raises(CommandError, match=error):
        Settings({})


def test_bad_option():
    with pytest.raises(CommandError, match="can't parse '-1' as as"):
        Settings({"as": "-1"})
