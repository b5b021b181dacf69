"""ELF object files of BPF programs: sections, symbols, relocations.

Imports pyelftools; import this module when an object is opened, not before.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from bpfctl.libbpf.object_error import NOT_ELF, ObjectError

_SHDR_BYTES = 64
_ENTRY_BYTES = {"SHT_SYMTAB": 24, "SHT_REL": 16, "SHT_RELA": 24}


@dataclass(slots=True)
class Section:
    """A section header and its bytes; NOBITS sections have a ``size`` but no ``data``.

    ``type`` is the name that the ELF specification gives it, such as ``"SHT_PROGBITS"``.
    """

    index: int
    name: str
    type: str
    flags: int
    size: int
    data: bytes
    link: int
    info: int

    @property
    def executable(self) -> bool:
        """Whether the section holds instructions (SHF_EXECINSTR)."""
        return bool(self.flags & 4)


@dataclass(slots=True)
class Symbol:
    """``section`` is a section index, 0 if undefined, -1 for absolute and common symbols.

    ``bind``, ``type`` and ``visibility`` drop the prefix: ``"GLOBAL"``, ``"FUNC"``, ``"HIDDEN"``.
    """

    name: str
    section: int
    value: int
    size: int
    type: str
    bind: str
    visibility: str


@dataclass(slots=True)
class Relocation:
    """``offset`` in bytes from the start of the section that is changed."""

    offset: int
    symbol: Symbol
    addend: int = 0


@dataclass(slots=True)
class ElfObject:
    """All of one file. ``relocations`` maps a section index to what changes that section."""

    path: str
    big_endian: bool
    sections: list[Section]
    symbols: list[Symbol]
    relocations: dict[int, list[Relocation]] = field(default_factory=dict)

    def section(self, name: str) -> Section | None:
        """Return the first section called ``name``."""
        return next((found for found in self.sections if found.name == name), None)

    def error(self, reason: str, section: str = "") -> ObjectError:
        """Return an error that names this file."""
        return ObjectError(self.path, reason, section)


def read_elf(path: str) -> ElfObject:
    """Open and check the object file ``path``.

    :raises ObjectError: unreadable, not a relocatable 64-bit EM_BPF file, or damaged.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as exc:
        raise ObjectError(path, exc.strerror or str(exc), errno=exc.errno or 0) from None
    except ValueError as exc:  # a NUL byte in the name
        raise ObjectError(path, str(exc), errno=2) from None
    return parse_elf(data, path)


def parse_elf(data: bytes, path: str) -> ElfObject:
    """Check and read an object file given as bytes; ``path`` only names it in errors."""
    if data[:4] != b"\x7fELF":
        raise ObjectError(path, NOT_ELF)
    with _blaming(path, "header"):
        elf = ELFFile(io.BytesIO(data))
        header = elf.header
        is_64_bit = elf.elfclass == 64
    if not is_64_bit:
        raise ObjectError(path, "not a 64-bit ELF file")
    # Before LLVM knew the machine, its number was 0; libbpf takes that, too.
    if header["e_machine"] not in ("EM_BPF", "EM_NONE"):
        raise ObjectError(path, f"made for machine {header['e_machine']}, not EM_BPF")
    if header["e_type"] != "ET_REL":
        raise ObjectError(path, f"not a relocatable object ({header['e_type']})")
    if header["e_shentsize"] != _SHDR_BYTES:
        raise ObjectError(path, f"section headers of {header['e_shentsize']} bytes")
    with _blaming(path, "section headers"):
        count = elf.num_sections()
    # Checked here: pyelftools would look for each of up to 2**64 sections.
    if header["e_shoff"] + count * _SHDR_BYTES > len(data):
        raise ObjectError(path, "the section headers lie outside the file")
    found = ElfObject(path, not elf.little_endian, [], [])
    # Typed sections parse their contents at once; plain headers leave that to the checks below.
    headers = [_section_header(elf, path, index) for index in range(count)]
    names = _section_names(elf, path, headers)
    for index, fields in enumerate(headers):
        found.sections.append(_section(path, data, index, names[index], fields))
    _read_symbols(elf, found)
    return found


@contextmanager
def _blaming(path: str, what: str) -> Iterator[None]:
    """Turn whatever pyelftools raises on damaged data into an :class:`ObjectError`.

    Damage reaches it as its own errors, or as any error of the tables and texts inside.
    """
    try:
        yield
    except (ELFError, LookupError, ValueError, AttributeError, TypeError, ArithmeticError) as exc:
        raise ObjectError(path, f"damaged {what}: {exc}") from exc
    except AssertionError as exc:
        raise ObjectError(path, f"damaged {what}") from exc


def _section_header(elf: ELFFile, path: str, index: int) -> Any:
    with _blaming(path, f"header of section {index}"):
        return elf._get_section_header(index)


