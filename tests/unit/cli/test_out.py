"""Plain rows and the JSON layout."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfctl.cli.app.out import JsonWriter, Out, hex_rows, quote


def written(pretty, write):
    parts = []
    write(JsonWriter(parts.append, pretty))
    return "".join(parts)


def listing(writer):
    writer.begin_array()
    for number in (1, 2):
        writer.begin_object()
        writer.member("id", number)
        writer.name("key")
        writer.hex_array(bytes([number, 0]))
        writer.name("none")
        writer.hex_array(b"")
        writer.end_object()
    writer.begin_array()
    writer.end_array()
    writer.end_array()


def test_compact():
    assert written(False, listing) == (
        '[{"id":1,"key":["0x01","0x00"],"none":[]},{"id":2,"key":["0x02","0x00"],"none":[]},[]]'
    )


def test_pretty():
    assert written(True, listing) == (
        "[{\n"
        '        "id": 1,\n'
        '        "key": ["0x01","0x00"\n'
        "        ],\n"
        '        "none": []\n'
        "    },{\n"
        '        "id": 2,\n'
        '        "key": ["0x02","0x00"\n'
        "        ],\n"
        '        "none": []\n'
        "    },[]\n"
        "]"
    )


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(min_codepoint=32)),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(min_codepoint=32)), inner)
    ),
    max_leaves=20,
)


def write(writer, tree):
    if isinstance(tree, dict):
        writer.begin_object()
        for name, value in tree.items():
            writer.name(name)
            write(writer, value)
        writer.end_object()
    elif isinstance(tree, list):
        writer.begin_array()
        for value in tree:
            write(writer, value)
        writer.end_array()
    elif tree is None:
        writer.null()
    elif isinstance(tree, bool):
        writer.boolean(tree)
    elif isinstance(tree, int):
        writer.number(tree)
    else:
        writer.string(tree)


@given(tree=trees, pretty=st.booleans())
def test_any_tree_is_json(tree, pretty):
    assert json.loads(written(pretty, lambda writer: write(writer, tree))) == tree


def test_only_seven_escapes():
    assert quote('a\t\n\r\f\b\\"/\x01é') == '"a\\t\\n\\r\\f\\b\\\\\\"/\x01é"'


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, ""),
        (1, "00"),
        (8, "00 01 02 03 04 05 06 07"),
        (9, "00 01 02 03 04 05 06 07  08"),
        (16, "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f"),
        (17, "00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f\n10"),
    ],
)
def test_hex_rows(size, text):
    assert hex_rows(bytes(range(size))) == text


def test_error_nests_in_open_json(capsys):
    out = Out()
    out.use_json(pretty=False)
    assert out.json is not None
    out.json.begin_array()
    out.error('a "b"')
    out.json.close_all()
    out.flush()
    assert capsys.readouterr() == ('[{"error":"a "b""}]', "")


def test_close_all_after_a_name():
    writer_parts = []
    writer = JsonWriter(writer_parts.append, pretty=False)
    writer.begin_array()
    writer.begin_object()
    writer.name("output")
    writer.null()
    writer.close_all()
    assert "".join(writer_parts) == '[{"output":null}]'


def test_streams_keep_their_order(monkeypatch):
    seen = []
    monkeypatch.setattr("bpfctl.cli.app.out._write", lambda stream, text: seen.append(text))
    out = Out()
    out.put("one")
    out.err("two")
    out.put("three")
    out.flush()
    assert seen == ["one", "two", "three"]


def test_held_output_waits(capsys):
    out = Out()
    out.hold = True
    out.put("x")
    out.checkpoint()
    assert capsys.readouterr().out == ""
    out.flush()
    assert capsys.readouterr().out == "x"


@pytest.mark.parametrize(
    ("rule", "own", "as_json", "shown"),
    [
        ("", False, False, False),
        ("", True, False, True),
        ("always", False, False, True),
        ("never", True, False, False),
        ("always", True, True, False),
    ],
)
def test_when_hints_show(monkeypatch, capsys, rule, own, as_json, shown):
    monkeypatch.setenv("BPFCTL_HINTS", rule)
    out = Out()
    out.own = own
    if as_json:
        out.use_json(pretty=False)
    out.hint("raise it")
    out.flush()
    assert capsys.readouterr().err == ("hint: raise it\n" if shown else "")
