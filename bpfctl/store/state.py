"""Opening the state file: creation, refusals, and one transaction for one command."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bpfctl.errors import Failure, KernelError, StateError, TaskKilled
from bpfctl.store.lite import sqlite3
from bpfctl.store.migrations import SCHEMA_VERSION, create, migrate
from bpfctl.store.path import state_path
from bpfctl.store.schema import APPLICATION_ID, all_tables
from bpfctl.store.sqlite import SqlStorage

if TYPE_CHECKING:
    from bpfctl.kernel.config import Config
    from bpfctl.kernel.kernel import Kernel

# A reader may hold the file as long as a pager shows its output, so writers are patient; they
# wait in slices, between which Ctrl-C gets through.
BUSY_SECONDS: Final = 600.0
SLICE_SECONDS: Final = 1.0

_SQLITE_NEEDED = (3, 37)  # STRICT tables
_MAGIC = b"SQLite format 3\0"
_URI_PLAIN = b"/._-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HEADER_BYTES = 100
_VERSION_AT = 60
_APPLICATION_AT = 68

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
    version = _inspect(where)
    if version is None:
        if not make:
            raise StateError(
                f"no state file {where}", hint="make one with 'bpfctl sim new', or check --state"
            )
        create_state(where)
    with _sqlite_errors(where):
        conn = connect(where)
        try:
            if not write:
                _upgrade(conn)
            _begin(conn, write)
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
    _patiently(storage.conn, "COMMIT")


def connect(path: str, *, make: bool = False) -> sqlite3.Connection:
    """Open a database without starting a transaction."""
    if tuple(map(int, sqlite3.sqlite_version.split("."))) < _SQLITE_NEEDED:
        raise StateError(
            f"SQLite {sqlite3.sqlite_version} is too old", hint="use a Python with SQLite 3.37 on"
        )
    name = _uri(path, "rwc" if make else "rw")
    conn = sqlite3.connect(name, timeout=SLICE_SECONDS, isolation_level=None, uri=True)
    # FULL: a command that reported success is on the disk, whatever happens to the machine.
    try:
        conn.executescript("PRAGMA synchronous = FULL; PRAGMA cache_size = -65536")
    except UnicodeDecodeError as exc:  # SQLite quotes what it cannot read
        raise _damaged(path, "malformed database schema") from exc
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


def _begin(conn: sqlite3.Connection, write: bool) -> None:
    """Start the transaction, take its lock, and bring an older file up to date."""
    if write:
        _patiently(conn, "BEGIN IMMEDIATE")
        version = _user_version(conn)
        if version < SCHEMA_VERSION:
            _migrate(conn, version)
    else:
        conn.execute("BEGIN")
        _user_version(conn)


def _migrate(conn: sqlite3.Connection, version: int) -> None:
    """Bring a file of an older version up to date; what is wrong with it is its own fault."""
    try:
        migrate(conn, version)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        raise _damaged(_file_of(conn), f"rows of version {version} cannot be read") from exc


def _file_of(conn: sqlite3.Connection) -> str:
    return str(conn.execute("PRAGMA database_list").fetchone()[2])


def _upgrade(conn: sqlite3.Connection) -> None:
    if _user_version(conn) < SCHEMA_VERSION:
        _begin(conn, write=True)
        _patiently(conn, "COMMIT")


def _user_version(conn: sqlite3.Connection) -> int:
    return int(_patiently(conn, "PRAGMA user_version").fetchone()[0])


def _patiently(conn: sqlite3.Connection, sql: str) -> sqlite3.Cursor:
    """Execute a statement that may have to wait for other commands."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            return conn.execute(sql)
        except sqlite3.OperationalError as exc:
            if "locked" not in str(exc) or time.monotonic() >= deadline:
                raise


