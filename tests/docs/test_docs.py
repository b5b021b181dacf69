"""Every session in the documentation runs, and prints what it says.

The ```console blocks of a file are one session, which begins by naming a state of its own. Commands
are ``bpfctl``, ``python -m MODULE`` and ``echo $?``: nothing of a checkout is needed. All of them
are typed into a real shell, too, one page after the other in one home.
"""

from __future__ import annotations

import os
import re
import shlex
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


START = "export BPFCTL_STATE=$(mktemp -u)"
MARK = "-- the next command --"


class Shell:
    """Runs the commands of one file."""

    def __init__(self, cli: Any) -> None:
        self.cli = cli
        self.status = 0

    def run(self, command: str) -> list[str]:
        assert command != START, "said once, at the top"
        command = re.sub(r"\$\(bpfctl ([^)]*)\)", self._printed, command)
        words = shlex.split(command)
        if words[0] == "bpfctl":
            result = self.cli(*words[1:])
            self.status = result.status
            return str(result.stdout + result.stderr).splitlines()
        if words[:2] == ["python", "-m"]:
            done = subprocess.run(
                [sys.executable, *words[1:]], capture_output=True, text=True, check=False
            )
            self.status = done.returncode
            return (done.stdout + done.stderr).splitlines()
        assert words == ["echo", "$?"], f"the tests cannot run: {command}"
        return [str(self.status)]

    def _printed(self, match: re.Match[str]) -> str:
        return str(self.cli.ok(*shlex.split(match[1]))).strip()


@pytest.mark.parametrize("path", SESSIONS, ids=str)
def test_session(cli: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_HINTS", "always")
    monkeypatch.chdir(tmp_path)
    shell = Shell(cli)
    first, *rest = steps(ROOT / path)
    assert (first.command, first.output) == (START, []), f"{path}: begins with a state of its own"
    for step in rest:
        got = shell.run(step.command)
        assert matches(step.output, got), f"{path}:{step.line}: $ {step.command}\n" + "\n".join(got)


@pytest.mark.needs("bash", "mktemp")
def test_all_pages_in_one_home(tmp_path: Path) -> None:
    """Type every page into a shell, as a person does who reads one after the other."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("bpfctl", "-m bpfctl"), ("python", "")):
        (commands / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (commands / name).chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    env = {key: os.environ[key] for key in os.environ if not key.startswith(("BPFCTL_", "XDG_"))}
    env |= {"HOME": str(home), "PATH": f"{commands}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    env["BPFCTL_HINTS"] = "always"
    wrong = []
    for path in SESSIONS:
        wanted = list(steps(ROOT / path))
        script = "".join(f"echo '{MARK}'\n( exit $s )\n{s.command}\ns=$?\n" for s in wanted)
        text = f"s=0\nexec 2>&1\n{script}"
        done = subprocess.run(
            ["bash"], input=text, cwd=home, env=env, capture_output=True, text=True, check=False
        )
        for step, got in zip(wanted, done.stdout.split(f"{MARK}\n")[1:], strict=True):
            if not matches(step.output, got.splitlines()):
                wrong.append(f"{path}:{step.line}: $ {step.command}\n{got}")
    assert wrong == []
    # Nothing was left in the reader's own state.
    assert not (home / ".local").exists()


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
