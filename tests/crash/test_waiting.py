"""Waiting for other commands is waiting, not failing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bpfctl.errors import StateError
from bpfctl.store import lock, open_kernel, open_storage

SHOW = [sys.executable, "-m", "bpfctl", "map", "show"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = str(tmp_path / "state.db")
    with open_kernel(made, write=True):
        pass
    return made


def test_a_third_command_waits_for_a_reader_and_a_writer(path: str):
    """A reader in a pager holds the file, a writer waits for it: nobody else may come in."""
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM counter").fetchall()
    writer = sqlite3.connect(path, isolation_level=None, timeout=0.1)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE counter SET value = value")
    with pytest.raises(sqlite3.OperationalError):
        writer.execute("COMMIT")  # leaves the PENDING lock behind
    third = subprocess.Popen(
        SHOW, env={**os.environ, "BPFCTL_STATE": path}, stderr=subprocess.PIPE, text=True
    )
    time.sleep(4 * lock.SLICE_SECONDS)
    assert third.poll() is None, third.communicate()[1]
    reader.execute("COMMIT")
    writer.execute("COMMIT")
    assert third.communicate(timeout=60)[1] == ""
    assert third.returncode == 0


def test_the_error_tells_the_time_and_who_it_is(path: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "BUSY_SECONDS", 1.5)
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN EXCLUSIVE'); print('held', flush=True); sys.stdin.read()",
            path,
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StateError) as refused, open_storage(path):
            pass
    finally:
        holder.communicate("")
    assert "has held it for 2 seconds" in refused.value.text
    if sys.platform == "linux" and Path("/proc/locks").exists():
        assert f"({holder.pid})" in refused.value.text


def test_somebody_who_watches_is_told(path: str, monkeypatch: pytest.MonkeyPatch):
    told: list[str] = []
    monkeypatch.setattr("bpfctl.errors.notice", told.append)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(lock, "BUSY_SECONDS", 2.5)
    with pytest.raises(StateError), open_storage(path):
        pass
    assert len(told) == 1
    assert told[0].startswith("waiting for another command")
