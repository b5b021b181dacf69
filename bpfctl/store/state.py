"""Opening the state file: creation, refusals, and one transaction for one command."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bpfctl.errors import Failure, KernelError, StateError, TaskKilled
from bpfctl.store.file import (
    damaged,
    inspect,
    is_our_journal,
    journal_of,
    refusal,
    sqlite_errors,
)
from bpfctl.store.hostfile import make_folder, os_error_text, rename, sync_folder, touch
from bpfctl.store.lite import sqlite3
from bpfctl.store.lock import BUSY_SECONDS, SLICE_SECONDS, patiently
from bpfctl.store.migrations import SCHEMA_VERSION, create, migrate
from bpfctl.store.path import state_path
from bpfctl.store.schema import APPLICATION_ID, all_tables
from bpfctl.store.sqlite import SqlStorage

if TYPE_CHECKING:
    from bpfctl.kernel.config import Config
    from bpfctl.kernel.kernel import Kernel

_SQLITE_NEEDED = (3, 37)  # STRICT tables
_URI_PLAIN = b"/._-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
# EXTRA: a command that reported success is on the disk, whatever happens to the machine; with FULL
# the removal of the journal, which is the commit, may be lost. What a file of ours may contain
# besides tables and indexes must not run.
_PRAGMAS = ("synchronous = EXTRA", "cache_size = -65536", "trusted_schema = OFF")

# Outcomes of a command that the simulated kernel has seen through: what it did stays done.
_COMPLETED = (KernelError, Failure, TaskKilled)

Boot = Callable[[SqlStorage], None]


@contextmanager
def open_kernel(path: str | None = None, write: bool = True) -> Iterator[Kernel]:
    """Give the kernel of the state file ``path`` for one command, as one transaction.

    Without ``path`` take the default one. A file that does not exist is made first. Changes are
    kept if the block ends normally or with an error of the simulated kernel or of the command,
    and dropped on any other exception; changes of a block that does not ``write`` are dropped.

    :raises StateError: the file cannot be used; it is left as it is.
    """
    with open_storage(path, write) as storage:
        from bpfctl.kernel.kernel import Kernel

        kernel = Kernel(storage)
        kernel.refuses_unmodelled = True
        yield kernel


@contextmanager
def open_storage(
    path: str | None = None, write: bool = True, *, make: bool = True
) -> Iterator[SqlStorage]:
    """Give the bare storage of a state file, as :func:`open_kernel` does.

    :param make: whether a missing file is made; otherwise it is a :class:`StateError`.
    """
    where = path or state_path()
    version = inspect(where)
    if version is None:
        if not make:
            raise StateError(
                f"no state file {where}", hint="make one with 'bpfctl sim new', or check --state"
            )
        create_state(where)
    with sqlite_errors(where):
        conn = connect(where)
        try:
            if not write:
                _upgrade(conn, where)
            _begin(conn, where, write)
            storage = SqlStorage(conn)
            yield from _transaction(storage, write)
        finally:
            conn.close()


def _transaction(storage: SqlStorage, write: bool) -> Iterator[SqlStorage]:
    try:
        yield storage
    except _COMPLETED:
        if write:
            commit(storage)
        raise
    if write:
        commit(storage)


def commit(storage: SqlStorage) -> None:
    """Write all changes and end the transaction; wait for readers to finish first."""
    storage.flush()
    patiently(storage.conn, "COMMIT", _file_of(storage.conn))


def connect(path: str, *, make: bool = False) -> sqlite3.Connection:
    """Open a database without starting a transaction."""
    if tuple(map(int, sqlite3.sqlite_version.split("."))) < _SQLITE_NEEDED:
        raise StateError(
            f"SQLite {sqlite3.sqlite_version} is too old", hint="use a Python with SQLite 3.37 on"
        )
    name = _uri(path, "rwc" if make else "rw")
    conn = sqlite3.connect(name, timeout=SLICE_SECONDS, isolation_level=None, uri=True)
    try:
        for pragma in _PRAGMAS:
            patiently(conn, f"PRAGMA {pragma}", path)
    except UnicodeDecodeError as exc:  # SQLite quotes what it cannot read
        raise damaged(path, "malformed database schema") from exc
    return conn


def _uri(path: str, mode: str) -> str:
    """Name a file to SQLite so that it is not created by accident."""
    full = os.path.abspath(path)
    if os.name == "nt":
        full = "/" + full.replace("\\", "/")
    quoted = "".join(
        chr(byte) if byte in _URI_PLAIN else f"%{byte:02X}" for byte in os.fsencode(full)
    )
    return f"file:{quoted}?mode={mode}"


def _begin(conn: sqlite3.Connection, path: str, write: bool) -> None:
    """Start the transaction, take its lock, and bring an older file up to date."""
    if write:
        patiently(conn, "BEGIN IMMEDIATE", path)
        version = _user_version(conn, path)
        if version < SCHEMA_VERSION:
            _migrate(conn, version)
    else:
        conn.execute("BEGIN")
        _user_version(conn, path)


def _migrate(conn: sqlite3.Connection, version: int) -> None:
    """Bring a file of an older version up to date; what is wrong with it is its own fault."""
    try:
        migrate(conn, version)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise damaged(_file_of(conn), f"rows of version {version} cannot be read") from exc


def _file_of(conn: sqlite3.Connection) -> str:
    return str(conn.execute("PRAGMA database_list").fetchone()[2])


def _upgrade(conn: sqlite3.Connection, path: str) -> None:
    if _user_version(conn, path) < SCHEMA_VERSION:
        _begin(conn, path, write=True)
        patiently(conn, "COMMIT", path)


def _user_version(conn: sqlite3.Connection, path: str) -> int:
    return int(patiently(conn, "PRAGMA user_version", path).fetchone()[0])


def damage(path: str | None = None) -> StateError | None:
    """Return the error that says what is wrong inside the state file, None for a sound one.

    A command that failed for no good reason asks: it trusts the rows that it reads.

    :raises StateError: it cannot be opened.
    """
    from bpfctl.store.check import check_state

    where = path or state_path()
    if inspect(where) is None:
        return None
    with open_storage(where, write=False, make=False) as storage:
        try:
            findings = check_state(storage)
        except sqlite3.DatabaseError:
            raise
        except Exception as exc:  # the check trips over the same row
            findings = [str(exc)]
    return damaged(where, findings[0]) if findings else None


def boot_with(config: Config | None = None) -> Boot:
    """Return a function that starts a kernel in an empty storage; default settings for None."""

    def boot(storage: SqlStorage) -> None:
        from bpfctl.kernel.config import Config
        from bpfctl.kernel.kernel import Kernel

        Kernel.boot(storage, config or Config())

    return boot


def create_state(path: str, boot: Boot | None = None) -> bool:
    """Make a state file with a freshly booted kernel; return whether ``boot`` started it.

    False means that another process made the file at the same time, with a kernel of its own.

    The file appears under its name complete or not at all: it is built as ``PATH-new``, whose
    SQLite lock keeps several makers apart, then renamed.

    :raises StateError: the file cannot be made.
    """
    try:
        make_folder(path)
    except (OSError, ValueError) as exc:
        raise refusal(path, os_error_text(exc)) from exc
    while not os.path.exists(path):
        booted = _build(path, f"{path}-new", boot or boot_with())
        if _move(f"{path}-new", path):
            return booted
    return False


def _build(path: str, building: str, boot: Boot) -> bool:
    """Fill the file ``building``, unless another maker has done so or has finished.

    :raises StateError: there is a file of another program under one of the names.
    """
    try:
        touch(building)
    except (OSError, ValueError) as exc:
        raise refusal(path, f"{building!r}: {os_error_text(exc)}") from exc
    booted = False
    with sqlite_errors(building):
        # Another maker may have taken the file away since.
        conn = connect(building, make=True)
        try:
            patiently(conn, "BEGIN EXCLUSIVE", building)
            if os.path.exists(path):
                _drop(conn, building)
            elif _is_empty(building):
                _clear_journal(path)
                create(conn)
                storage = SqlStorage(conn)
                try:
                    boot(storage)
                except BaseException:
                    unlink(building)
                    raise
                commit(storage)
                booted = True
            elif not _has_our_mark(conn):
                raise refusal(path, f"{building!r} is of another application", "move it away")
        finally:
            conn.close()
    return booted


def _is_empty(building: str) -> bool:
    """Tell whether nobody has written anything; what a maker that died began is undone by then."""
    return os.path.exists(building) and os.path.getsize(building) == 0


def _has_our_mark(conn: sqlite3.Connection) -> bool:
    return bool(conn.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


def _drop(conn: sqlite3.Connection, building: str) -> None:
    """Remove what another maker, who was quicker, has no use for."""
    if _is_empty(building) or _has_our_mark(conn):
        unlink(building)


def _clear_journal(path: str) -> None:
    """Remove the journal of a state that was deleted by hand: it would be applied to the next.

    :raises StateError: it is a file of another program.
    """
    if not is_our_journal(path):
        where = journal_of(path)
        raise refusal(path, f"{where!r} would be taken for its journal", "move that file away")
    unlink(journal_of(path))


def _move(building: str, path: str) -> bool:
    """Give a finished file its name; return False if another maker was quicker."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not os.path.exists(path):
        try:
            rename(building, path)
            return True
        except FileNotFoundError:
            return False
        except OSError as exc:
            # Windows: another maker still has it open.
            if os.name != "nt" or time.monotonic() >= deadline:
                raise refusal(path, os_error_text(exc)) from exc
            time.sleep(0.01)
    return False


def unlink(path: str) -> None:
    try:
        os.unlink(path)
        sync_folder(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        # Windows: another maker has it open, and will take care of it.
        if os.name != "nt":
            raise refusal(path, os_error_text(exc)) from exc


@contextmanager
def replacing(storage: SqlStorage) -> Iterator[None]:
    """Delete all records and elements; take everything back if the block raises.

    An error of a command keeps what the command did, but a machine that did not boot must not
    take the place of another.
    """
    storage.flush()
    storage.conn.execute("SAVEPOINT replacing")
    try:
        for table in all_tables():
            storage.conn.execute(f'DELETE FROM "{table.name}"')
        storage.conn.execute("DELETE FROM elem")
        storage.forget()
        yield
    except BaseException:
        storage.conn.execute("ROLLBACK TO replacing")
        storage.forget()
        raise
