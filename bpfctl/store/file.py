"""What is at the path of a state: one of ours, nothing, or something to leave alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bpfctl.errors import StateError
from bpfctl.store.hostfile import os_error_text
from bpfctl.store.lite import sqlite3
from bpfctl.store.lock import busy_error, is_busy
from bpfctl.store.migrations import SCHEMA_VERSION
from bpfctl.store.schema import APPLICATION_ID

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_VERSION_AT = 60
_APPLICATION_AT = 68

_JOURNAL_MAGIC: Final = bytes.fromhex("d9d505f920a163d7")
# Where a journal's header says how long a sector (the header) and a page are.
_SECTOR_AT, _PAGE_AT = 20, 24
_MAX_SECTOR: Final = 1 << 16


def inspect(path: str) -> int | None:
    """Return the schema version of a state file, or None if there is no file.

    Looks at the first bytes only, and not through SQLite, which would touch the file.

    :raises StateError: there is something else at ``path``, or a file from a newer version.
    """
    header = _header(path)
    if header is None:
        return None
    if not header:
        raise refusal(path, "it is empty", "delete it; the next command makes a new one")
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise refusal(path, "it is not a bpfctl state file")
    if _number(header, _APPLICATION_AT) != APPLICATION_ID:
        raise refusal(path, "it is an SQLite database of another application")
    version = _number(header, _VERSION_AT)
    if not 1 <= version <= SCHEMA_VERSION:
        raise refusal(
            path,
            f"it has format {version}, and this bpfctl knows formats 1 to {SCHEMA_VERSION}",
            "use a newer bpfctl",
        )
    journal = _journal_start(path)
    if journal and not _JOURNAL_MAGIC.startswith(journal[: len(_JOURNAL_MAGIC)]) and journal[0]:
        # SQLite would take it for its own and delete it.
        raise refusal(path, f"{journal_of(path)!r} is not a journal of it", "move that file away")
    return version


def _header(path: str) -> bytes | None:
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise refusal(path, "it is a directory" if stat.S_ISDIR(mode) else "it is not a file")
        with open(path, "rb") as file:
            return file.read(_HEADER_BYTES)
    except FileNotFoundError:
        if os.path.islink(path):
            why = f"it is a link to {os.readlink(path)!r}, which is missing"
            raise refusal(path, why) from None
        return None
    except (OSError, ValueError) as exc:
        raise refusal(path, os_error_text(exc)) from exc


def journal_of(path: str) -> str:
    """Return where SQLite keeps the journal of a database."""
    return f"{os.path.realpath(path)}-journal"


def _journal_start(path: str, length: int = len(_JOURNAL_MAGIC)) -> bytes:
    """Return the first bytes of a state's journal, b"" if there is none."""
    try:
        with open(journal_of(path), "rb") as file:
            return file.read(length)
    except OSError:
        return b""


def is_our_journal(path: str) -> bool:
    """Tell whether the journal beside ``path`` was written for a state of ours.

    Every transaction changes the first page, so the journal has it as it was, mark included.
    One that was never begun (empty, or zeros) is nobody's.
    """
    start = _journal_start(path, 2 * _MAX_SECTOR + _HEADER_BYTES)
    if not start.strip(b"\0"):
        return True
    if not start.startswith(_JOURNAL_MAGIC):
        return False
    sector, page = _number(start, _SECTOR_AT), _number(start, _PAGE_AT)
    at = sector
    while at + 4 + _HEADER_BYTES <= len(start) and page:
        if _number(start, at) == 1:
            return _is_ours(start[at + 4 : at + 4 + _HEADER_BYTES])
        at += 4 + page + 4
    return False


def _is_ours(header: bytes) -> bool:
    return header.startswith(_MAGIC) and _number(header, _APPLICATION_AT) == APPLICATION_ID


def is_spent(path: str) -> bool:
    """Tell whether a file is empty, or bears our mark."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    return not header or _is_ours(header)


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")


# --- errors -------------------------------------------------------------------------


def refusal(path: str, why: str, hint: str = "") -> StateError:
    """Return the error of a file that cannot be used."""
    return StateError(
        f"cannot use state file {path!r}: {why}",
        hint=hint or "choose another file with --state or $BPFCTL_STATE",
    )


def damaged(path: str, why: str) -> StateError:
    """Return the error of a file that is ours and not what it should be."""
    hint = "take the last 'bpfctl sim export', or start anew with another --state"
    return refusal(path, f"it is damaged ({why})", hint)


@contextmanager
def sqlite_errors(path: str) -> Iterator[None]:
    """Turn errors of the database into :class:`StateError`."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, _BUGS):
            raise
        raise _database_error(path, exc) from exc


# The program's faults, not the file's.
_BUGS = (sqlite3.IntegrityError, sqlite3.NotSupportedError, sqlite3.ProgrammingError)


def _database_error(path: str, exc: sqlite3.Error) -> StateError:
    if is_busy(exc):
        return busy_error(path)
    text = str(exc)
    for part, why, hint in _DATABASE_ERRORS:
        if part in text:
            return refusal(path, why, hint)
    return damaged(path, text)


# Part of SQLite's message: what it means here, hint.
_DATABASE_ERRORS = (
    ("readonly", "permission denied: it cannot be written", ""),
    ("unable to open", "its folder cannot be written", ""),
    ("full", "the disk is full", "free some space, then repeat; the state is as before"),
    ("disk I/O error", "reading or writing failed", "check the disk, then repeat"),
)
