"""Versions of the tables: frozen steps, and stored files of each version that still work."""

from __future__ import annotations

import hashlib
import json
import lzma
import shutil
import sqlite3
from pathlib import Path

import pytest

import bpfctl.store.migrations
from bpfctl.kernel.kernel import Kernel
from bpfctl.store import migrations, open_kernel, open_storage
from bpfctl.store.check import check_state
from bpfctl.store.check_schema import shape
from bpfctl.store.schema import all_tables
from conftest import Cli

FOLDER = Path(bpfctl.store.migrations.__file__).parent
STATES = Path(__file__).parent / "states"
FILES = sorted(STATES.glob("*.db.xz"))
DIGESTS = Path(__file__).parent / "migrations.sha256"


def unpacked(source: Path, target: Path) -> Path:
    with lzma.open(source) as file, open(target, "wb") as out:
        shutil.copyfileobj(file, out)
    return target


def test_every_version_has_a_step_that_is_never_edited():
    steps = sorted(FOLDER.glob("v*.py"))
    assert [file.stem for file in steps] == [
        f"v{number:03}" for number in range(1, migrations.SCHEMA_VERSION + 1)
    ]
    # A step that is on the main branch has run on somebody's file. A new one gets a line here:
    # sha256sum v*.py, in the folder of the migrations.
    kept = dict(line.split()[::-1] for line in DIGESTS.read_text().splitlines())
    now = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in steps}
    assert now == kept


def test_all_steps_together_make_the_tables_of_the_records():
    made = sqlite3.connect(":memory:", isolation_level=None)
    migrations.create(made)
    led = sqlite3.connect(":memory:", isolation_level=None)
    migrations.migrate(led, 0)
    assert shape(led) == shape(made)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".db")[0])
def test_stored_files_show_what_they_did(file: Path, tmp_path: Path, cli: Cli):
    path = unpacked(file, tmp_path / "old.db")
    shown = json.loads(lzma.decompress(Path(str(file)[:-3] + ".shown.json.xz").read_bytes()))
    for argv, status, text in shown:
        if argv[0] == "memcg" and "v1-5" in file.name:
            # Version 6 corrects charges of 5.11; memory.stat of 5.10 and 5.11 lacks two fields.
            continue
        result = cli("--state", path, *argv)
        assert (result.status, result.stdout) == (status, text), argv


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".db")[0])
def test_stored_files_are_migrated_and_used(file: Path, tmp_path: Path, cli: Cli):
    path = str(unpacked(file, tmp_path / "old.db"))
    with open_storage(path, write=False) as storage:
        version = storage.conn.execute("PRAGMA user_version").fetchone()[0]
        assert version == migrations.SCHEMA_VERSION
        assert set(shape(storage.conn)) >= {("table", table.name) for table in all_tables()}
        assert check_state(storage) == []
    where = ("--state", path)
    hash_ = ("pinned", "/sys/fs/bpf/types/hash")
    key, value = ("key", 9, 0, 0, 0), ("value", *range(8))
    cli.ok(*where, "map", "update", *hash_, *key, *value)
    assert "09 00 00 00" in cli.ok(*where, "map", "dump", *hash_)
    cli.ok(*where, "map", "create", "/sys/fs/bpf/new", "type", "array", "key", 4,
           "value", 4, "entries", 1, "name", "new")
    assert cli.ok(*where, "sim", "check") == "ok\n"
    take_everything_down(path)


def take_everything_down(path: str) -> None:
    """End all tasks but init and remove all pins: nothing is charged to anybody then."""
    with open_kernel(path) as kernel:
        while (pids := [pid for pid in kernel.tasks.keys_after(None) if pid > 2]):
            kernel.exit_task(pids[0])
        for pin, _, _ in list(kernel.bpffs.pins()):
            kernel.unlink(pin)
        assert left_of(kernel) == []
    with open_storage(path, write=False) as storage:
        assert check_state(storage) == []


def left_of(kernel: Kernel) -> list[object]:
    return [*kernel.maps.records.keys_after(None), *kernel.progs.records.keys_after(None)]


def test_what_a_migration_cannot_read_is_damage(tmp_path: Path, cli: Cli):
    path = unpacked(STATES / "v1-6.12.db.xz", tmp_path / "old.db")
    conn = sqlite3.connect(path)
    conn.execute("UPDATE map SET priv = '[' WHERE id = 3")
    conn.commit()
    conn.close()
    before = path.read_bytes()
    result = cli("--state", path, "map", "show")
    assert result.status == 255
    assert "it is damaged (rows of version 1 cannot be read)" in result.stderr
    assert path.read_bytes() == before


def test_exports_of_an_older_version_are_imported(tmp_path: Path, cli: Cli):
    path = unpacked(STATES / "v1-6.12.db.xz", tmp_path / "old.db")
    text = unpacked(STATES / "v1-6.12.jsonl.xz", tmp_path / "old.jsonl")
    cli.ok("sim", "import", text)
    assert cli.ok("sim", "check") == "ok\n"
    assert cli.ok("sim", "diff", path, tmp_path / "state.db") == ""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"map":{"id":1}}', "map: column 'type' is missing"),
        ('{"link":{"id":1}}', "unknown table 'link'"),
        ('{"counter":{"name":"x","value":1,"odd":1}}', "counter has no column 'odd'"),
        ('{"counter":{"name":"x","value":"one"}}', "counter.value: not a value of its type"),
    ],
)
def test_older_exports_are_held_to_their_own_tables(line: str, why: str, tmp_path: Path, cli: Cli):
    text = tmp_path / "old.jsonl"
    text.write_text(f'{{"bpfctl-state":{{"format":1}}}}\n{line}\n')
    result = cli("sim", "import", text)
    assert result.status == 255
    assert f"line 2: {why}" in result.stderr
