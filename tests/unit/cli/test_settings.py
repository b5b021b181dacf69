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
        ("stat = 'x'\nuid = 1", "unknown key 'stat'"),
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


FOREIGN = {
    "not toml": ("state =", "can't parse bpfctl.toml"),
    "another program's": ("[tool]\nx = 1", "has no key of bpfctl's"),
    "deep": ("uid = " + "[" * 5000, "can't parse bpfctl.toml"),
    "binary": ("\0\1\2", "can't parse bpfctl.toml"),
    "long": ("# " + "x" * (1 << 17), "more than 65536 bytes"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_this_directory_that_is_not_ours_stops_nothing(kind, home, cli, capsys):
    content, why = FOREIGN[kind]
    (home / "work" / "bpfctl.toml").write_text(content)
    result = cli("map", "show")
    assert result.status == 0
    assert why in result.stderr
    assert "it is not used" in result.stderr


@pytest.mark.parametrize("kind", FOREIGN)
def test_the_users_own_file_is_an_error(kind, home):
    content, why = FOREIGN[kind]
    (home / "config" / "bpfctl" / "bpfctl.toml").write_text(content)
    with pytest.raises(CommandError, match=why.removeprefix("can't parse bpfctl.toml")):
        Settings({})


@pytest.mark.parametrize(
    ("where", "allowed"),
    [("s.db", True), ("sub/s.db", True), ("../s.db", False), ("/tmp/elsewhere.db", False)],
)
def test_a_directorys_file_names_a_state_of_its_own(where, allowed, home):
    (home / "work" / "bpfctl.toml").write_text(f'state = "{where}"\n')
    if allowed:
        assert Settings({}).state == where
        return
    with pytest.raises(CommandError, match="which is elsewhere"):
        Settings({})
    assert Settings({"state": where}).state == where


def test_a_directorys_file_may_name_the_users_state(home, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "own"))
    where = home / "own" / "bpfctl" / "other.db"
    (home / "work" / "bpfctl.toml").write_text(f'state = "{where}"\n')
    assert Settings({}).state == str(where)


def test_a_link_out_of_the_directory_is_seen(home):
    (home / "work" / "s.db").symlink_to(home / "other.db")
    (home / "work" / "bpfctl.toml").write_text('state = "s.db"\n')
    with pytest.raises(CommandError, match="which is elsewhere"):
        Settings({})


@pytest.mark.parametrize("name", ["uid", "as", "memlock"])
@pytest.mark.parametrize("digits", [11, 5000])
def test_huge_numbers_are_no_internal_error(name, digits, cli):
    result = cli(f"--{name}", "9" * digits, "map", "show")
    assert "internal error" not in result.stderr
    assert result.status == (0 if name == "memlock" else 255)
