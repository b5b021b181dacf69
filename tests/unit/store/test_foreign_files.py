"""Files that are not ours stay as they are; ours are made for their owner only."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfctl.store import open_storage
from bpfctl.store.hostfile import whole_file

BPFCTL = [sys.executable, "-m", "bpfctl"]
needs_links = pytest.mark.skipif(os.name == "nt", reason="POSIX")
MAP = ["map", "create", "/sys/fs/bpf/m", "type", "hash", "key", 4, "value", 4, "entries", 4]
MAP += ["name", "m"]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@needs_links
def test_a_new_state_is_its_owners(tmp_path: Path, cli):
    path = tmp_path / "a" / "b" / "state.db"
    old = os.umask(0o022)
    try:
        cli.ok("--state", path, *MAP)
    finally:
        os.umask(old)
    assert [mode_of(p) for p in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]


# --- export -----------------------------------------------------------------------------------


@needs_links
def test_export_follows_a_link_and_keeps_the_mode(tmp_path: Path, cli):
    cli.ok(*MAP)
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    cli.ok("sim", "export", link)
    assert link.is_symlink()
    assert real.read_text().startswith('{"bpfctl-state"')
    assert mode_of(real) == 0o640


@needs_links
def test_export_to_a_device_writes_there(state: Path, cli):
    cli.ok(*MAP)
    cli.ok("sim", "export", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    argv = [*BPFCTL, "--state", str(state), "sim", "export"]
    piped = subprocess.run([*argv, "/dev/stdout"], capture_output=True, check=True, text=True)
    plain = subprocess.run([*argv, "-"], capture_output=True, check=True, text=True)
    assert piped.stdout.startswith(plain.stdout)


@needs_links
def test_export_to_a_fifo_writes_there(tmp_path: Path, cli):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    cli.ok(*MAP)
    with subprocess.Popen(["cat", str(fifo)], stdout=subprocess.PIPE, text=True) as reader:
        cli.ok("sim", "export", fifo)
        text = reader.communicate(timeout=30)[0]
    assert text.startswith('{"bpfctl-state"')
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_export_leaves_files_of_similar_names_alone(tmp_path: Path, cli):
    cli.ok(*MAP)
    part = tmp_path / "out.part"
    part.write_text("mine")
    cli.ok("sim", "export", tmp_path / "out")
    assert part.read_text() == "mine"


def test_a_write_that_fails_leaves_nothing(tmp_path: Path):
    target = tmp_path / "out"
    target.write_text("old")


    def lines() -> Iterator[str]:
        yield "half"
        raise RuntimeError

    with pytest.raises(RuntimeError), whole_file(str(target)) as file:
        file.writelines(lines())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out", "old")]


# --- the state's own names ------------------------------------------------------------------


@needs_links
def test_a_link_to_nothing_is_an_error(tmp_path: Path, cli):
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "missing.db")
    result = cli("--state", link, *MAP)
    assert "it is a link to" in result.stderr
    assert "which is missing" in result.stderr
    assert link.is_symlink()
    assert not (tmp_path / "missing.db").exists()


FOREIGN = {
    "text": b"my notes\n",
    "database": None,  # made below
    "zeros": bytes(64),
}


def foreign(path: Path, kind: str) -> bytes:
    content = FOREIGN[kind]
    if content is None:
        conn = sqlite3.connect(path)
        conn.execute("CREATE TABLE mine (x)")
        conn.execute("INSERT INTO mine VALUES (1)")
        conn.commit()
        conn.close()
        return path.read_bytes()
    path.write_bytes(content)
    return content


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_called_new_is_not_adopted(kind: str, tmp_path: Path, cli):
    beside = tmp_path / "other.db-new"
    content = foreign(beside, kind)
    result = cli("--state", tmp_path / "other.db", *MAP)
    assert result.status == 255
    assert "other.db-new" in result.stderr
    assert beside.read_bytes() == content
    assert not (tmp_path / "other.db").exists()


@needs_links
def test_a_link_called_new_is_not_followed(tmp_path: Path, cli):
    beside, target = tmp_path / "other.db-new", tmp_path / "target"
    beside.symlink_to(target)
    assert cli("--state", tmp_path / "other.db", *MAP).status == 255
    assert beside.is_symlink()
    assert not target.exists()


@pytest.mark.parametrize("kind", ["text", "database"])
def test_a_file_called_journal_is_not_deleted(kind: str, tmp_path: Path, cli):
    beside = tmp_path / "other.db-journal"
    content = foreign(beside, kind)
    result = cli("--state", tmp_path / "other.db", *MAP)
    assert result.status == 255
    assert "would be taken for its journal" in result.stderr
    assert beside.read_bytes() == content


def test_a_file_called_journal_beside_a_state_is_not_deleted(state: Path, cli):
    cli.ok(*MAP)
    beside = Path(f"{state}-journal")
    beside.write_bytes(b"my notes\n")
    result = cli("map", "show")
    assert result.status == 255
    assert "is not a journal of it" in result.stderr
    assert beside.read_bytes() == b"my notes\n"


def test_the_journal_of_another_database_is_not_deleted(tmp_path: Path, cli):
    """A hot journal that SQLite wrote, but not for a state."""
    journal = journal_left_by(tmp_path / "other.db", application_id=7)
    content = journal.read_bytes()
    (tmp_path / "other.db").unlink()
    assert cli("--state", tmp_path / "other.db", *MAP).status == 255
    assert journal.read_bytes() == content


def test_the_journal_of_a_state_that_is_gone_goes_too(tmp_path: Path, cli):
    journal_left_by(tmp_path / "other.db", application_id=0x62706663)
    (tmp_path / "other.db").unlink()
    cli.ok("--state", tmp_path / "other.db", *MAP)
    assert not (tmp_path / "other.db-journal").exists()


def journal_left_by(path: Path, application_id: int) -> Path:
    """Let a process die in a transaction that has written to the database."""
    script = f"""
import os, sqlite3
conn = sqlite3.connect({str(path)!r}, isolation_level=None)
conn.execute("PRAGMA application_id = {application_id}")
conn.execute("CREATE TABLE mine (x)")
conn.execute("PRAGMA cache_size = 1")
conn.execute("BEGIN")
for n in range(2000):
    conn.execute("INSERT INTO mine VALUES (?)", (str(n) * 100,))
os._exit(0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    return Path(f"{path}-journal")


def test_undo_is_made_anew_where_a_file_lies(state: Path, cli):
    """The kept state takes its own name only."""
    cli.ok(*MAP)
    cli.ok("sim", "reset", "--force")
    with open_storage(f"{state}-undo", write=False, make=False):
        pass
