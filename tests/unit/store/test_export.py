"""The text form: exact both ways, and robust against whatever a file may hold."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest

from bpfctl.errors import StateError
from bpfctl.kernel.records import RECORDS, Counter, MapRecord, ProgRecord, Setting, Task
from bpfctl.store.diff import differences
from bpfctl.store.export import export_lines, import_lines
from bpfctl.store.migrations import SCHEMA_VERSION, create
from bpfctl.store.schema import Table
from bpfctl.store.sqlite import SqlStorage


def empty() -> SqlStorage:
    conn = sqlite3.connect(":memory:", isolation_level=None)
    conn.execute("BEGIN")
    create(conn)
    return SqlStorage(conn)


SAMPLES: dict[str, Any] = {
    "int": 7,
    "int | None": None,
    "str": 'dé"j\\à \U0001f600\n',
    "bytes": b"\0\xff'",
    "dict[str, Any]": {"list": [1, -2, None], "text": "\0"},
}


def filled() -> SqlStorage:
    """Rows in every table, with every kind of value."""
    storage = empty()
    for cls in RECORDS:
        table = Table(cls)
        storage.registry(cls).add(cls(*[SAMPLES[table.types[name]] for name in table.columns]))
    storage.registry(MapRecord).add(MapRecord(2, map_extra=(1 << 64) - 1, name=b"b"))
    storage.registry(Task).add(Task(1, memlock_soft=(1 << 64) - 1, memlock_hard=0))
    storage.cells(2).put(b"\0", b"", 1 << 62, -1)
    storage.cells(2).put(b"", b"\xff" * 5, 3)
    storage.cells(3).put(b"k", b"v", b"\0pos")
    return storage


def text_of(storage: SqlStorage) -> list[bytes]:
    return [line.encode() for line in export_lines(storage)]


def test_import_of_an_export_is_the_same_state():
    storage = filled()
    lines = text_of(storage)
    copy = empty()
    assert import_lines(copy, lines, "x") == len(lines) - 2
    assert text_of(copy) == lines
    assert list(differences(storage, copy)) == []
    for cls in RECORDS:
        assert list(copy.registry(cls).find()) == list(storage.registry(cls).find())
    assert list(copy.cells(2).rows()) == list(storage.cells(2).rows())
    assert list(copy.cells(3).rows()) == [(b"k", b"v", b"\0pos", 0)]


def test_export_is_readable_and_ordered():
    storage = empty()
    storage.registry(Counter).add(Counter("z", 1))
    storage.registry(Counter).add(Counter("a", 2))
    storage.registry(Setting).add(Setting("kernel", "5.10"))
    storage.cells(4).put(b"\x01\0", b"\xab", 9)
    assert list(export_lines(storage)) == [
        HEADER,
        '{"setting":{"name":"kernel","value":"5.10"}}',
        '{"counter":{"name":"a","value":2}}',
        '{"counter":{"name":"z","value":1}}',
        '{"elem":{"map":4,"pos":9,"key":"0100","value":"ab","aux":0}}',
        '{"end":{"lines":4}}',
    ]


HEADER = f'{{"bpfctl-state":{{"format":1,"version":{SCHEMA_VERSION}}}}}'
SETTING = '{"setting":{"name":"a","value":"b"}}'
USER = '{"user":{"uid":%s,"locked_vm_pages":0}}'
ELEM = '{"elem":{"map":1,"pos":%s,"key":"%s","value":"","aux":0}}'

HOSTILE = {
    "nothing": ([], 1, "there is no text"),
    "empty line": ([""], 1, "not JSON"),
    "binary": ([b"\xff\xfe\0"], 1, "not UTF-8 text"),
    "an SQLite file": ([b"SQLite format 3\0"], 1, "not JSON"),
    "another JSON": (['{"a":{}}'], 1, "not an export of bpfctl"),
    "an array": (["[1]"], 1, "expected an object with one member"),
    "deep": ([HEADER, "[" * 100_000], 2, "nested too deeply"),
    "newer": (['{"bpfctl-state":{"format":2}}'], 1, "format 2, this bpfctl knows 1"),
    "cut": ([HEADER, SETTING], 3, "the text ends too early"),
    "cut in a line": ([HEADER, SETTING[:20]], 2, "not JSON"),
    "a line lost": (
        [HEADER, SETTING, '{"end":{"lines":2}}'],
        3,
        "1 rows were read, 2 were written",
    ),
    "more behind": (
        [HEADER, '{"end":{"lines":0}}', SETTING],
        3,
        "text behind the last line",
    ),
    "unknown table": ([HEADER, '{"sqlite_master":{}}'], 2, "unknown table 'sqlite_master'"),
    "not an object": ([HEADER, '{"setting":3}'], 2, "'setting' must be an object"),
    "no column": (
        [HEADER, '{"setting":{"name":"a"}}'],
        2,
        "setting: column 'value' is missing",
    ),
    "unknown column": (
        [HEADER, '{"setting":{"name":"a","value":"b","x\\" y":1}}'],
        2,
        "setting has no column 'x\" y'",
    ),
    "member twice": (
        [HEADER, '{"setting":{"name":"a","name":"b","value":"c"}}'],
        2,
        "a member is there twice",
    ),
    "row twice": ([HEADER, SETTING, SETTING], 3, "there was a row with this key before"),
    "text for number": (
        [HEADER, USER % '"1"'],
        2,
        "user.uid: expected a whole number of 64 bits",
    ),
    "fraction": ([HEADER, USER % "1.5"], 2, "user.uid: expected a whole number of 64 bits"),
    "truth": ([HEADER, USER % "true"], 2, "user.uid: expected a whole number of 64 bits"),
    "null": ([HEADER, USER % "null"], 2, "user.uid: expected a whole number of 64 bits"),
    "65 bits": ([HEADER, USER % (1 << 64)], 2, "user.uid: expected a whole number of 64 bits"),
    "endless digits": ([HEADER, USER % ("9" * 10_000)], 2, None),
    "nan": ([HEADER, USER % "NaN"], 2, "NaN is not a number"),
    "half a character": (
        [HEADER, '{"setting":{"name":"\\ud800","value":""}}'],
        2,
        "not UTF-8 text",
    ),
    "odd hex": ([HEADER, ELEM % (1, "abc")], 2, "elem.key: expected bytes in hexadecimal"),
    "blank in hex": ([HEADER, ELEM % (1, "a b")], 2, "elem.key: expected bytes in hexadecimal"),
    "no position": (
        [HEADER, ELEM % ("null", "ab")],
        2,
        "elem.pos: expected a whole number of 64 bits",
    ),
    "position twice": (
        [HEADER, ELEM % (1, "aa"), ELEM % (1, "bb")],
        3,
        "there was a row with this key before",
    ),
}


@pytest.mark.parametrize(("lines", "number", "reason"), HOSTILE.values(), ids=list(HOSTILE))
def test_bad_text_is_refused_with_line_and_reason(lines, number, reason):
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    with pytest.raises(StateError) as caught:
        import_lines(empty(), raw, "file.jsonl")
    assert caught.value.text.startswith(f"cannot import file.jsonl, line {number}: ")
    if reason is not None:
        assert caught.value.text.endswith(f": {reason}")
    assert "nothing was changed" in str(caught.value.hint)


def test_every_truncation_of_an_export_is_refused():
    lines = text_of(filled())
    for keep in range(len(lines)):
        with pytest.raises(StateError):
            import_lines(empty(), lines[:keep], "x")
    for line in (lines[3], lines[-2]):
        at = lines.index(line)
        for cut in range(0, len(line), 7):
            with pytest.raises(StateError):
                import_lines(empty(), [*lines[:at], line[:cut], *lines[at + 1 :]], "x")


def test_differences_name_what_was_added_removed_and_changed():
    a, b = filled(), filled()
    b.registry(Setting).add(Setting("new", "1"))
    b.registry(ProgRecord).remove(7)
    a_task, b_task = a.registry(Task).get(1), b.registry(Task).get(1)
    assert a_task is not None
    assert b_task is not None
    b_task.uid = 5
    b.cells(2).put(b"\0", b"new", 99)
    b.cells(2).put(b"\x01", b"", 98)
    b.cells(3).put(b"k", b"v", b"elsewhere")
    a.flush()
    b.flush()
    found = [(d.table, d.key, d.change, d.fields) for d in differences(a, b)]
    assert found[0] == ("setting", {"name": "new"}, "added", {"value": "1"})
    assert found[1] == ("task", {"pid": 1}, "changed", {"uid": (0, 5)})
    assert (found[2][0], found[2][1], found[2][2]) == ("prog", {"id": 7}, "removed")
    assert found[3:] == [
        ("elem", {"map": 2, "key": "00"}, "changed", {"value": ("", "6e6577")}),
        ("elem", {"map": 2, "key": "01"}, "added", {"value": ""}),
    ]
    json.dumps([d[3] for d in found])
    reverse = [d.change for d in differences(b, a)]
    assert reverse == ["removed", "changed", "added", "changed", "removed"]
