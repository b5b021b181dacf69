"""The scripts in the shells that they are for, on a terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from completion.shells import Terminal, fish

pytest.importorskip("pty", reason="needs terminals as Unix has them")

LOADS = {
    ("bash", "printed"): 'eval "$(bpfctl completion bash)"',
    ("bash", "installed"): 'source "$(bpfctl completion --path bash)"',
    ("zsh", "printed"): 'eval "$(bpfctl completion zsh)"',
    ("zsh", "installed"): 'fpath=("$(dirname "$(bpfctl completion --path zsh)")" $fpath);'
    " autoload -Uz compinit; compinit -u",
}

# What is typed: what the line is after Tab.
LINES = {
    "bpfctl ma": "bpfctl map ",
    "bpfctl m cr": "bpfctl m create ",
    "bpfctl -j map show name fl": "bpfctl -j map show name flows ",
    "bpfctl map show pinned /sys/fs/bpf/sub/j": "bpfctl map show pinned /sys/fs/bpf/sub/jobs ",
    "bpfctl map show pinned '/sys/fs/bpf/fl": "bpfctl map show pinned '/sys/fs/bpf/flows' ",
    'bpfctl map show pinned "/sys/fs/bpf/fl': 'bpfctl map show pinned "/sys/fs/bpf/flows" ',
    "bpfctl map create /sys/fs/bpf/s": "bpfctl map create /sys/fs/bpf/sub/",
    "bpfctl map create F type lpm": "bpfctl map create F type lpm_trie ",
    "bpfctl --cgroup=/we": "bpfctl --cgroup=/web",
    "bpfctl memcg show /web/tw": "bpfctl memcg show /web/two\\ words ",
    "bpfctl memcg show /web/two\\ w": "bpfctl memcg show /web/two\\ words ",
    "bpfctl memcg show '/web/two w": "bpfctl memcg show '/web/two words' ",
    "bpfctl memcg set /web memory.ma": "bpfctl memcg set /web memory.max=",
    "bpfctl cost --map=type=lru_h": "bpfctl cost --map=type=lru_hash ",
    "bpfctl --caps cap_bpf,cap_perf": "bpfctl --caps cap_bpf,cap_perfmon ",
    "bpfctl batch file ./set": "bpfctl batch file ./setup ",
    "bpfctl sim new --from-toml=./set": "bpfctl sim new --from-toml=./setup ",
    "bpfctl plugin new x --directory ./bi": "bpfctl plugin new x --directory ./bin/",
    "true; bpfctl map show name job": "true; bpfctl map show name jobs ",
    "X=1 bpfctl ver": "X=1 bpfctl version ",
    "bpfctl map show name none": "bpfctl map show name none",
    "bpfctl nonsense ": "bpfctl nonsense ",
}


@pytest.fixture(params=[pytest.param(key, id="-".join(key)) for key in LOADS])
def terminal(
    request: pytest.FixtureRequest, shell_env: dict[str, str], tmp_path: Path
) -> Iterator[Terminal]:
    shell, _ = request.param
    _skip_without(shell)
    opened = Terminal(shell, LOADS[request.param], shell_env, tmp_path)
    yield opened
    opened.close()


def _skip_without(shell: str) -> None:
    import shutil

    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell} on PATH")


def test_tab_completes_the_line(terminal: Terminal) -> None:
    assert {line: terminal.tab(line) for line in LINES} == LINES


def test_a_damaged_state_leaves_line_and_screen_alone(terminal: Terminal, machine: Path) -> None:
    machine.write_bytes(b"not a database" * 100)
    terminal.output = b""
    assert terminal.tab("bpfctl map show id ") == "bpfctl map show id "
    shown = terminal.output.decode()
    assert "Error" not in shown
    assert "Traceback" not in shown


FISH_LINES = {
    "bpfctl ma": ["map"],
    "bpfctl m s": ["show"],
    "bpfctl map show ": ["id", "name", "pinned"],
    "bpfctl -j map show id ": ["1", "2", "3", "4"],
    "bpfctl map show pinned '/sys/fs/bpf/fl": ["/sys/fs/bpf/flows"],
    "bpfctl memcg show /web/two\\ w": ["/web/two words"],
    "bpfctl --cgroup=/web/": ["--cgroup=/web/two words"],
    "bpfctl sim new --kernel=5": ["--kernel=5.10", "--kernel=5.11", "--kernel=5.15"],
    "bpfctl memcg set /web memory.ma": ["memory.max="],
    "BPFCTL_STATE=/none bpfctl map show id ": [],
    "true; bpfctl map show name jo": ["jobs"],
    "bpfctl nonsense ": [],
}


@pytest.mark.needs("fish")
@pytest.mark.parametrize("source", ["printed", "installed"])
def test_fish_offers(source: str, shell_env: dict[str, str]) -> None:
    script = {"printed": "(bpfctl completion fish | psub)"}.get(
        source, "(bpfctl completion --path fish)"
    )
    assert {line: fish(script, line, shell_env) for line in FISH_LINES} == FISH_LINES


@pytest.mark.needs("fish")
def test_fish_completes_files_of_the_host(shell_env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "one.o").write_bytes(b"")
    script = "(bpfctl completion --path fish)"
    path = f"{tmp_path}/objects/o"
    assert fish(script, f"bpfctl cost {path}", shell_env) == [f"{path}ne.o"]
    assert fish(script, f"bpfctl cost --html={path}", shell_env) == [f"--html={path}ne.o"]


@pytest.mark.needs("bash")
def test_bash_function_without_a_terminal(shell_env: dict[str, str]) -> None:
    """Other completion functions, such as that of sudo, call ours with the COMP variables."""
    text = """
eval "$(bpfctl completion bash)"
COMP_LINE='bpfctl map show ' COMP_POINT=16 COMP_WORDS=(bpfctl map show '') COMP_CWORD=3
_bpfctl_completion bpfctl '' show
printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", text], env=shell_env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["id", "name", "pinned"]
    assert done.stderr == ""
