"""Whatever is wrong, completion offers nothing, says nothing and changes nothing."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

import pytest

from conftest import Cli, Result

Ask = Callable[..., Result]


@pytest.fixture
def ask(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Complete a line as a shell does."""

    def complete(line: str, shell: str = "bash", cword: str = "") -> Result:
        monkeypatch.setenv("_BPFCTL_COMPLETE", f"{shell}_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", cword)
        found = cli()
        monkeypatch.delenv("_BPFCTL_COMPLETE")
        return found

    return complete


SILENT = (0, "\n", "")
QUESTIONS = ("bpfctl map show id ", "bpfctl map show pinned ", "bpfctl task show ")


def _garbage(path: Path) -> None:
    path.write_bytes(b"no database at all " * 50)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _torn(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("CREATE TABLE map (id INTEGER, type INTEGER, name BLOB)")
        conn.execute("INSERT INTO map VALUES (1, 1, x'61')")
        conn.commit()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)


def _gone(path: Path) -> None:
    path.unlink()


BREAKAGES = (_garbage, _empty, _torn, _foreign, _directory, _pipe, _gone)


@pytest.mark.parametrize("line", QUESTIONS)
@pytest.mark.parametrize("damage", BREAKAGES, ids=lambda f: f.__name__.strip("_"))
def test_bad_state(ask: Ask, machine: Path, damage: Callable[[Path], None], line: str) -> None:
    damage(machine)
    before = machine.read_bytes() if machine.is_file() else None
    assert astuple(ask(line)) == SILENT
    assert sorted(machine.parent.glob(f"{machine.name}*")) == [machine][: damage is not _gone]
    assert (machine.read_bytes() if machine.is_file() else None) == before


def test_held_state(ask: Ask, machine: Path) -> None:
    with closing(sqlite3.connect(machine, isolation_level=None)) as conn:
        conn.execute("BEGIN EXCLUSIVE")
        assert astuple(ask("bpfctl map show id ")) == SILENT
    assert ask("bpfctl map show name fl").stdout == "plain,flows\n"


def test_broken_settings(ask: Ask, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BPFCTL_STATE")
    monkeypatch.chdir(machine.parent)
    Path("bpfctl.toml").write_text("state = [")
    assert astuple(ask("bpfctl map show id ")) == SILENT


BAD_LINES = (
    "",
    "bpfctl --nonsense=",
    "bpfctl -B",
    "bpfctl map show id 99999999999999999999999 ",
    "bpfctl map update id x key 'open",
    "bpfctl map update id 99999999999999999999999 key ",
    "bpfctl sample run nonsense --",
    "bpfctl sim nonsense x ",
    "bpfctl task close x ",
    "bpfctl cost --map =,=",
    "bpfctl " + "map " * 5000,
)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("line", BAD_LINES, ids=range(len(BAD_LINES)))
def test_bad_lines(ask: Ask, machine: Path, line: str, shell: str) -> None:
    found = ask(line, shell)
    assert (found.status, found.stderr) == (0, "")


def test_names_that_would_break_a_line_are_left_out(ask: Ask, machine: Path) -> None:
    with closing(sqlite3.connect(machine)) as conn:
        conn.execute("UPDATE memcg SET path = '/web\nplain,x' WHERE path = '/web'")
        conn.commit()
    assert ask("bpfctl memcg show /").stdout == "part,/\nplain,/web/two\\ words\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_protocol_of_clicks_own_scripts(ask: Ask, machine: Path, shell: str) -> None:
    """They send all words of the line, and the number of the one at the cursor."""
    found = ask("bpfctl map show na flows", shell, cword="3")
    assert "name" in found.stdout
    assert "flows" not in found.stdout


def test_unknown_shell(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BPFCTL_COMPLETE", "tcsh_complete")
    assert astuple(cli()) == (1, "", "")


def test_quoting_for_bash(ask: Ask, machine: Path) -> None:
    assert ask("bpfctl memcg show /web/").stdout == "plain,/web/two\\ words\n"
    assert ask("bpfctl memcg show '/web/").stdout == "plain,/web/two words\n"
