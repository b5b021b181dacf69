"""BTF: what a builder writes is what a parser reads, in both byte orders; damage is named."""

from __future__ import annotations

import struct

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import Btf, parse_btf, swap_order
from bpfctl.btf.types import (
    FUNC_GLOBAL,
    INT_BOOL,
    INT_SIGNED,
    VAR_STATIC,
    BtfError,
    Kind,
    Member,
)


def all_kinds() -> BtfBuilder:
    """One type of each kind at least."""
    make = BtfBuilder()
    number = make.add_int("int", 4, INT_SIGNED)
    make.add_int("bool", 1, INT_BOOL)
    node = make.add_ptr(number + 3)
    make.add_struct("node", 24, [("next", node, 0), ("value", number, 64), ("low", number, 96)])
    make.add_union("either", 4, [("a", number, 0)])
    make.add_struct("bits", 4, [Member("lo", number, 0, 3), Member("hi", number, 3, 29)])
    make.add_array(number, 3, number)
    make.add_enum("color", 4, [("RED", 0), ("BLUE", -5)], signed=True)
    make.add_enum("wide", 8, [("BIG", 1 << 40)])
    make.add_fwd("later", is_union=True)
    const = make.add_modifier(Kind.CONST, number)
    volatile = make.add_modifier(Kind.VOLATILE, const)
    make.add_modifier(Kind.RESTRICT, node)
    tag = make.add_modifier(Kind.TYPE_TAG, volatile, "user")
    make.add_typedef("number_t", tag)
    proto = make.add_func_proto(number, [("ctx", node), ("", 0)])
    func = make.add_func("main", proto, FUNC_GLOBAL)
    variable = make.add_var("hits", number, VAR_STATIC)
    make.add_datasec(".data", 8, [(variable, 4, 4)])
    make.add_float("double", 8)
    make.add_decl_tag("export", func, 0)
    make.add_decl_tag("whole", func)
    return make


@pytest.mark.parametrize("big_endian", [False, True], ids=["little", "big"])
def test_every_kind_survives_writing_and_reading(big_endian: bool) -> None:
    make = all_kinds()
    btf = make.build(big_endian)
    assert btf.types == make.types
    assert {found.kind for found in btf} == set(Kind) - {Kind.VOID}
    assert btf.big_endian is big_endian


def test_swapping_the_byte_order_gives_the_other_encoding() -> None:
    make = all_kinds()
    assert swap_order(make.build()) == make.encode(big_endian=True)
    assert swap_order(parse_btf(make.encode(big_endian=True))) == make.encode()


def test_builder_on_a_parsed_blob_keeps_ids_and_strings() -> None:
    btf = all_kinds().build()
    again = BtfBuilder(btf)
    assert again.encode() == btf.raw
    first_new = again.add_int("int", 4)
    assert first_new == len(btf.types)
    assert again.build().strings == btf.strings  # "int" was there


def test_builder_does_not_change_what_it_started_from() -> None:
    btf = all_kinds().build()
    again = BtfBuilder(btf)
    again.types[1].name = "renamed"
    assert btf.type(1).name == "int"


@pytest.fixture(scope="module")
def btf() -> Btf:
    return all_kinds().build()


@pytest.mark.parametrize(
    ("name", "size", "align"),
    [
        ("int", 4, 4),
        ("bool", 1, 1),
        ("node", 24, 8),
        ("either", 4, 4),
        ("bits", 4, 4),
        ("color", 4, 4),
        ("wide", 8, 8),
        ("number_t", 4, 4),
        ("hits", 4, 4),
        ("double", 8, 8),
    ],
)
def test_sizes_and_alignment(btf: Btf, name: str, size: int, align: int) -> None:
    found = btf.find(name)
    assert found is not None
    assert (btf.size_of(found.id), btf.align_of(found.id)) == (size, align)


def test_arrays_multiply() -> None:
    make = BtfBuilder()
    number = make.add_int("int", 4)
    inner = make.add_array(number, 3, number)
    outer = make.add_array(inner, 5, number)
    btf = make.build()
    assert (btf.size_of(outer), btf.align_of(outer)) == (60, 4)


def test_packed_structs_align_to_one() -> None:
    make = BtfBuilder()
    number = make.add_int("int", 4)
    packed = make.add_struct("packed", 5, [("c", number, 8)])
    assert make.build().align_of(packed) == 1


@pytest.mark.parametrize("name", ["later", "main"])
def test_types_without_size(btf: Btf, name: str) -> None:
    found = btf.find(name)
    assert found is not None
    with pytest.raises(BtfError, match="has no size"):
        btf.size_of(found.id)


def test_resolve_looks_through_names_and_qualifiers(btf: Btf) -> None:
    found = btf.find("number_t")
    assert found is not None
    assert btf.resolve(found.id).name == "int"


def test_find_by_kind(btf: Btf) -> None:
    assert btf.find("hits", Kind.VAR) is not None
    assert btf.find("hits", Kind.FUNC) is None
    assert btf.find("nobody") is None


def test_an_id_that_does_not_exist(btf: Btf) -> None:
    with pytest.raises(BtfError, match="type id 999 does not exist"):
        btf.type(999)


def test_too_large_a_type_is_refused_when_asked() -> None:
    make = BtfBuilder()
    number = make.add_int("int", 4)
    row = make.add_array(number, 0xFFFFFFFF, number)
    table = make.add_array(row, 0xFFFFFFFF, number)
    with pytest.raises(BtfError, match="larger than 4 GiB"):
        make.build().size_of(table)


