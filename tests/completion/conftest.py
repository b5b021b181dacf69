from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from conftest import Cli


@pytest.fixture
def machine(cli: Cli, state: Path) -> Path:
    """A state with a few objects of every kind; return its path."""
    cli.ok("sim", "new", "--kernel", "6.12")
    cli.ok("sim", "mkdir", "/sys/fs/bpf/sub")
    for path, kind, key, value, name in (
        ("flows", "hash", 4, 8, "flows"),
        ("sub/jobs", "queue", 0, 8, "jobs"),
        ("progs", "prog_array", 4, 4, "progs"),
    ):
        words = f"map create /sys/fs/bpf/{path} type {kind} key {key} value {value} entries 16"
        cli.ok(*words.split(), "name", name)
    words = "map create /sys/fs/bpf/outer type array_of_maps key 4 value 4 entries 2 name outer"
    cli.ok(*words.split(), "inner_map", "name", "flows")
    cli.ok("memcg", "create", "/web")
    cli.ok("memcg", "create", "/web/two words")
    cli.ok("task", "spawn", "--comm", "server", "--open", "/sys/fs/bpf/flows")
    cli.ok("sim", "object", "create", "netdev", "--name", "eth7")
    return state


@pytest.fixture
def shell_env(machine: Path, tmp_path: Path) -> dict[str, str]:
    """Environment of a shell in which ``bpfctl`` is this one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "bpfctl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bpfctl "$@"\n')
    program.chmod(0o755)
    env = {name: os.environ[name] for name in ("HOME", "BPFCTL_STATE") if name in os.environ}
    return {**env, "PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "LC_ALL": "C.UTF-8"}
