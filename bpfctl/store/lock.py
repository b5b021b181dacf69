"""Waiting for other commands: patiently, saying so, and knowing for how long and for whom."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from bpfctl import errors
from bpfctl.errors import StateError
from bpfctl.store.lite import sqlite3

# A reader may hold the file as long as a pager shows its output, so writers are patient; they
# wait in slices, between which Ctrl-C gets through.
BUSY_SECONDS: Final = 600.0
SLICE_SECONDS: Final = 1.0

# Where SQLite locks a database, whatever its size: PENDING, RESERVED and the bytes of readers.
_LOCK_BYTES: Final = range(0x40000000, 0x40000000 + 512)
_LISTED: Final = 3


def is_busy(exc: sqlite3.Error) -> bool:
    """Tell whether a statement failed because of another command's lock."""
    return isinstance(exc, sqlite3.OperationalError) and "locked" in str(exc)


def patiently(conn: sqlite3.Connection, sql: str, path: str) -> sqlite3.Cursor:
    """Execute a statement that may have to wait for other commands.

    :raises StateError: they have held the file for ten minutes.
    """
    return wait(lambda: conn.execute(sql), path)


def wait(attempt: Callable[[], sqlite3.Cursor], path: str) -> sqlite3.Cursor:
    """Try until it works; after a second somebody who watches is told what is waited for.

    Each attempt waits up to ``SLICE_SECONDS`` by itself.
    """
    start = time.monotonic()
    told = False
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as exc:
            waited = time.monotonic() - start
            if not is_busy(exc):
                raise
            if waited >= BUSY_SECONDS:
                raise busy_error(path, waited) from exc
            if not told and waited >= SLICE_SECONDS and errors.notice is not None:
                errors.notice(f"waiting for {holders_text(path)}, which holds {path}")
                told = True


def busy_error(path: str, seconds: float | None = None) -> StateError:
    """Return the error of a file that others hold, and have held for so long."""
    holds = "holds it" if seconds is None else f"has held it for {_time(seconds)}"
    return StateError(
        f"cannot use state file {path!r}: {holders_text(path)} {holds}",
        hint="end that command, then repeat",
    )


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} second{'' if round(seconds) == 1 else 's'}"
    return f"{seconds / 60:.0f} minutes"


def holders_text(path: str) -> str:
    """Name the processes that hold the file, as far as it can be known."""
    found = holders(path)
    if not found:
        return "another command"
    named = ", ".join(f"{comm} ({pid})" for pid, comm in found[:_LISTED])
    return f"another command, {named}"


def holders(path: str) -> list[tuple[int, str]]:
    """Return pid and name of other processes with an SQLite lock on the file; Linux knows."""
    if sys.platform != "linux":
        return []
    try:
        info = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.read().splitlines()
    except (OSError, ValueError):
        return []
    device = f"{os.major(info.st_dev):02x}:{os.minor(info.st_dev):02x}:{info.st_ino}"
    pids = {pid for line in lines if (pid := _holder(line.split(), device))}
    return [(pid, _comm(pid)) for pid in sorted(pids - {os.getpid()})]


def _holder(words: list[str], device: str) -> int:
    """Return the pid of a line of /proc/locks that is about the file, 0 for others.

    ``1: POSIX  ADVISORY  WRITE 4711 08:01:123456 1073741825 1073741825``; waiting ones have
    ``->`` behind the number.
    """
    if len(words) != 8 or words[1] != "POSIX" or words[5] != device:
        return 0
    first, last = words[6:]
    end = _LOCK_BYTES.stop if last == "EOF" else int(last)
    if int(first) >= _LOCK_BYTES.stop or end < _LOCK_BYTES.start:
        return 0
    return max(int(words[4]), 0)


def _comm(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
