"""BTF as C: order, padding, names, declarators; and types that no compiler makes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.c_dump import dump_c
from bpfctl.btf.types import BtfError, Kind, Member
from bpfctl.libbpf.object import open_btf

OBJECTS = Path(__file__).parents[2] / "data" / "objects"


def body(builder: BtfBuilder, ordered: bool = False, roots=None) -> str:
    """Return the types of a dump, without what stands around them."""
    text = dump_c(builder.build(), roots, ordered)
    text = text.partition("#define __weak __attribute__((weak))\n#endif\n\n")[2]
    return re.split(r"\n/\* BPF kfuncs|#ifndef BPF_NO_PRES", text)[0].strip("\n")


@pytest.fixture
def types():
    """Return a builder with int (1), char (2), long (3) and short (4)."""
    made = BtfBuilder()
    made.add_int("int", 4, 1)
    made.add_int("char", 1, 1)
    made.add_int("long", 8, 1)
    made.add_int("short", 2, 1)
    return made


def member(name, type_id, bit, size=0):
    return Member(name, type_id, bit, size)


def test_a_struct_that_points_to_itself(types):
    node = types.add_struct("node", 16, [member("value", 1, 0)])
    _record(types, node).members.append(member("next", types.add_ptr(node), 64))
    assert body(types) == "struct node {\n\tint value;\n\tstruct node *next;\n};"


def test_structs_that_need_each_other(types):
    a = types.add_struct("a", 8, [])
    b = types.add_struct("b", 16, [member("a", a, 0)])
    pointer = types.add_ptr(b)
    _record(types, a).members.append(member("b", pointer, 0))
    _record(types, b).size = 8
    assert body(types) == (
        "struct b;\n\nstruct a {\n\tstruct b *b;\n};\n\nstruct b {\n\tstruct a a;\n};"
    )


def _record(builder, type_id):
    return next(found for found in builder.types if found.id == type_id)


@pytest.mark.parametrize(
    ("members", "size", "lines"),
    [
        ([("a", 2, 0), ("b", 1, 32)], 8, ["char a;", "int b;"]),
        ([("a", 2, 0), ("b", 2, 16)], 3, ["char a;", "short: 0;", "char b;"]),
        ([("a", 2, 0), ("b", 2, 32)], 5, ["char a;", "int: 0;", "char b;"]),
        ([("a", 2, 0)], 8, ["char a;", "long: 0;"]),
        ([("a", 1, 0, 3), ("b", 1, 5, 2)], 4, ["int a: 3;", "char: 2;", "int b: 2;"]),
        ([("a", 3, 0)], 24, ["long a;", "long: 64;", "long: 64;"]),
        ([("a", 2, 0), ("b", 3, 8)], 9, ["char a;", "long b;"]),
        ([], 0, []),
        ([("a", 1, 0, 4), ("", 1, 32)], 8, ["int a: 4;", "int;"]),
    ],
    ids=["natural", "hole", "aligned hole", "tail", "bits", "long tail", "packed", "empty",
         "nameless"],
)
def test_padding(types, members, size, lines):
    types.add_struct("s", size, [member(*args) for args in members])
    text = body(types)
    inner = [line.strip() for line in text.splitlines()[1:-1]]
    assert inner == lines
    assert text.endswith("__attribute__((packed));") == (lines == ["char a;", "long b;"])


def declared(types, type_id: int) -> str:
    """Return how a typedef of a type is written."""
    types.add_typedef("t", type_id)
    return body(types).rsplit("typedef ", 1)[1].removesuffix(";")


@pytest.mark.parametrize(
    ("build", "want"),
    [
        (lambda b: b.add_ptr(b.add_ptr(1)), "int **t"),
        (lambda b: b.add_array(1, 3, 1), "int t[3]"),
        (lambda b: b.add_array(b.add_array(1, 3, 1), 2, 1), "int t[2][3]"),
        (lambda b: b.add_array(b.add_ptr(1), 2, 1), "int *t[2]"),
        (lambda b: b.add_ptr(b.add_array(1, 3, 1)), "int (*t)[3]"),
        (lambda b: b.add_ptr(b.add_modifier(Kind.CONST, 1)), "const int *t"),
        (lambda b: b.add_modifier(Kind.CONST, b.add_ptr(1)), "int * const t"),
        (lambda b: b.add_ptr(b.add_func_proto(0, [])), "void (*t)(void)"),
        (lambda b: b.add_ptr(b.add_func_proto(1, [("a", 1), ("", 0)])), "int (*t)(int a, ...)"),
        (
            lambda b: b.add_array(b.add_ptr(b.add_func_proto(1, [("", b.add_ptr(2))])), 4, 1),
            "int (*t[4])(char *)",
        ),
        (
            lambda b: b.add_ptr(b.add_func_proto(b.add_ptr(b.add_func_proto(1, [])), [("", 1)])),
            "int (* (*t)(int))(void)",
        ),
        (lambda b: b.add_modifier(Kind.CONST, b.add_array(1, 3, 1)), "int t[3]"),
        (
            lambda b: b.add_ptr(b.add_modifier(Kind.TYPE_TAG, 1, "user")),
            'int __attribute__((btf_type_tag("user"))) *t',
        ),
        (lambda b: b.add_ptr(0), "void *t"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_declarators(types, build, want):
    assert declared(types, build(types)) == want


@pytest.mark.parametrize(
    ("size", "values", "signed", "want"),
    [
        (4, [("A", 1), ("B", 4294967295)], False, "{\n\tA = 1,\n\tB = 4294967295,\n}"),
        (4, [("A", -1)], True, "{\n\tA = -1,\n}"),
        (1, [("A", 1)], False, "{\n\tA = 1,\n} __attribute__((mode(byte)))"),
        (8, [("A", 1)], False, "{\n\tA = 1ULL,\n} __attribute__((mode(word)))"),
        (8, [("A", 1 << 40)], False, "{\n\tA = 1099511627776ULL,\n}"),
        (8, [("A", -1)], True, "{\n\tA = -1LL,\n}"),
    ],
    ids=["unsigned", "signed", "byte", "word", "wide", "wide signed"],
)
def test_enums(types, size, values, signed, want):
    type_id = types.add_enum("e", size, values, signed)
    assert (_record(types, type_id).kind == Kind.ENUM64) == (size == 8)
    assert body(types) == f"enum e {want};"


def test_names_that_clash_get_numbers(types):
    types.add_struct("s", 4, [member("a", 1, 0)])
    types.add_struct("s", 1, [member("a", 2, 0)])
    types.add_enum("", 4, [("X", 1)])
    types.add_enum("", 4, [("X", 2)])
    assert body(types) == (
        "struct s {\n\tint a;\n};\n\nstruct s___2 {\n\tchar a;\n};\n\n"
        "enum {\n\tX = 1,\n};\n\nenum {\n\tX___2 = 2,\n};"
    )


def test_the_first_of_a_sorted_dump_waits_until_it_is_needed(types):
    types.add_enum("first", 4, [("A", 0)])
    types.add_enum("second", 4, [("B", 0)])
    assert body(types, ordered=True) == "enum second {\n\tB = 0,\n};"


def test_sorted_by_kind_and_name(types):
    types.add_struct("z", 4, [member("a", 1, 0)])
    types.add_typedef("u", 4)
    types.add_typedef("b", 1)
    types.add_typedef("a", 1)
    types.add_enum("", 4, [("A", 0)])
    types.add_enum("e", 4, [("B", 0)])
    words = re.findall(r"^(?:typedef|enum|struct).*?(\w+)(?:;| \{)$", body(types, True), re.M)
    assert words == ["e", "a", "b", "u", "z"]


def test_only_what_was_asked_for_and_what_it_needs(types):
    inner = types.add_struct("inner", 4, [member("a", 1, 0)])
    types.add_struct("other", 4, [member("a", 1, 0)])
    outer = types.add_struct("outer", 4, [member("i", inner, 0)])
    text = body(types, roots=[outer])
    assert "struct inner {" in text
    assert "other" not in text
    assert "kfuncs" not in dump_c(types.build(), [outer])


def test_functions_for_programs(types):
    func = types.add_func("bpf_do", types.add_func_proto(1, [("a", 1)]), 1)
    types.add_decl_tag("bpf_kfunc", func)
    types.add_decl_tag("other", func)
    text = dump_c(types.build(), None, False)
    assert text.count("extern int bpf_do(int a) __weak __ksym;\n") == 1


def test_a_struct_in_itself_is_refused(types):
    own = types.add_struct("s", 4, [])
    _record(types, own).members.append(member("s", own, 0))
    with pytest.raises(BtfError):
        dump_c(types.build(), None, False)


def test_deep_types_are_refused(types):
    last = 1
    for _ in range(5000):
        last = types.add_modifier(Kind.CONST, types.add_ptr(last))
    types.add_typedef("deep", last)
    with pytest.raises(BtfError, match="too deeply"):
        dump_c(types.build(), None, False)


def test_types_that_repeat_endlessly_are_refused(types, monkeypatch):
    monkeypatch.setattr("bpfctl.btf.c_decl.MAX_STEPS", 20_000)
    last = types.add_struct("", 4, [member("a", 1, 0)])
    for _ in range(20):
        size = 2 * _record(types, last).size
        last = types.add_struct("", size, [member("a", last, 0), member("b", last, 4 * size)])
    types.add_struct("top", size, [member("x", last, 0)])
    with pytest.raises(BtfError, match="endlessly"):
        dump_c(types.build(), None, False)


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("name", ["maps", "types", "globals", "kinds", "nest"])
@pytest.mark.parametrize("ordered", [False, True], ids=["unsorted", "sorted"])
def test_the_header_compiles(name, ordered, tmp_path):
    path = tmp_path / "types.h"
    path.write_text(dump_c(open_btf(str(OBJECTS / f"{name}.bpf.o")), None, ordered))
    done = subprocess.run(
        [shutil.which("gcc") or "gcc", "-fsyntax-only", "-w", "-x", "c", str(path)],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_enum_without_a_size_is_shown():
    types = BtfBuilder()
    types.add_enum("small", 0, [("A", 0), ("B", 1)])
    text = dump_c(types.build(), ordered=False)
    assert "enum small {\n\tA = 0,\n\tB = 1,\n};\n" in text
