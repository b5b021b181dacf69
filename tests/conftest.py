"""A fresh state file, the command line in this process, and skips for tools that are absent."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# A busy machine is no reason to fail.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--oracle-dir",
        metavar="DIR",
        default=None,
        help="measured cases (*.jsonl, *.jsonl.xz) to compare with instead of the project's own",
    )
    parser.addoption("--corpus", metavar="DIR", help="measured programs to compare with")
    parser.addoption("--families", metavar="GLOBS", help="only these families of a corpus")
    parser.addoption("--kernels", metavar="NAMES", help="only these kernels of a corpus")
    parser.addoption("--every", metavar="N", default="1", help="only every Nth line of a corpus")
    parser.addoption("--first", metavar="N", default="5", help="disagreements to show a family")
    parser.addoption("--fuzz", metavar="N", default="300", help="random programs to compare by")
    parser.addoption("--engine", metavar="NAME", help="run programs with this engine")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave what measures speed out, unless it is asked for: ``pytest tests/bench``."""
    bench = Path(__file__).parent / "bench"
    if collection_path != bench:
        return None
    asked = [Path(arg.partition("::")[0]).resolve() for arg in config.args]
    return not any(path == bench or bench in path.parents for path in asked)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        missing = [tool for tool in marker.args if shutil.which(tool) is None]
        if missing:
            pytest.skip(f"needs {', '.join(missing)} on PATH")


@dataclass(frozen=True)
class Result:
    """What one command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0


class _Stream(io.TextIOWrapper):
    """Text stream over bytes in memory: ``sys.stdout.buffer`` works as well."""

    def __init__(self, content: str = "") -> None:
        self.bytes = io.BytesIO(content.encode())
        super().__init__(self.bytes, encoding="utf-8", newline="")

    def text(self) -> str:
        self.flush()
        return self.bytes.getvalue().decode()


@contextmanager
def _streams(stdin: str) -> Iterator[tuple[_Stream, _Stream]]:
    saved = sys.stdin, sys.stdout, sys.stderr
    out, err = _Stream(), _Stream()
    sys.stdin, sys.stdout, sys.stderr = _Stream(stdin), out, err
    try:
        yield out, err
    finally:
        sys.stdin, sys.stdout, sys.stderr = saved


class Cli:
    """Run ``bpfctl ARGS`` in this process."""

    def __call__(self, *argv: object, stdin: str = "") -> Result:
        from bpfctl.cli.app.main import main

        status: Any
        with _streams(stdin) as (out, err):
            try:
                status = main([str(arg) for arg in argv])
            except SystemExit as exc:
                status = exc.code
        return Result(int(status or 0), out.text(), err.text())

    def ok(self, *argv: object, stdin: str = "") -> str:
        """Return standard output of a command that must succeed."""
        result = self(*argv, stdin=stdin)
        assert result.status == 0, f"bpfctl {' '.join(map(str, argv))}: {result}"
        return result.stdout


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path of a state file that does not exist yet; commands of this test use it."""
    for name in [name for name in os.environ if name.startswith("BPFCTL_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "state.db"
    monkeypatch.setenv("BPFCTL_STATE", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


@pytest.fixture
def cli(state: Path) -> Cli:
    """Run commands in process, against a fresh state file."""
    return Cli()


@pytest.fixture
def real_bpffs(tmp_path: Path) -> Iterator[Path]:
    """A BPF file system of this machine's own kernel, for the real bpftool."""
    where = tmp_path / "bpffs"
    where.mkdir()
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool on PATH")
    mounted = subprocess.run(
        ["mount", "-t", "bpf", "bpf", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no BPF file system can be mounted here (it takes root, and a kernel with BPF)")
    try:
        probe = ["bpftool", "map", "create", str(where / "probe"), "type", "hash", "key", "4"]
        probe += ["value", "4", "entries", "1", "name", "probe"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("this machine's kernel refuses to create maps")
        (where / "probe").unlink()
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=False)
