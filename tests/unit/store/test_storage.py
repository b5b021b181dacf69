"""One contract, two storages: whatever holds in memory holds in SQLite, committed or not."""

from __future__ import annotations

import random
import sqlite3

import pytest

from bpfctl.errors import KernelError
from bpfctl.kernel.records import (
    Alloc,
    File,
    LruNode,
    MapRecord,
    Memcg,
    Pin,
    Setting,
    Task,
)
from bpfctl.kernel.storage import MemoryStorage, Storage
from bpfctl.store import sqlite as sqlite_module
from bpfctl.store.migrations import create
from bpfctl.store.sqlite import SqlStorage


def sql_storage() -> SqlStorage:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    create(conn)
    return SqlStorage(conn)


class Harness:
    """A storage, and ``settle()``: what a test does between steps to make it forget."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.storage: Storage = MemoryStorage() if kind == "memory" else sql_storage()

    def settle(self) -> None:
        storage = self.storage
        if self.kind != "memory" and isinstance(storage, SqlStorage):
            storage.flush()
            if self.kind == "sqlite-reopened":
                storage.forget()


@pytest.fixture(params=["memory", "sqlite-cached", "sqlite-flushed", "sqlite-reopened"])
def harness(request: pytest.FixtureRequest) -> Harness:
    made = Harness(request.param)
    if request.param == "sqlite-cached":
        made.settle = lambda: None  # type: ignore[method-assign]
    return made


def test_a_record_is_found_under_its_key(harness):
    tasks = harness.storage.registry(Task)
    tasks.add(Task(7, comm="web", uid=1000, memlock_soft=None, memlock_hard=1 << 62))
    harness.settle()
    assert harness.storage.registry(Task).get(7) == Task(
        7, comm="web", uid=1000, memlock_hard=1 << 62
    )
    assert harness.storage.registry(Task).get(8) is None


def test_get_hands_out_the_same_object(harness):
    harness.storage.registry(Task).add(Task(1))
    harness.settle()
    tasks = harness.storage.registry(Task)
    assert tasks.get(1) is tasks.get(1)


def test_a_change_in_place_is_kept(harness):
    harness.storage.registry(MapRecord).add(MapRecord(1, name=b"a", priv={"n": 1}))
    harness.settle()
    record = harness.storage.registry(MapRecord).get(1)
    record.nr_elems = 5
    record.priv["deep"] = {"list": [1, 2]}
    harness.settle()
    record = harness.storage.registry(MapRecord).get(1)
    assert (record.nr_elems, record.priv) == (5, {"n": 1, "deep": {"list": [1, 2]}})


def test_a_removed_record_is_gone_and_its_key_free(harness):
    tasks = harness.storage.registry(Task)
    tasks.add(Task(1, comm="old"))
    harness.settle()
    tasks = harness.storage.registry(Task)
    tasks.remove(1)
    tasks.remove(99)
    assert tasks.get(1) is None
    assert list(tasks.find()) == []
    assert list(tasks.keys_after(None)) == []
    tasks.add(Task(1, comm="new"))
    harness.settle()
    tasks = harness.storage.registry(Task)
    assert [task.comm for task in tasks.find()] == ["new"]
    tasks.remove(1)
    harness.settle()
    assert harness.storage.registry(Task).get(1) is None


def test_replaced_then_removed_leaves_nothing(harness):
    harness.storage.registry(Task).add(Task(1))
    harness.settle()
    tasks = harness.storage.registry(Task)
    tasks.remove(1)
    tasks.add(Task(1))
    tasks.remove(1)
    harness.settle()
    assert list(harness.storage.registry(Task).keys_after(None)) == []


def test_composite_keys(harness):
    files = harness.storage.registry(File)
    for pid, fd in [(2, 3), (1, 4), (1, 3), (10, 0)]:
        files.add(File(pid, fd, obj_id=pid * 100 + fd))
    harness.settle()
    files = harness.storage.registry(File)
    assert files.get((1, 4)).obj_id == 104
    assert list(files.keys_after(None)) == [(1, 3), (1, 4), (2, 3), (10, 0)]
    assert list(files.keys_after((1, 3))) == [(1, 4), (2, 3), (10, 0)]
    assert [file.fd for file in files.find(pid=1)] == [3, 4]
    files.remove((1, 3))
    assert [file.fd for file in files.find(pid=1)] == [4]


def test_keys_after_merges_what_is_stored_and_what_is_new(harness):
    for key in (1, 4, 6):
        harness.storage.registry(Task).add(Task(key))
    harness.settle()
    tasks = harness.storage.registry(Task)
    tasks.remove(4)
    for key in (2, 5, 9):
        tasks.add(Task(key))
    assert list(tasks.keys_after(None)) == [1, 2, 5, 6, 9]
    assert list(tasks.keys_after(2)) == [5, 6, 9]
    tasks.add(Task(3))
    tasks.remove(5)
    assert list(tasks.keys_after(2)) == [3, 6, 9]
    assert list(tasks.keys_after(9)) == []


def test_find_sees_changes_that_are_not_written(harness):
    for key, comm in [(1, "a"), (2, "b"), (3, "a")]:
        harness.storage.registry(Task).add(Task(key, comm=comm))
    harness.settle()
    tasks = harness.storage.registry(Task)
    tasks.get(1).comm = "b"
    tasks.get(2).comm = "a"
    assert [task.pid for task in tasks.find(comm="a")] == [2, 3]
    assert [task.pid for task in tasks.find(comm="b")] == [1]
    assert [task.pid for task in tasks.find(comm="b", uid=5)] == []


def test_find_by_index_sees_additions_and_removals(harness):
    def owned() -> list[str]:
        allocs = harness.storage.registry(Alloc)
        return [a.label for a in allocs.find(owner_kind="map", owner_id=1)]

    allocs = harness.storage.registry(Alloc)
    for label in ("b", "a"):
        allocs.add(Alloc("map", 1, label, 0, nr=1))
    allocs.add(Alloc("map", 2, "z", 0))
    harness.settle()
    assert owned() == ["a", "b"]
    allocs = harness.storage.registry(Alloc)
    allocs.add(Alloc("map", 1, "c", 0))
    allocs.remove(("map", 1, "a", 0))
    assert owned() == ["b", "c"]
    found = harness.storage.registry(Alloc).find(owner_kind="map", owner_id=1, nr=1)
    assert [a.label for a in found] == ["b"]
    allocs.get(("map", 1, "b", 0)).nr = 2
    assert list(harness.storage.registry(Alloc).find(owner_kind="map", owner_id=1, nr=1)) == []


def test_find_compares_none_and_dicts(harness):
    harness.storage.registry(Memcg).add(Memcg(1, max_pages=None))
    harness.storage.registry(Memcg).add(Memcg(2, max_pages=5))
    harness.storage.registry(MapRecord).add(MapRecord(1, priv={"inner": 2}))
    harness.settle()
    assert [m.id for m in harness.storage.registry(Memcg).find(max_pages=None)] == [1]
    assert [m.id for m in harness.storage.registry(MapRecord).find(priv={"inner": 2})] == [1]
    assert list(harness.storage.registry(MapRecord).find(priv={})) == []


def test_text_keys_sort_by_code_point(harness):
    paths = ["/b", "/a/é", "/a", "/a/z", "/\U0001f600", "/￿", "/Z"]
    for path in paths:
        harness.storage.registry(Pin).add(Pin(path, parent="/"))
    harness.settle()
    assert list(harness.storage.registry(Pin).keys_after(None)) == sorted(paths)
    assert [pin.path for pin in harness.storage.registry(Pin).find(parent="/")] == sorted(paths)


@pytest.mark.parametrize("key", [1 << 70, -(1 << 70)], ids=["huge", "negative"])
def test_keys_beyond_64_bits_are_just_absent(harness, key):
    assert harness.storage.registry(MapRecord).get(key) is None
    harness.storage.registry(MapRecord).remove(key)
    assert list(harness.storage.registry(MapRecord).find(id=key)) == []


def test_text_that_is_not_unicode_is_absent_or_refused():
    storage = sql_storage()
    assert storage.registry(Pin).get("/\udcff") is None
    with pytest.raises(KernelError, match="Invalid argument"):
        storage.registry(Pin).add(Pin("/\udcff"))


def test_negative_keys(harness):
    nodes = harness.storage.registry(LruNode)
    for node in (-2, 5, -1):
        nodes.add(LruNode(1, node, key=bytes([node & 255])))
    harness.settle()
    assert list(harness.storage.registry(LruNode).keys_after((1, -2))) == [(1, -1), (1, 5)]


def test_registry_is_one_object(harness):
    assert harness.storage.registry(Task) is harness.storage.registry(Task)


def cells_of(harness: Harness, map_id: int = 1):
    return harness.storage.cells(map_id)


def test_cells_walk_in_the_order_of_pos(harness):
    cells = cells_of(harness)
    for key, pos in [(b"a", 30), (b"b", 10), (b"c", 20)]:
        cells.put(key, key * 2, pos, pos + 1)
    harness.settle()
    cells = cells_of(harness)
    assert list(cells.rows()) == [
        (b"b", b"bb", 10, 11),
        (b"c", b"cc", 20, 21),
        (b"a", b"aa", 30, 31),
    ]
    assert list(cells.rows(10)) == [(b"c", b"cc", 20, 21), (b"a", b"aa", 30, 31)]
    assert cells.after(None) == (b"b", 10)
    assert cells.after(20) == (b"a", 30)
    assert cells.after(30) is None
    assert cells.get(b"c") == (b"cc", 20, 21)
    assert cells.get(b"z") is None


def test_cells_with_byte_positions(harness):
    cells = cells_of(harness)
    for pos in (b"\x01\xff", b"\x01", b"\x00\x05"):
        cells.put(b"k" + pos, b"", pos)
    harness.settle()
    walked = [pos for _, _, pos, _ in cells_of(harness).rows()]
    assert walked == [b"\x00\x05", b"\x01", b"\x01\xff"]
    assert cells_of(harness).after(b"\x01") == (b"k\x01\xff", b"\x01\xff")


def test_put_replaces_value_and_position(harness):
    cells_of(harness).put(b"a", b"1", 1)
    cells_of(harness).put(b"b", b"2", 2)
    harness.settle()
    cells_of(harness).put(b"a", b"3", 3)
    assert list(cells_of(harness).rows()) == [(b"b", b"2", 2, 0), (b"a", b"3", 3, 0)]
    cells_of(harness).put(b"a", b"4", 3, 9)
    harness.settle()
    assert cells_of(harness).get(b"a") == (b"4", 3, 9)


def test_a_freed_position_can_be_taken_at_once(harness):
    cells_of(harness).put(b"a", b"1", 1)
    cells_of(harness).put(b"b", b"2", 2)
    harness.settle()
    cells = cells_of(harness)
    cells.delete(b"a")
    cells.put(b"c", b"3", 1)
    cells.put(b"b", b"2", 9)
    cells.put(b"d", b"4", 2)
    harness.settle()
    assert list(cells_of(harness).rows()) == [
        (b"c", b"3", 1, 0),
        (b"d", b"4", 2, 0),
        (b"b", b"2", 9, 0),
    ]


def test_delete_and_clear(harness):
    for key in (b"a", b"b", b"c"):
        cells_of(harness).put(key, b"", key[0])
    cells_of(harness, 2).put(b"a", b"other", 1)
    harness.settle()
    cells_of(harness).delete(b"b")
    cells_of(harness).delete(b"nothing")
    assert cells_of(harness).get(b"b") is None
    assert [row[0] for row in cells_of(harness).rows()] == [b"a", b"c"]
    cells_of(harness).clear()
    harness.settle()
    assert list(cells_of(harness).rows()) == []
    assert cells_of(harness).after(None) is None
    assert cells_of(harness, 2).get(b"a") == (b"other", 1, 0)


@pytest.mark.parametrize("seed", range(6))
def test_random_element_changes_agree(seed, monkeypatch):
    monkeypatch.setattr(sqlite_module, "MAX_PENDING", 7)
    rng = random.Random(seed)
    kinds = ("memory", "sqlite-flushed", "sqlite-reopened", "sqlite-cached")
    harnesses = [Harness(kind) for kind in kinds]
    free = list(range(40))
    rng.shuffle(free)
    at: dict[bytes, int] = {}
    for _ in range(400):
        key = bytes([rng.randrange(20)])
        step = rng.choice(["put", "put", "move", "delete", "settle", "clear", "walk", "get"])
        if step in ("put", "move"):
            if key not in at or step == "move":
                taken = free.pop(rng.randrange(len(free)))
                if key in at:
                    free.append(at[key])
                at[key] = taken
            value = rng.randbytes(3)
            for each in harnesses:
                cells_of(each).put(key, value, at[key], 1)
        elif step == "delete":
            if key in at:
                free.append(at.pop(key))
            for each in harnesses:
                cells_of(each).delete(key)
        elif step == "clear" and rng.random() < 0.1:
            free.extend(at.values())
            at.clear()
            for each in harnesses:
                cells_of(each).clear()
        elif step == "settle":
            for each in harnesses[:3]:
                each.settle()
        elif step == "walk":
            walks = [list(cells_of(each).rows()) for each in harnesses]
            assert walks == [walks[0]] * len(walks)
        elif step == "get":
            got = [cells_of(each).get(key) for each in harnesses]
            assert got == [got[0]] * len(got)
    assert [sorted(row[2] for row in cells_of(each).rows()) for each in harnesses] == [
        sorted(at.values())
    ] * len(harnesses)


@pytest.mark.parametrize("seed", range(6))
def test_random_record_changes_agree(seed):
    rng = random.Random(seed)
    kinds = ("memory", "sqlite-flushed", "sqlite-reopened", "sqlite-cached")
    harnesses = [Harness(kind) for kind in kinds]
    present: set[tuple[str, int, str, int]] = set()
    for _ in range(300):
        key = ("map", rng.randrange(3), rng.choice("abc"), rng.randrange(2))
        step = rng.choice(["flip", "flip", "change", "settle", "find", "index", "keys"])
        number = rng.randrange(4)
        seen: list[object] = []
        for each in harnesses:
            registry = each.storage.registry(Alloc)
            if step == "flip":
                if key in present:
                    registry.remove(key)
                else:
                    registry.add(Alloc(*key, nr=number))
            elif step == "change" and key in present:
                record = registry.get(key)
                assert record is not None
                record.nr = number
            elif step == "settle" and each is not harnesses[3]:
                each.settle()
            elif step == "find":
                seen.append([str(found) for found in registry.find(nr=number)])
            elif step == "index":
                seen.append([str(a) for a in registry.find(owner_kind="map", owner_id=key[1])])
            elif step == "keys":
                seen.append(list(registry.keys_after(key)))
        if step == "flip":
            present ^= {key}
        assert seen == seen[:1] * len(seen)


def test_records_that_come_and_go_never_touch_the_file():
    storage = sql_storage()
    task = Task(1)
    storage.registry(Task).add(task)
    storage.cells(1).put(b"k", b"v", 1)
    storage.flush()
    before = storage.conn.total_changes
    storage.registry(File).add(File(1, 3))
    storage.registry(File).remove((1, 3))
    task.uid += 1
    task.uid -= 1
    storage.cells(2).put(b"k", b"v", 1)
    storage.cells(2).delete(b"k")
    storage.flush()
    assert storage.conn.total_changes == before


def test_large_unsigned_numbers_survive(harness):
    top = (1 << 64) - 1
    harness.storage.registry(MapRecord).add(MapRecord(1, map_extra=top))
    harness.storage.registry(Task).add(Task(1, memlock_soft=top - 1, memlock_hard=None))
    harness.settle()
    assert harness.storage.registry(MapRecord).get(1).map_extra == top
    assert harness.storage.registry(Task).get(1).memlock_soft == top - 1
    assert [m.id for m in harness.storage.registry(MapRecord).find(map_extra=top)] == [1]


def test_settings_are_plain_text(harness):
    harness.storage.registry(Setting).add(Setting("cpus", "4"))
    harness.settle()
    assert harness.storage.registry(Setting).get("cpus").value == "4"
