"""The state before the last command that replaced it as a whole, kept as ``PATH-undo``."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bpfctl.errors import StateError
from bpfctl.store.hostfile import os_error_text, rename
from bpfctl.store.schema import ELEM_COLUMNS, all_tables
from bpfctl.store.sqlite import SqlStorage
from bpfctl.store.state import connect, open_storage, replacing


def backup_path(path: str) -> str:
    """Return where the last state of a state file is kept."""
    return f"{path}-undo"


@contextmanager
def keeping(path: str) -> Iterator[None]:
    """Keep a copy of what is committed in ``path``, if the block that replaces it succeeds.

    The caller is in a transaction that writes.

    :raises StateError: there is no room for it; nothing has changed then.
    """
    part = f"{backup_path(path)}.{os.getpid()}"
    _copy(path, part)
    try:
        yield
        rename(part, backup_path(path))
    except BaseException:
        os.unlink(part)
        raise


def _copy(path: str, made: str) -> None:
    """Copy a database into a new file."""
    try:
        # Made here, so that nobody else's file is written to.
        os.close(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _mode(path)))
        try:
            with closing(connect(path)) as source, closing(connect(made)) as target:
                source.backup(target)
        except BaseException:
            os.unlink(made)
            raise
    except (OSError, sqlite3.Error) as exc:
        why = os_error_text(exc) if isinstance(exc, OSError) else str(exc)
        raise StateError(f"cannot keep the old state as {made!r}: {why}") from exc


def _mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def undo(path: str) -> None:
    """Bring the kept state back; what is there now is kept in its place.

    :raises StateError: none is kept.
    """
    kept = backup_path(path)
    if not os.path.exists(kept):
        raise StateError(
            f"no earlier state of {path!r} is kept",
            hint="'sim new --force', 'sim reset' and 'sim import' keep what they replace",
        )
    with (
        open_storage(path) as storage,
        keeping(path),
        open_storage(kept, write=False, make=False) as earlier,
        replacing(storage),
    ):
        _take_over(earlier, storage)


def _take_over(source: SqlStorage, target: SqlStorage) -> None:
    """Insert all rows of another state into an empty one."""
    tables = [(table.name, table.columns) for table in all_tables()]
    for name, columns in [*tables, ("elem", ELEM_COLUMNS)]:
        listed = ", ".join(f'"{column}"' for column in columns)
        rows = source.conn.execute(f'SELECT {listed} FROM "{name}"')
        marks = ", ".join("?" * len(columns))
        target.conn.executemany(f'INSERT INTO "{name}" ({listed}) VALUES ({marks})', rows)
    target.forget()
