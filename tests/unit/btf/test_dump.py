"""Raw type dumps: the lines and the JSON records, and prototypes."""

from __future__ import annotations

import json
import subprocess

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.dump import dump_raw, dump_records, prototype, type_text
from bpfctl.btf.types import FUNC_GLOBAL, INT_SIGNED, VAR_GLOBAL, Kind, Member
from bpfctl.libbpf.object import open_btf
from unit.libbpf.objects import OBJECTS, object_path

BY_CLANG = sorted(p.name for p in OBJECTS.glob("*.bpf.o") if not p.name.startswith("gcc"))

LINES = """\
[1] INT 'int' size=4 bits_offset=0 nr_bits=32 encoding=SIGNED
[2] PTR '(anon)' type_id=1
[3] STRUCT 'pair' size=8 vlen=2
\t'a' type_id=1 bits_offset=0
\t'b' type_id=1 bits_offset=32 bitfield_size=4
[4] ENUM 'color' encoding=UNSIGNED size=4 vlen=2
\t'RED' val=0
\t'LAST' val=4294967295
[5] FUNC_PROTO '(anon)' ret_type_id=1 vlen=2
\t'ctx' type_id=2
\t'(anon)' type_id=0
[6] FUNC 'f' type_id=5 linkage=global
[7] ARRAY '(anon)' type_id=1 index_type_id=1 nr_elems=3
[8] VAR 'x' type_id=1, linkage=global
[9] DATASEC '.bss' size=0 vlen=1
\ttype_id=8 offset=0 size=4 (VAR 'x')
[10] FWD 'fwd' fwd_kind=struct
[11] ENUM64 'e' encoding=UNSIGNED size=8 vlen=1
\t'BIG' val=18446744073709551615ULL
[12] ENUM64 's' encoding=SIGNED size=8 vlen=1
\t'NEG' val=-1LL
[13] FLOAT 'double' size=8
[14] DECL_TAG 't' type_id=3 component_idx=-1
[15] TYPE_TAG 'user' type_id=1
[16] STRUCT '(anon)' size=0 vlen=0
[17] ENUM 'sign' encoding=SIGNED size=4 vlen=1
\t'NEG' val=-1
[18] INT 'odd' size=4 bits_offset=0 nr_bits=32 encoding=(none)
[19] UNION 'u' size=4 vlen=1
\t'a' type_id=1 bits_offset=0
[20] CONST '(anon)' type_id=1
[21] TYPEDEF 'num' type_id=20
"""


def example() -> BtfBuilder:
    make = BtfBuilder()
    number = make.add_int("int", 4, INT_SIGNED)
    pointer = make.add_ptr(number)
    pair = make.add_struct("pair", 8, [("a", number, 0), Member("b", number, 32, 4)])
    make.add_enum("color", 4, [("RED", 0), ("LAST", 0xFFFFFFFF)])
    proto = make.add_func_proto(number, [("ctx", pointer), ("", 0)])
    make.add_func("f", proto, FUNC_GLOBAL)
    make.add_array(number, 3, number)
    variable = make.add_var("x", number, VAR_GLOBAL)
    make.add_datasec(".bss", 0, [(variable, 0, 4)])
    make.add_fwd("fwd")
    make.add_enum("e", 8, [("BIG", 2**64 - 1)])
    make.add_enum("s", 8, [("NEG", -1)], signed=True)
    make.add_float("double", 8)
    make.add_decl_tag("t", pair)
    make.add_modifier(Kind.TYPE_TAG, number, "user")
    make.add_struct("", 0, [])
    make.add_enum("sign", 4, [("NEG", -1)], signed=True)
    make.add_int("odd", 4)
    make.add_union("u", 4, [("a", number, 0)])
    const = make.add_modifier(Kind.CONST, number)
    make.add_typedef("num", const)
    return make


def test_lines_of_every_kind() -> None:
    assert list(dump_raw(example().build())) == LINES.splitlines()


def test_chosen_types_only() -> None:
    first, second = LINES.splitlines()[:2]
    assert list(dump_raw(example().build(), [2, 1])) == [second, first]


def test_records_have_the_keys_in_print_order() -> None:
    records = dump_records(example().build())
    assert records[2] == {
        "id": 3,
        "kind": "STRUCT",
        "name": "pair",
        "size": 8,
        "vlen": 2,
        "members": [
            {"name": "a", "type_id": 1, "bits_offset": 0},
            {"name": "b", "type_id": 1, "bits_offset": 32, "bitfield_size": 4},
        ],
    }
    assert [list(record)[3:] for record in records[:2]] == [
        ["size", "bits_offset", "nr_bits", "encoding"],
        ["type_id"],
    ]


def test_unsigned_enum_values_are_sign_extended_in_json_only() -> None:
    color = dump_records(example().build())[3]
    assert [value["val"] for value in color["values"]] == [0, 2**64 - 1]


@pytest.mark.parametrize(
    ("type_id", "text"),
    [
        (0, "void "),
        (1, "int "),
        (2, "int * "),
        (3, "struct pair "),
        (4, "enum color "),
        (7, "int [3]"),
        (10, "struct fwd "),
        (19, "union u "),
        (20, "const int "),
        (21, "num "),
    ],
)
def test_type_texts(type_id: int, text: str) -> None:
    assert type_text(example().build(), type_id) == text


def test_prototypes() -> None:
    btf = example().build()
    assert prototype(btf, 6) == "int f(int * ctx, ...)"
    assert prototype(btf, 1) == ""


def test_texts_without_end_are_left_out() -> None:
    make = BtfBuilder()
    last = number = make.add_int("int", 4)
    for _ in range(3000):
        last = make.add_ptr(last)
    proto = make.add_func_proto(last, [])
    deep = make.add_func("deep", proto, FUNC_GLOBAL)
    for _ in range(20):
        proto = make.add_func_proto(number, [("", proto)] * 9)
    wide = make.add_func("wide", proto, FUNC_GLOBAL)
    long = make.add_func("n" * 1020, make.add_func_proto(number, []), FUNC_GLOBAL)
    btf = make.build()
    assert [prototype(btf, each) for each in (deep, wide, long)] == ["", "", ""]


@pytest.mark.needs("bpftool")
@pytest.mark.parametrize("name", BY_CLANG)
def test_same_as_bpftool(name: str) -> None:
    path = object_path(name)
    plain = subprocess.run(
        ["bpftool", "btf", "dump", "file", path], capture_output=True, text=True, check=True
    ).stdout
    as_json = subprocess.run(
        ["bpftool", "-j", "btf", "dump", "file", path], capture_output=True, text=True, check=True
    ).stdout
    btf = open_btf(path)
    assert "".join(f"{line}\n" for line in dump_raw(btf)) == plain
    assert json.dumps({"types": dump_records(btf)}, separators=(",", ":")) == as_json.strip()
