"""Every session in the documentation runs, and prints what it says.

The ```console blocks of a file are one session, on a state and in a folder of its own. Commands
are ``bpfctl``, ``python FILE`` (a file of the project) and ``echo $?``; the folder ``objects``
holds the object files of the tests.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs.console import Step, matches, steps

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(
    path.relative_to(ROOT)
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/scenarios/*.md")]
)
SESSIONS = [path for path in FILES if "```console" in (ROOT / path).read_text(encoding="utf-8")]


class Shell:
    """Runs the commands of one file."""

    def __init__(self, cli: Any) -> None:
        self.cli = cli
        self.status = 0

    def run(self, command: str) -> list[str]:
        words = shlex.split(command)
        if words[0] == "bpfctl":
            result = self.cli(*words[1:])
            self.status = result.status
            return str(result.stdout + result.stderr).splitlines()
        if words[0] == "python":
            done = subprocess.run(
                [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
            )
            self.status = done.returncode
            return (done.stdout + done.stderr).splitlines()
        assert words == ["echo", "$?"], f"the tests cannot run: {command}"
        return [str(self.status)]


@pytest.mark.parametrize("path", SESSIONS, ids=str)
def test_session(cli: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_HINTS", "always")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests/data/objects", tmp_path / "objects")
    shell = Shell(cli)
    for step in steps(ROOT / path):
        got = shell.run(step.command)
        assert matches(step.output, got), f"{path}:{step.line}: $ {step.command}\n" + "\n".join(got)


def test_scenarios_are_sessions() -> None:
    scenarios = {path.name for path in FILES if path.parent.name == "scenarios"}
    assert scenarios - {path.name for path in SESSIONS} <= {"README.md"}
    index = (ROOT / "docs/scenarios/README.md").read_text(encoding="utf-8")
    assert all(f"({name})" in index for name in scenarios - {"README.md"})


@pytest.mark.parametrize(
    ("want", "got", "same"),
    [
        (["a ... c"], ["a b c"], True),
        (["a"], ["b"], False),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "..."], ["a"], True),
        (["a"], ["a", "b"], False),
        ([], ["a"], False),
    ],
)
def test_wildcards(want: list[str], got: list[str], same: bool) -> None:
    assert matches(want, got) is same


def test_reading_blocks(tmp_path: Path) -> None:
    text = "\n".join(
        ["x", "```console", "$ bpfctl a \\", "> b", "out", "$ echo $?", "```", "```", "$ no", "```"]
    )
    path = tmp_path / "x.md"
    path.write_text(text, encoding="utf-8")
    assert list(steps(path)) == [Step(3, "bpfctl a b", ["out"]), Step(6, "echo $?", [])]
