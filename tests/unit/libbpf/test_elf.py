"""ELF files: what is read, and how damage is reported."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from bpfctl.libbpf.elf import parse_elf, read_elf
from bpfctl.libbpf.object_error import ObjectError
from unit.libbpf.objects import OBJECTS, object_path

SHOFF, SHENTSIZE, SHNUM, SHSTRNDX = 40, 58, 60, 62


@pytest.fixture(scope="module")
def good() -> bytes:
    return (OBJECTS / "tail.bpf.o").read_bytes()


def changed(data: bytes, at: int, fmt: str, *values: int) -> bytes:
    out = bytearray(data)
    struct.pack_into("<" + fmt, out, at, *values)
    return bytes(out)


def header_of(data: bytes, name: str) -> int:
    """Offset of the section header of ``name``."""
    found = parse_elf(data, "x").section(name)
    assert found
    (table,) = struct.unpack_from("<Q", data, SHOFF)
    return int(table) + 64 * found.index


def test_sections_symbols_and_relocations(good: bytes) -> None:
    elf = parse_elf(good, "tail.bpf.o")
    code = elf.section("tc")
    assert code
    assert (code.type, code.executable, code.size % 8) == ("SHT_PROGBITS", True, 0)
    names = {symbol.name: symbol for symbol in elf.symbols}
    assert (names["entry"].type, names["entry"].bind, names["entry"].visibility) == (
        "FUNC",
        "GLOBAL",
        "DEFAULT",
    )
    assert [change.symbol.name for change in elf.relocations[code.index]] == ["jump", "jump"]
    assert not elf.big_endian


def test_both_byte_orders_read_alike() -> None:
    little, big = read_elf(object_path("maps.bpf.o")), read_elf(object_path("maps.be.o"))
    assert big.big_endian
    shape = [(found.name, found.type, found.size) for found in little.sections]
    # The string table may be laid out differently.
    assert [each for each in shape if each[0] != ".strtab"] == [
        (found.name, found.type, found.size) for found in big.sections if found.name != ".strtab"
    ]


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    path = str(tmp_path / "none.o")
    with pytest.raises(ObjectError) as caught:
        read_elf(path)
    assert (caught.value.text, caught.value.errno) == (f"{path}: No such file or directory", 2)
    assert caught.value.libbpf_line == f"elf: failed to open {path}: No such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ObjectError, match="Is a directory"):
        read_elf(str(tmp_path))


@pytest.mark.parametrize("data", [b"", b"text", b"\x7fEL"], ids=["empty", "text", "three bytes"])
def test_not_elf(data: bytes) -> None:
    with pytest.raises(ObjectError) as caught:
        parse_elf(data, "x.o")
    assert (caught.value.text, caught.value.errno) == ("x.o: not an ELF file", 4001)
    assert caught.value.libbpf_line == "elf: 'x.o' is not a proper ELF object"


DAMAGE = {
    "32-bit": (lambda d: changed(d, 4, "B", 1), "not a 64-bit ELF file"),
    "class": (lambda d: changed(d, 4, "B", 9), "damaged header"),
    "byte order": (lambda d: changed(d, 5, "B", 9), "damaged header"),
    "program": (lambda d: changed(d, 16, "H", 2), "not a relocatable object"),
    "machine": (lambda d: changed(d, 18, "H", 62), "made for machine EM_X86_64"),
    "header size": (lambda d: changed(d, SHENTSIZE, "H", 0), "section headers of 0 bytes"),
    "headers outside": (lambda d: changed(d, SHOFF, "Q", 1 << 40), "outside the file"),
    "too many headers": (lambda d: changed(d, SHNUM, "H", 60000), "outside the file"),
    "names": (lambda d: changed(d, SHSTRNDX, "H", 77), "damaged section names"),
    "names elsewhere": (lambda d: changed(d, SHSTRNDX, "H", 2), "not in a string table"),
    "cut off": (lambda d: d[:-100], "outside the file"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_of_the_whole_file(good: bytes, case: str) -> None:
    damage, reason = DAMAGE[case]
    with pytest.raises(ObjectError, match=reason) as caught:
        parse_elf(damage(good), "x.o")
    assert caught.value.path == "x.o"


SECTION_DAMAGE = {
    "outside": ("tc", 32, "Q", 1 << 50, "lie outside the file"),
    "entry size": (".symtab", 56, "Q", 1, "entries are not of 24 bytes"),
    "half an entry": (".symtab", 32, "Q", 25, "entries are not of 24 bytes"),
    "strings": (".symtab", 40, "I", 999, "section 999, which does not exist"),
    "wrong strings": (".symtab", 40, "I", 2, "which is no SHT_STRTAB"),
    "symbols": (".reltc", 40, "I", 1, "which is no SHT_SYMTAB"),
    "no symbols": (".reltc", 40, "I", 0, "refers to no section"),
    "target": (".reltc", 44, "I", 999, "section 999, which does not exist"),
}


@pytest.mark.parametrize("case", SECTION_DAMAGE)
def test_damage_of_a_section_names_it(good: bytes, case: str) -> None:
    name, at, fmt, value, reason = SECTION_DAMAGE[case]
    data = changed(good, header_of(good, name) + at, fmt, value)
    with pytest.raises(ObjectError, match=reason) as caught:
        parse_elf(data, "x.o")
    assert caught.value.section == name
    assert caught.value.text.startswith(f"x.o: section '{name}': ")


def test_symbol_in_a_section_that_does_not_exist(good: bytes) -> None:
    at = struct.unpack_from("<Q", good, header_of(good, ".symtab") + 24)[0]
    with pytest.raises(ObjectError, match="in section 200, which does not exist"):
        parse_elf(changed(good, at + 24 + 6, "H", 200), "x.o")


def test_relocation_by_a_symbol_that_does_not_exist(good: bytes) -> None:
    at = struct.unpack_from("<Q", good, header_of(good, ".reltc") + 24)[0]
    with pytest.raises(ObjectError, match="symbol 12345 does not exist"):
        parse_elf(changed(good, at + 12, "I", 12345), "x.o")
