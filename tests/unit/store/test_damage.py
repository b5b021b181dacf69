"""What ``sim check`` and ``sim import`` find when they look inside."""

from __future__ import annotations

import json
import lzma
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfctl.errors import E, KernelError
from bpfctl.libbpf.bpf import Bpf
from bpfctl.store import open_storage

STORED = Path(__file__).parent / "states" / "v1-6.12.db.xz"


def map_of(kind: int) -> str:
    return f"(SELECT min(m.id) FROM map m JOIN elem ON elem.map = m.id WHERE m.type = {kind})"


HASH, ARRAY, PERCPU_HASH, LRU, QUEUE, CPUMAP = 1, 2, 5, 9, 22, 16
# What is done to a sound state, and what is said of it.
DAMAGE = {
    "a long key": (
        f"UPDATE elem SET \"key\" = x'0102030405' WHERE map = {map_of(HASH)}"
        " AND \"key\" = x'01000000'",
        "a key of 5 bytes, not 4",
    ),
    "a short value": (
        f"UPDATE elem SET value = x'00' WHERE map = {map_of(HASH)}",
        "a value of 1 bytes, not 8",
    ),
    "a short per-CPU value": (
        f"UPDATE elem SET value = x'00' WHERE map = {map_of(PERCPU_HASH)}",
        "a value of 1 bytes, not 8 or 16",
    ),
    "an element at another index": (
        f"UPDATE elem SET pos = pos + 100 WHERE map = {map_of(ARRAY)}",
        "lies at",
    ),
    "an index beyond the end": (
        f"INSERT INTO elem VALUES ({map_of(ARRAY)}, 99, x'63000000', zeroblob(8), 0)",
        "is beyond the end",
    ),
    "positions of two types": (
        f"UPDATE elem SET pos = x'00' WHERE map = {map_of(HASH)} AND \"key\" = x'01000000'",
        "positions of elements are not of one type",
    ),
    "a wrong count": ("UPDATE map SET nr_elems = 77 WHERE type = 1", "counts 77 elements"),
    "an LRU list that goes astray": (
        "UPDATE lru_node SET next = node WHERE node > 0 AND next != node",
        "its neighbours do not name it",
    ),
    "a node of a CPU that is not there": ("UPDATE lru_node SET cpu = 9", "there is no CPU 9"),
    "a queue without a head": (
        f"UPDATE map SET priv = '{{\"tail\":0}}' WHERE type = {QUEUE}",
        "a queue without priv.head",
    ),
    "private state of another type": (
        "UPDATE map SET priv = '{\"head\":1}' WHERE type = 1",
        "a hash has no priv.head",
    ),
    "private state of a wrong kind": (
        f"UPDATE map SET priv = '{{\"head\":\"x\",\"tail\":0}}' WHERE type = {QUEUE}",
        "priv.head is 'x'",
    ),
    "a lowered counter of maps": (
        "UPDATE counter SET value = 2 WHERE name = 'map_id'",
        "counter map_id: is 2, and 53 was given out",
    ),
    "a lowered counter of cgroups": (
        "UPDATE counter SET value = 2 WHERE name = 'memcg'",
        "counter memcg: is 2",
    ),
    "no instructions": ("UPDATE prog SET insns = x'b7' WHERE id = 1", "prog 1: 1 bytes"),
    "half an instruction": (
        "UPDATE prog SET insns = x'1800000000000000' WHERE id = 1",
        "prog 1: half of a 64-bit load",
    ),
    "no BTF": ("UPDATE btf SET blob = x'00' WHERE id = 1", "btf 1: "),
    "a trigger": (
        "CREATE TRIGGER t AFTER INSERT ON map BEGIN DELETE FROM pin; END",
        "there is a trigger 't', which is none of ours",
    ),
    "a view": ("CREATE VIEW v AS SELECT 1", "there is a view 'v', which is none of ours"),
    "a table": ("CREATE TABLE x (y)", "there is a table 'x', which is none of ours"),
    "another column": ("ALTER TABLE map ADD COLUMN x INTEGER", "table 'map' is not as we make it"),
    "a dropped index": ("DROP INDEX elem_by_key", "index 'elem_by_key' is missing"),
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "stored.db"
    path.write_bytes(lzma.decompress(STORED.read_bytes()))
    with open_storage(str(path)):  # migrated
        pass
    return path


def execute(path: Path, sql: str) -> None:
    conn = sqlite3.connect(path)
    conn.execute(sql)
    conn.commit()
    conn.close()


@pytest.mark.parametrize("what", DAMAGE)
def test_check_finds(what: str, stored: Path, cli):
    sql, finding = DAMAGE[what]
    assert cli.ok("--state", stored, "sim", "check") == "ok\n"
    execute(stored, sql)
    result = cli("--state", stored, "sim", "check")
    assert result.status == 1
    assert finding in result.stdout


def changed(path: Path, target: Path, change: Callable[[str, dict], None]) -> Path:
    """Write an export of ``path`` with some rows changed."""
    lines = []
    for line in path.read_text().splitlines():
        ((table, fields),) = json.loads(line).items()
        change(table, fields)
        lines.append(json.dumps({table: fields}, separators=(",", ":")))
    target.write_text("\n".join(lines) + "\n")
    return target


def test_an_import_is_refused_whole_with_the_first_ten(stored: Path, tmp_path: Path, cli):
    cli.ok("--state", stored, "sim", "export", tmp_path / "good")

    def damage(table: str, fields: dict) -> None:
        if table == "map" and fields["type"] == HASH:
            fields["nr_elems"] = 77
        elif table == "prog":
            fields["insns"] = "b7"

    text = changed(tmp_path / "good", tmp_path / "bad", damage)
    before = cli.ok("map", "show")
    result = cli("sim", "import", "--force", text)
    assert result.status == 255
    assert result.stderr.count("\n  ") == 9
    assert "findings in all; nothing was changed" in result.stderr
    assert cli.ok("map", "show") == before


def test_a_record_that_is_new_replaces_nothing(stored: Path, cli):
    """A lowered counter does not let the next cgroup take another's place."""
    execute(stored, "UPDATE counter SET value = 2 WHERE name = 'memcg'")
    before = cli.ok("--state", stored, "memcg", "tree")
    result = cli("--state", stored, "memcg", "create", "/fresh")
    assert result.status == 255
    assert "it is damaged (counter memcg: is 2" in result.stderr
    assert cli.ok("--state", stored, "memcg", "tree") == before


def test_a_walk_in_a_circle_ends():
    class Circle:
        def bpf(self, pid: int, cmd: object, attr: object) -> bytes:
            key = getattr(attr, "key", None)
            return b"\0" if key is None else bytes([3 + (key[0] + 1) % 7])

    walked: list[bytes] = []
    with pytest.raises(KernelError) as ended:
        walked.extend(Bpf(Circle(), 1).map_keys(3))  # type: ignore[arg-type]
    assert ended.value.code == E.LOOP
    assert len(walked) < 40