def _section_names(elf: ELFFile, path: str, headers: list[Any]) -> list[str]:
    with _blaming(path, "section names"):
        table = headers[elf.get_shstrndx()] if headers else None
        strings = _bytes_at(elf, path, table)
        return [_cstring(strings, fields["sh_name"]) for fields in headers]


def _bytes_at(elf: ELFFile, path: str, fields: Any) -> bytes:
    if fields is None:
        return b""
    if fields["sh_type"] != "SHT_STRTAB":
        raise ObjectError(path, "section names are not in a string table")
    elf.stream.seek(fields["sh_offset"])
    strings: bytes = elf.stream.read(fields["sh_size"])
    return strings


def _cstring(strings: bytes, offset: int) -> str:
    end = strings.find(b"\0", offset)
    if offset >= len(strings) or end < 0:
        raise ValueError(f"name offset {offset} is out of range")
    return strings[offset:end].decode()


def _section(path: str, data: bytes, index: int, name: str, fields: Any) -> Section:
    kind = str(fields["sh_type"])
    offset, size = fields["sh_offset"], fields["sh_size"]
    stored = kind not in ("SHT_NOBITS", "SHT_NULL")
    if stored and offset + size > len(data):
        reason = f"bytes {offset} to {offset + size} lie outside the file ({len(data)} bytes)"
        raise ObjectError(path, reason, name)
    if kind in _ENTRY_BYTES:
        if fields["sh_entsize"] != _ENTRY_BYTES[kind] or size % _ENTRY_BYTES[kind]:
            raise ObjectError(path, f"entries are not of {_ENTRY_BYTES[kind]} bytes", name)
        if fields["sh_link"] == 0:
            raise ObjectError(path, "refers to no section", name)
    return Section(
        index,
        name,
        kind,
        fields["sh_flags"],
        size,
        data[offset : offset + size] if stored else b"",
        fields["sh_link"],
        fields["sh_info"],
    )


def _read_symbols(elf: ELFFile, found: ElfObject) -> None:
    """Fill in the symbols, then the relocations, which name symbols by number."""
    tables = [each for each in found.sections if each.type == "SHT_SYMTAB"]
    if len(tables) > 1:
        raise found.error("a second symbol table", tables[1].name)
    for table in tables:
        strings = _linked(found, table, "SHT_STRTAB").data
        for entry in _entries(elf, found, table, elf.structs.Elf_Sym):
            found.symbols.append(_symbol(found, table, strings, entry))
    for section in found.sections:
        if section.type not in ("SHT_REL", "SHT_RELA"):
            continue
        _linked(found, section, "SHT_SYMTAB")
        if section.info >= len(found.sections):
            raise found.error(f"changes section {section.info}, which does not exist", section.name)
        structs = elf.structs.Elf_Rel if section.type == "SHT_REL" else elf.structs.Elf_Rela
        changes = found.relocations.setdefault(section.info, [])
        for entry in _entries(elf, found, section, structs):
            number = entry["r_info_sym"]
            if number >= len(found.symbols):
                raise found.error(f"symbol {number} does not exist", section.name)
            addend = entry["r_addend"] if section.type == "SHT_RELA" else 0
            changes.append(Relocation(entry["r_offset"], found.symbols[number], addend))


def _linked(found: ElfObject, section: Section, kind: str) -> Section:
    if section.link >= len(found.sections):
        raise found.error(f"refers to section {section.link}, which does not exist", section.name)
    linked = found.sections[section.link]
    if linked.type != kind:
        raise found.error(f"refers to section {section.link}, which is no {kind}", section.name)
    return linked


def _entries(elf: ELFFile, found: ElfObject, section: Section, structs: Any) -> Iterator[Any]:
    """Parse the fixed-size entries of a symbol table or relocation section."""
    with _blaming(found.path, f"section '{section.name}'"):
        size = structs.sizeof()
        for at in range(0, len(section.data), size):
            yield structs.parse(section.data[at : at + size])


def _symbol(found: ElfObject, table: Section, strings: bytes, entry: Any) -> Symbol:
    index = entry["st_shndx"]
    if index == "SHN_UNDEF":
        section = 0
    elif not isinstance(index, int):
        section = -1
    else:
        section = index if index < 0xFF00 else -1
    try:
        name = _cstring(strings, entry["st_name"])
    except ValueError as exc:
        raise found.error(f"symbol {len(found.symbols)}: {exc}", table.name) from None
    if section >= len(found.sections):
        reason = f"symbol '{name}' is in section {section}, which does not exist"
        raise found.error(reason, table.name)
    return Symbol(
        name,
        section,
        entry["st_value"],
        entry["st_size"],
        _short(entry["st_info"]["type"]),
        _short(entry["st_info"]["bind"]),
        _short(entry["st_other"]["visibility"]),
    )


def _short(name: object) -> str:
    """Drop the prefix of an enum name; values without a name stay numbers."""
    return str(name).partition("_")[2] or str(name)
