"""Tables in a terminal, box characters, and global options behind the object word."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfctl.cli.app import terminal

pty = pytest.importorskip("pty")


def in_terminal(columns: int, *words: str, **env: str) -> list[str]:
    """Run a command whose standard output is a terminal so wide; return its lines."""
    import fcntl
    import struct
    import termios

    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "bpfctl", *words]
    with subprocess.Popen(command, stdout=child, env={**os.environ, **env}) as run:
        os.close(child)
        found = b""
        while True:
            try:
                part = os.read(parent, 65536)
            except OSError:
                break
            if not part:
                break
            found += part
        assert run.wait() == 0
    os.close(parent)
    return found.decode().replace("\r", "").splitlines()


def test_a_list_fits_the_terminal(state: Path) -> None:
    wide, narrow = in_terminal(200, "plugin", "list"), in_terminal(60, "plugin", "list")
    assert max(map(len, wide)) > 60
    assert max(map(len, narrow)) <= 60
    # Nothing is lost: the words are wrapped.
    assert "".join("".join(wide).split()) != ""
    assert any("percpu_array" in line for line in narrow)


def test_figures_are_put_in_blocks(state: Path) -> None:
    words = ["cost", "--map", "type=percpu_hash,key=16,value=64,entries=1000,name=flows",
             "--kernel", "6.18"]  # fmt: skip
    wide, narrow = in_terminal(200, *words), in_terminal(50, *words)
    assert max(map(len, narrow)) <= max(50, max(len(line) for line in narrow if ":" in line))
    assert sum(line.startswith("flows") for line in wide) == 1
    assert sum(line.startswith("flows") for line in narrow) > 1


def test_trees_without_box_characters(cli, state: Path) -> None:
    cli.ok("memcg", "create", "-p", "/a/b")
    cli.ok("memcg", "create", "/c")
    assert any(line.startswith("├─ a") for line in in_terminal(80, "memcg", "tree"))
    plain = in_terminal(80, "memcg", "tree", PYTHONIOENCODING="ascii")
    assert [line.split("  ")[0].rstrip() for line in plain][1:] == ["/", "|- a", "|", "`- c"]
    assert "|  `- b" in "\n".join(plain)


def test_fitting() -> None:
    rows = [["a", "x" * 30], ["b", "y"]]
    assert terminal.fit(["n", "text"], rows, 40) is None
    assert terminal.fit(["n", "text"], rows, 23) == [None, 20]
    assert terminal.fit(["n", "text"], rows, 3) == [None, 12]
    assert list(terminal.wrapped(["a", "one two"], [None, 4])) == [["a", "one"], ["", "two"]]
    assert terminal.blocks(["n", "one", "two"], [["a", "1", "2"]], 6) == [[0, 1], [0, 2]]
    assert terminal.blocks(["n", "one", "two"], [["a", "1", "2"]], 60) == [[0, 1, 2]]


def test_no_colour_is_used(cli, state: Path) -> None:
    # NO_COLOR has nothing to switch off.
    lines = in_terminal(80, "memcg", "tree") + in_terminal(80, "help")
    assert not any("\x1b" in line for line in lines)


def test_global_options_behind_the_object(cli, state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    cli.ok("sim", "new", "--state", other, "--kernel", "5.10")
    assert (other.exists(), state.exists()) == (True, False)
    facts = json.loads(cli.ok("sim", "show", "-j", f"--state={other}"))
    assert facts["kernel"] == "5.10"
    assert json.loads(cli.ok("sim", "--state", other, "show", "--json"))["kernel"] == "5.10"
    assert "\n    " in cli.ok("memcg", "--pretty", "show", "--state", other)
    # A command's own option of that name stays its own.
    cli.ok("memcg", "create", "/w", "--state", other)
    cli.ok("task", "spawn", "--cgroup", "/w", "--state", other)
    refused = cli("sim", "show", "--nonsense")
    assert (refused.status, "No such option" in refused.stderr) == (255, True)
    missing = cli("sim", "show", "--state")
    assert missing.status == 255