def test_split_blob_continues_ids_and_strings() -> None:
    base = all_kinds().build()
    offset = len(base.strings)
    strings = b"extra\0"
    words = struct.pack("<3I", offset, Kind.TYPEDEF << 24, 1)
    header = struct.pack("<HBBI4I", 0xEB9F, 1, 0, 24, 0, len(words), len(words), len(strings))
    split = parse_btf(header + words + strings, base)
    assert split.first_id == len(base.types)
    assert split.type(split.first_id).name == "extra"
    assert split.resolve(split.first_id).name == "int"


def blob(
    words: list[int], strings: bytes = b"\0a\0", hdr: tuple[int, ...] = (0xEB9F, 1, 0, 24)
) -> bytes:
    size = 4 * len(words)
    header = struct.pack("<HBBI4I", *hdr, 0, size, size, len(strings))
    return header + struct.pack(f"<{len(words)}I", *words) + strings


def word(kind: Kind, vlen: int = 0) -> int:
    return kind << 24 | vlen


DAMAGED = {
    "empty": (b"", "too few for a header"),
    "magic": (b"\0" * 24, "wrong magic number"),
    "version": (blob([], hdr=(0xEB9F, 9, 0, 24)), "unknown version 9"),
    "short header": (blob([], hdr=(0xEB9F, 1, 0, 8)), "header length 8"),
    "long header": (blob([], hdr=(0xEB9F, 1, 0, 1 << 31)), "header length"),
    "no strings": (blob([], strings=b""), "start and end with a zero byte"),
    "open string": (blob([], strings=b"\0a"), "start and end with a zero byte"),
    "types cut off": (blob([1, word(Kind.INT), 4])[:-4], "type section does not fit"),
    "kind": (blob([1, 31 << 24, 0]), "unknown kind 31"),
    "void": (blob([1, 0, 0]), "unknown kind 0"),
    "reserved": (blob([1, word(Kind.PTR) | 1 << 20, 0]), "reserved bits"),
    "half a type": (blob([1, word(Kind.INT), 4]), "cut off"),
    "half a struct": (blob([1, word(Kind.STRUCT, 9), 4, 1, 1, 0]), "cut off"),
    "name": (blob([77, word(Kind.PTR), 0]), "string offset 77"),
    "name not text": (blob([1, word(Kind.PTR), 0], b"\0\xff\0"), "is not text"),
    "int size": (blob([1, word(Kind.INT), 3, 24]), "int of 3 bytes"),
    "int bits": (blob([1, word(Kind.INT), 1, 9]), "9 bits"),
    "enum size": (blob([1, word(Kind.ENUM), 3]), "enum of 3 bytes"),
    "float size": (blob([1, word(Kind.FLOAT), 3]), "float of 3 bytes"),
    "member outside": (blob([1, word(Kind.STRUCT, 1), 4, 1, 1, 40]), "lies outside"),
    "dangling": (blob([1, word(Kind.PTR), 2]), "refers to type 2"),
    "self": (blob([1, word(Kind.TYPEDEF), 1]), "contains itself"),
    "own member": (blob([1, word(Kind.STRUCT, 1), 4, 1, 1, 0]), "contains itself"),
    "own element": (blob([0, word(Kind.ARRAY), 0, 1, 1, 2]), "contains itself"),
    "two steps": (blob([0, word(Kind.CONST), 2, 0, word(Kind.VOLATILE), 1]), "contains itself"),
    "pointers only": (blob([0, word(Kind.PTR), 2, 0, word(Kind.PTR), 1]), "defined by itself"),
    "function": (blob([1, word(Kind.FUNC), 0]), "without a prototype"),
    "section": (blob([1, word(Kind.DATASEC, 1), 4, 2, 0, 4, 0, word(Kind.PTR), 0]), "no variable"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damage_is_named(case: str) -> None:
    data, reason = DAMAGED[case]
    with pytest.raises(BtfError, match=reason):
        parse_btf(data)


def test_a_struct_may_point_to_itself() -> None:
    make = BtfBuilder()
    pointer = make.add_ptr(2)
    make.add_struct("list", 8, [("next", pointer, 0)])
    assert make.build().size_of(2) == 8


def test_errors_carry_the_place() -> None:
    with pytest.raises(BtfError) as caught:
        parse_btf(blob([1, 31 << 24, 0]))
    assert caught.value.offset == 36
    assert caught.value.reason == "type 1: unknown kind 31"
    assert caught.value.text == "BTF is malformed at byte 36: type 1: unknown kind 31"


def test_deep_nesting_is_no_recursion() -> None:
    make = BtfBuilder()
    last = make.add_int("int", 4)
    for _ in range(5000):
        last = make.add_modifier(Kind.CONST, last)
    assert make.build().size_of(last) == 4


def test_alignment_of_deep_or_repeating_structs_ends() -> None:
    make = BtfBuilder()
    last = make.add_int("int", 4)
    for _ in range(100):
        last = make.add_struct("s", 4, [("a", last, 0), ("b", last, 0)])
    assert make.build().align_of(last) == 4
    for _ in range(3000):
        last = make.add_struct("s", 4, [("a", last, 0)])
    with pytest.raises(BtfError, match="has no alignment"):
        make.build().align_of(last)