def _inspect(path: str) -> int | None:
    """Return the schema version of a state file, or None if there is no file.

    Looks at the first bytes only, and not through SQLite, which would touch the file.

    :raises StateError: there is something else at ``path``, or a file from a newer version.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise _refusal(path, "it is a directory" if stat.S_ISDIR(mode) else "it is not a file")
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as exc:
        raise _refusal(path, os_error_text(exc)) from exc
    if not header:
        raise _refusal(path, "it is empty", "delete it; the next command makes a new one")
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _refusal(path, "it is not a bpfctl state file")
    if _number(header, _APPLICATION_AT) != APPLICATION_ID:
        raise _refusal(path, "it is an SQLite database of another application")
    version = _number(header, _VERSION_AT)
    if not 1 <= version <= SCHEMA_VERSION:
        raise _refusal(
            path,
            f"it has format {version}, and this bpfctl knows formats 1 to {SCHEMA_VERSION}",
            "use a newer bpfctl",
        )
    return version


def _number(header: bytes, at: int) -> int:
    return int.from_bytes(header[at : at + 4], "big")


def _refusal(path: str, why: str, hint: str = "") -> StateError:
    return StateError(
        f"cannot use state file {path!r}: {why}",
        hint=hint or "choose another file with --state or $BPFCTL_STATE",
    )


def os_error_text(exc: OSError | ValueError) -> str:
    """Return what went wrong with a file of the host, in lower case."""
    text = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
    return text[:1].lower() + text[1:]


@contextmanager
def _sqlite_errors(path: str) -> Iterator[None]:
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
    text = str(exc)
    for part, why, hint in _DATABASE_ERRORS:
        if part in text:
            return _refusal(path, why, hint)
    return _damaged(path, text)


def _damaged(path: str, why: str) -> StateError:
    hint = "take the last 'bpfctl sim export', or start anew with another --state"
    return _refusal(path, f"it is damaged ({why})", hint)


def damage(path: str | None = None) -> StateError | None:
    """Return the error that says what is wrong inside the state file, None for a sound one.

    A command that failed for no good reason asks: it trusts the rows that it reads.

    :raises StateError: it cannot be opened.
    """
    from bpfctl.store.check import check_state

    where = path or state_path()
    if _inspect(where) is None:
        return None
    with open_storage(where, write=False, make=False) as storage:
        try:
            findings = check_state(storage)
        except sqlite3.DatabaseError:
            raise
        except Exception as exc:  # the check trips over the same row
            findings = [str(exc)]
    return _damaged(where, findings[0]) if findings else None


# Part of SQLite's message: what it means here, hint.
_DATABASE_ERRORS = (
    ("readonly", "permission denied: it cannot be written", ""),
    ("unable to open", "its folder cannot be written", ""),
    ("locked", "another command has held it for ten minutes", "end that command, then repeat"),
    ("full", "the disk is full", "free some space, then repeat; the state is as before"),
    ("disk I/O error", "reading or writing failed", "check the disk, then repeat"),
)


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
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    except (OSError, ValueError) as exc:
        raise _refusal(path, os_error_text(exc)) from exc
    while not os.path.exists(path):
        booted = _build(path, f"{path}-new", boot or boot_with())
        if _move(f"{path}-new", path):
            return booted
    return False


def _build(path: str, building: str, boot: Boot) -> bool:
    """Fill the file ``building``, unless another maker has done so or has finished."""
    booted = False
    with _sqlite_errors(path):
        conn = connect(building, make=True)
        try:
            _patiently(conn, "BEGIN EXCLUSIVE")
            if os.path.exists(path):
                _unlink(building)
            elif _user_version(conn) == 0:
                # No state means that a journal of that name is of a file deleted by hand.
                _unlink(f"{path}-journal")
                create(conn)
                storage = SqlStorage(conn)
                try:
                    boot(storage)
                except BaseException:
                    _unlink(building)
                    raise
                commit(storage)
                booted = True
        finally:
            conn.close()
    return booted


def _move(building: str, path: str) -> bool:
    """Give a finished file its name; return False if another maker was quicker."""
    deadline = time.monotonic() + BUSY_SECONDS
    while not os.path.exists(path):
        try:
            os.rename(building, path)
            return True
        except FileNotFoundError:
            return False
        except OSError as exc:
            # Windows: another maker still has it open.
            if os.name != "nt" or time.monotonic() >= deadline:
                raise _refusal(path, os_error_text(exc)) from exc
            time.sleep(0.01)
    return False


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except OSError as exc:
        # Windows: another maker has it open, and will take care of it.
        if os.name != "nt":
            raise _refusal(path, os_error_text(exc)) from exc


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


def reset_state(path: str, boot: Boot) -> None:
    """Replace all that a state file holds by a freshly booted kernel, in one transaction.

    What was there is kept for ``sim undo``.
    """
    from bpfctl.store.backup import keeping

    with (
        open_storage(path, write=True, make=False) as storage,
        keeping(path),
        replacing(storage),
    ):
        boot(storage)


def new_state(path: str, config: Config, force: bool = False) -> None:
    """Make a state file with a kernel of ``config``; with ``force`` also in place of another.

    :raises StateError: there is a file, and not ``force``; or it is not one of ours.
    """
    boot = boot_with(config)
    if os.path.lexists(path):
        if not force:
            raise StateError(
                f"state file {path!r} exists already",
                hint="replace it with --force, or choose another one with --state",
            )
        _replace(path, boot)
    elif not create_state(path, boot):
        reset_state(path, boot)


def _replace(path: str, boot: Boot) -> None:
    """Boot anew in an existing file; one of ours that is of no use any more is deleted first."""
    try:
        reset_state(path, boot)
    except StateError:
        if not _is_spent(path):
            raise
        _unlink(path)
        if not create_state(path, boot):
            reset_state(path, boot)


def _is_spent(path: str) -> bool:
    """Tell whether a file is empty, or bears our mark."""
    try:
        with open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError:
        return False
    ours = header.startswith(_MAGIC) and _number(header, _APPLICATION_AT) == APPLICATION_ID
    return ours or not header
