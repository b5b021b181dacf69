"""Opening the state file: made once, refused when it is not ours, one transaction a command."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from pathlib import Path

import pytest

from bpfctl.errors import CommandError, E, KernelError, StateError, TaskKilled
from bpfctl.kernel.records import Counter, Setting, Task
from bpfctl.store import file, migrations, state
from bpfctl.store.path import default_path, state_path
from bpfctl.store.renew import reset_state
from bpfctl.store.schema import APPLICATION_ID
from bpfctl.store.sqlite import SqlStorage
from bpfctl.store.state import create_state, open_storage


def boot(storage: SqlStorage) -> None:
    storage.registry(Setting).add(Setting("kernel", "test"))


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = str(tmp_path / "a %?#é" / "state.db")
    assert create_state(made, boot)
    return made


def uid_of(path: str) -> int | None:
    with open_storage(path, write=False) as storage:
        task = storage.registry(Task).get(5)
        return None if task is None else task.uid


def add_task(path: str, error: BaseException | None = None, write: bool = True) -> None:
    with open_storage(path, write=write) as storage:
        storage.registry(Task).add(Task(5, uid=7))
        storage.cells(1).put(b"k", b"v", 0)
        if error is not None:
            raise error


def test_create_leaves_one_file(path):
    assert os.listdir(os.path.dirname(path)) == ["state.db"]
    with open_storage(path) as storage:
        assert storage.registry(Setting).get("kernel") == Setting("kernel", "test")
    with sqlite3.connect(path) as conn:
        assert conn.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert conn.execute("PRAGMA user_version").fetchone() == (migrations.SCHEMA_VERSION,)


def test_create_leaves_an_existing_state_alone(path):
    add_task(path)
    assert not create_state(path, boot)
    assert uid_of(path) == 7


def test_a_failing_boot_leaves_nothing(tmp_path):
    def fail(storage: SqlStorage) -> None:
        raise CommandError("unknown kernel '1.0'")

    with pytest.raises(CommandError, match="unknown kernel"):
        create_state(str(tmp_path / "state.db"), fail)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_maker_left_is_taken_over(tmp_path):
    path = str(tmp_path / "state.db")
    Path(f"{path}-new").write_bytes(b"")
    assert create_state(path, boot)
    assert os.listdir(tmp_path) == ["state.db"]


def test_a_journal_without_its_file_does_not_spoil_a_new_one(path):
    add_task(path)
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("PRAGMA cache_size = 1")
    conn.execute("BEGIN")
    conn.executemany("INSERT INTO user VALUES (?, 0)", [(n,) for n in range(5000)])
    hot = Path(f"{path}-journal").read_bytes()
    conn.close()
    os.unlink(path)
    Path(f"{path}-journal").write_bytes(hot)
    assert create_state(path, boot)
    assert uid_of(path) is None


@pytest.mark.parametrize(
    "error",
    [None, KernelError(E.NOMEM), CommandError("no"), TaskKilled("/a")],
    ids=["none", "KernelError", "CommandError", "TaskKilled"],
)
def test_outcomes_of_the_simulated_kernel_are_kept(path, error):
    if error is None:
        add_task(path)
    else:
        with pytest.raises(type(error)):
            add_task(path, error)
    assert uid_of(path) == 7


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_other_exceptions_change_nothing(path, error):
    with pytest.raises(type(error)):
        add_task(path, error)
    assert uid_of(path) is None
    with open_storage(path) as storage:
        assert storage.cells(1).get(b"k") is None


def test_readers_change_nothing(path):
    before = Path(path).read_bytes()
    add_task(path, write=False)
    assert Path(path).read_bytes() == before
    assert uid_of(path) is None


def test_a_reader_sees_one_state_throughout(path):
    with open_storage(path, write=False) as storage:
        assert storage.registry(Task).get(5) is None
        other = sqlite3.connect(path, timeout=0)
        other.execute("DELETE FROM setting")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.commit()
        other.close()
        assert storage.registry(Setting).get("kernel") is not None


def test_reset_replaces_everything(path):
    add_task(path)
    reset_state(path, lambda storage: storage.registry(Counter).add(Counter("new", 1)))
    with open_storage(path) as storage:
        assert list(storage.registry(Task).find()) == []
        assert storage.cells(1).get(b"k") is None
        assert storage.registry(Setting).get("kernel") is None
        assert storage.registry(Counter).get("new") is not None


@pytest.mark.parametrize("error", [ValueError(), CommandError("unknown kernel")], ids=repr)
def test_a_failing_reset_changes_nothing(path, error):
    def fail(storage: SqlStorage) -> None:
        storage.registry(Counter).add(Counter("half", 1))
        raise error

    add_task(path)
    with pytest.raises(type(error)):
        reset_state(path, fail)
    with open_storage(path) as storage:
        assert storage.registry(Counter).get("half") is None
        assert storage.cells(1).get(b"k") == (b"v", 0, 0)
    assert uid_of(path) == 7


def test_a_missing_file_is_made_only_if_wanted(tmp_path):
    path = str(tmp_path / "state.db")
    with pytest.raises(StateError, match="no state file"):
        with open_storage(path, make=False):
            pass
    assert os.listdir(tmp_path) == []


def sqlite_file(path: Path, *pragmas: str) -> None:
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE t (x)")
    for pragma in pragmas:
        conn.execute(f"PRAGMA {pragma}")
    conn.commit()
    conn.close()


OURS = f"application_id = {APPLICATION_ID}"
NEWER = migrations.SCHEMA_VERSION + 1
REFUSED = {
    "empty": (lambda p: p.write_bytes(b""), "it is empty"),
    "text": (lambda p: p.write_text("hello" * 100), "it is not a bpfctl state file"),
    "short": (lambda p: p.write_bytes(b"SQLite format 3\0"), "it is not a bpfctl state file"),
    "directory": (lambda p: p.mkdir(), "it is a directory"),
    "other SQLite": (lambda p: sqlite_file(p), "an SQLite database of another application"),
    "newer": (
        lambda p: sqlite_file(p, OURS, f"user_version = {NEWER}"),
        f"it has format {NEWER}, and this bpfctl knows formats 1 to {NEWER - 1}",
    ),
    "format 0": (lambda p: sqlite_file(p, OURS), "it has format 0"),
    "no tables": (lambda p: sqlite_file(p, OURS, "user_version = 1"), "it is damaged"),
}


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("write", [True, False], ids=["write", "read"])
def test_what_is_not_ours_is_refused_and_untouched(tmp_path, make, why, write):
    path = tmp_path / "state.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StateError) as caught:
        with open_storage(str(path), write) as storage:
            storage.registry(Task).get(1)
    assert why in caught.value.text
    assert "\n" not in caught.value.text + str(caught.value.hint)
    assert caught.value.hint
    assert (path.read_bytes() if path.is_file() else None) == before
    assert os.listdir(tmp_path) == ["state.db"]


@pytest.mark.parametrize("how", ["truncated", "zeroed", "noise"])
def test_damage_is_reported_as_such(path, how):
    with open_storage(path) as storage:
        for number in range(3000):
            storage.cells(1).put(number.to_bytes(8, "big"), b"v" * 50, number)
    content = bytearray(Path(path).read_bytes())
    if how == "truncated":
        del content[len(content) // 2 :]
    else:
        middle = slice(4096, len(content))
        size = len(content) - 4096
        content[middle] = bytes(size) if how == "zeroed" else b"\xa5" * size
    Path(path).write_bytes(content)
    with pytest.raises(StateError, match="damaged"), open_storage(path, write=False) as storage:
        list(storage.cells(1).rows())
    assert Path(path).read_bytes() == content


def test_odd_paths_are_refused(tmp_path):
    for path in (f"{tmp_path}/{'x' * 5000}", f"{tmp_path}/a\0b", "/dev/null", "/dev/null/x"):
        with pytest.raises(StateError, match="cannot use state file"):
            with open_storage(path):
                pass


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere"
)
@pytest.mark.parametrize("what", ["file", "folder"])
def test_permission_denied(path, what):
    target = path if what == "file" else os.path.dirname(path)
    os.chmod(target, stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StateError, match="cannot use state file"):
        add_task(path)
    os.chmod(target, stat.S_IRWXU)
    assert uid_of(path) is None


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("attempt to write a readonly database", "permission denied"),
        ("unable to open database file", "its folder cannot be written"),
        ("database is locked", "another command holds it"),
        ("database or disk is full", "the disk is full"),
        ("disk I/O error", "reading or writing failed"),
        ("database disk image is malformed", "it is damaged (database disk image is malformed)"),
    ],
)
def test_errors_of_the_database_become_sentences(path, message, why):
    with pytest.raises(StateError) as caught:
        with open_storage(path):
            raise sqlite3.OperationalError(message)
    assert why in caught.value.text


def test_older_files_are_migrated_once(path, monkeypatch):
    calls = []

    def step(conn: sqlite3.Connection, version: int) -> None:
        calls.append(version)
        conn.execute("CREATE TABLE added (x INTEGER) STRICT")
        conn.execute(f"PRAGMA user_version = {version}")

    add_task(path)
    newer = migrations.SCHEMA_VERSION + 1
    monkeypatch.setattr(migrations, "step", step)
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", newer)
    monkeypatch.setattr(state, "SCHEMA_VERSION", newer)
    monkeypatch.setattr(file, "SCHEMA_VERSION", newer)
    assert uid_of(path) == 7
    assert uid_of(path) == 7
    with open_storage(path) as storage:
        assert list(storage.conn.execute("SELECT * FROM added")) == []
    assert calls == [newer]


def test_which_file(monkeypatch, tmp_path):
    monkeypatch.setenv("BPFCTL_STATE", "from-env")
    assert state_path("option", "toml") == "option"
    assert state_path(None, "toml") == "from-env"
    monkeypatch.delenv("BPFCTL_STATE")
    assert state_path(None, "toml") == "toml"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_path().endswith("state.db")


@pytest.mark.parametrize("base", ["", "/somewhere"], ids=["unset", "set"])
def test_default_path_is_that_of_platformdirs(monkeypatch, base):
    from platformdirs import user_state_dir

    monkeypatch.setenv("XDG_STATE_HOME", base)
    assert default_path() == os.path.join(user_state_dir("bpfctl", appauthor=False), "state.db")
