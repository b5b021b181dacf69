"""Values as trees: every kind, plain and JSON, both byte orders."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.format import Object, Raw, Tree, format_value
from bpfctl.btf.types import INT_BOOL, INT_CHAR, INT_SIGNED, BtfError, Int, Kind, Member
from unit.libbpf.objects import opened


def flat(tree: Tree) -> Any:
    """Objects as lists of pairs, raw text marked, so that a test can write them down."""
    if isinstance(tree, Object):
        return [(name, flat(value)) for name, value in tree.members]
    if isinstance(tree, list):
        return [flat(value) for value in tree]
    return ("raw", tree.text) if isinstance(tree, Raw) else tree


def shown(make: BtfBuilder, type_id: int, data: bytes, plain: bool = True) -> Any:
    result = format_value(make.build(), type_id, data, plain)
    assert result.complete
    return flat(result.tree)


INTS = {
    "u8": (1, 0, 8, b"\xfe", 254),
    "s8": (1, INT_SIGNED, 8, b"\xfe", -2),
    "u16": (2, 0, 16, b"\x01\x02", 0x0201),
    "s32": (4, INT_SIGNED, 32, b"\xff\xff\xff\xff", -1),
    "u64": (8, 0, 64, b"\xff" * 8, 2**64 - 1),
    "s64": (8, INT_SIGNED, 64, b"\xfe" + b"\xff" * 7, -2),
    "true": (1, INT_BOOL, 8, b"\x02", True),
    "false": (1, INT_BOOL, 8, b"\x00", False),
    "u24": (4, 0, 24, b"\x01\x02\x03\x04", ("raw", "0x30201")),
    "u128": (16, 0, 128, b"\x02" + b"\0" * 14 + b"\x01", ("raw", f"0x1{'0' * 29}2")),
    "letter": (1, INT_CHAR, 8, b"A", ("raw", '"A"')),
    "control": (1, INT_CHAR, 8, b"\x05", ("raw", "0x5")),
    "high": (1, INT_CHAR, 8, b"\xff", ("raw", "0xff")),
}


@pytest.mark.parametrize("case", INTS)
def test_integers_plain(case: str) -> None:
    size, encoding, bits, data, expected = INTS[case]
    make = BtfBuilder()
    assert shown(make, make.add_int("n", size, encoding, bits), data) == expected


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("u24", "0x30201"),
        ("u128", f"0x1{'0' * 29}2"),
        ("control", ("raw", '"\\u0005"')),
        ("letter", ("raw", '"A"')),
        ("s8", -2),
    ],
)
def test_integers_that_json_writes_differently(case: str, expected: Any) -> None:
    size, encoding, bits, data, _ = INTS[case]
    make = BtfBuilder()
    assert shown(make, make.add_int("n", size, encoding, bits), data, plain=False) == expected


def test_int_with_an_offset_is_a_bit_field() -> None:
    make = BtfBuilder()
    old_style = make.add(Int(Kind.INT, "n", 4, 0, 5, 6))
    assert shown(make, old_style, b"\xe0\x07\0\0") == ("raw", "0x3f")


@pytest.mark.parametrize(
    ("value", "plain", "expected"),
    [(0x1000, True, "0x1000"), (0, True, "(nil)"), (0x1000, False, 4096), (0, False, 0)],
)
def test_pointers(value: int, plain: bool, expected: Any) -> None:
    make = BtfBuilder()
    assert shown(make, make.add_ptr(0), value.to_bytes(8, "little"), plain) == expected


@pytest.mark.parametrize(
    ("size", "signed", "data", "expected"),
    [
        (4, False, b"\x05\0\0\0", "BLUE"),
        (4, False, b"\x06\0\0\0", 6),
        (4, False, b"\xff\xff\xff\xff", "LAST"),
        (4, False, b"\xfe\xff\xff\xff", -2),
        (1, True, b"\xff", "LAST"),
        (8, True, b"\xff" * 8, "LAST"),
        (8, False, b"\xfe" + b"\xff" * 7, -2),
    ],
)
def test_enums(size: int, signed: bool, data: bytes, expected: Any) -> None:
    make = BtfBuilder()
    bits = 64 if size == 8 else 32
    last = -1 if signed else (1 << bits) - 1
    assert shown(make, make.add_enum("e", size, [("BLUE", 5), ("LAST", last)], signed), data) == (
        expected
    )


CHARS = {
    "word": (b"eth0\0\0\0\0", "eth0"),
    "nothing": (b"\0" * 8, ""),
    "rest after the end": (b"ab\0\xff\xff\xff\xff\xff", "ab"),
    "no end": (b"abcdefgh", [97, 98, 99, 100, 101, 102, 103, 104]),
    "unprintable": (b"a\x01\0\0\0\0\0\0", [97, 1, 0, 0, 0, 0, 0, 0]),
    "high": (b"\xc3\xa9\0\0\0\0\0\0", [-61, -87, 0, 0, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("case", CHARS)
def test_arrays_of_char(case: str) -> None:
    data, expected = CHARS[case]
    make = BtfBuilder()
    char = make.add_modifier(Kind.CONST, make.add_int("char", 1, INT_SIGNED))
    assert shown(make, make.add_array(char, 8, char), data) == expected


def test_a_typedef_of_char_is_no_string() -> None:
    make = BtfBuilder()
    char = make.add_typedef("s8", make.add_int("char", 1, INT_SIGNED))
    assert shown(make, make.add_array(char, 2, char), b"a\0") == [97, 0]


@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
def test_bit_fields(big_endian: bool) -> None:
    make = BtfBuilder()
    number = make.add_int("u16", 2)
    made = make.add_struct(
        "s", 4, [Member("a", number, 0, 3), Member("b", number, 3, 7), ("c", number, 16)]
    )
    # Fields fill a word from its low end, or from its high end on big-endian machines.
    a, b = 5, 0x41
    low = a << 13 | b << 6 if big_endian else a | b << 3
    data = struct.pack(">HH" if big_endian else "<HH", low, 7)
    result = format_value(make.build(big_endian), made, data, True)
    assert flat(result.tree) == [("a", ("raw", "0x5")), ("b", ("raw", "0x41")), ("c", 7)]


def test_members_without_a_name_and_names_twice() -> None:
    make = BtfBuilder()
    byte = make.add_int("u8", 1)
    inner = make.add_union("", 1, [("a", byte, 0), ("b", byte, 0)])
    outer = make.add_struct("s", 2, [("", inner, 0), ("", inner, 8)])
    assert shown(make, outer, b"\x01\x02") == [
        ("", [("a", 1), ("b", 1)]),
        ("", [("a", 2), ("b", 2)]),
    ]


def test_sections_list_their_variables() -> None:
    data = opened("globals.bpf.o")
    spec = data.map("globals.data")
    assert spec
    assert spec.data
    assert data.btf
    tree = format_value(data.btf, spec.btf_value_type_id, spec.data, True).tree
    assert flat(tree) == [(".data", [[("started", 42)], [("tag", "hello")], [("hidden", -3)]])]


def test_a_float_ends_the_output() -> None:
    make = BtfBuilder()
    byte = make.add_int("u8", 1)
    double = make.add_float("double", 8)
    made = make.add_struct("s", 24, [("a", byte, 0), ("d", double, 64), ("z", byte, 128)])
    outer = make.add_array(made, 2, byte)
    result = format_value(make.build(), outer, bytes(48), True)
    assert not result.complete
    assert flat(result.tree) == [[("a", 0), ("d", ("raw", "(unsupported-kind"))]]


def test_a_value_may_not_be_a_forward_declaration() -> None:
    make = BtfBuilder()
    fwd = make.add_fwd("f")
    result = format_value(make.build(), fwd, b"", True)
    assert (flat(result.tree), result.complete) == (("raw", "(fwd-kind-invalid)"), False)


def test_too_little_data() -> None:
    make = BtfBuilder()
    with pytest.raises(BtfError, match="too short"):
        shown(make, make.add_int("u32", 4), b"\0\0")


def test_elements_without_size_do_not_run_for_ever() -> None:
    make = BtfBuilder()
    byte = make.add_int("u8", 1)
    last = make.add_struct("empty", 0, [])
    for _ in range(4):
        last = make.add_array(last, 0xFFFF, byte)
    with pytest.raises(BtfError, match="too large to print"):
        shown(make, last, b"")


def test_deep_nesting_is_refused() -> None:
    make = BtfBuilder()
    last = make.add_int("u8", 1)
    for _ in range(3000):
        last = make.add_struct("s", 1, [("m", last, 0)])
    with pytest.raises(BtfError, match="too deep"):
        shown(make, last, b"\0")
