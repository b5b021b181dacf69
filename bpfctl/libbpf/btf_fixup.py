"""What a loader changes in an object's BTF: section sizes, variable offsets, externs.

Compilers leave sizes and offsets of variable sections at zero and describe externs that the
kernel does not know. The result is the blob that BPF_BTF_LOAD gets.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpfctl.btf.build import BtfBuilder
from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import (
    FUNC_EXTERN,
    FUNC_GLOBAL,
    INT_BOOL,
    INT_SIGNED,
    VAR_EXTERN,
    VAR_GLOBAL,
    VAR_STATIC,
    Array,
    BtfError,
    BtfType,
    Datasec,
    Enum,
    Func,
    FuncProto,
    Int,
    Kind,
    SecVar,
    Var,
)
from bpfctl.libbpf.elf import ElfObject, Symbol

KCONFIG, KSYMS = ".kconfig", ".ksyms"
_INT_BYTES = 4


@dataclass(slots=True)
class Extern:
    """A symbol that the loader must find: in the kernel's configuration or among its symbols.

    ``section`` is ``.kconfig`` or ``.ksyms``; the other fields describe a .kconfig variable's
    place in the map of that name, in bytes. ``untyped``: only its address is wanted.
    """

    name: str
    section: str
    weak: bool
    type_id: int
    size: int = 0
    align: int = 1
    offset: int = 0
    untyped: bool = False


@dataclass(slots=True)
class FixedBtf:
    """The BTF to load and the externs found on the way; ``kconfig_bytes`` is 0 without any."""

    btf: Btf
    externs: list[Extern]
    kconfig_bytes: int


def fix_btf(elf: ElfObject, btf: Btf) -> FixedBtf:
    """Return ``btf`` as a loader completes it, in little-endian form.

    Mirrors ``bpf_object__collect_externs()`` and ``bpf_object_fixup_btf()``. Type ids stay;
    types may be added at the end.

    :raises BtfError: a section or extern of the BTF does not exist in the file.
    """
    builder = BtfBuilder(btf)
    externs = _collect_externs(elf, btf)
    size = _place_kconfig(builder, externs)
    _replace_ksyms(builder, externs)
    symbols = {
        symbol.name: symbol
        for symbol in reversed(elf.symbols)
        if symbol.type == "OBJECT" and symbol.bind in ("GLOBAL", "WEAK")
    }
    for found in builder.types:
        if isinstance(found, Datasec):
            if found.name not in (KCONFIG, KSYMS):
                _fix_section(elf, builder, found, symbols)
            found.vars.sort(key=lambda var: var.offset)
    return FixedBtf(parse_btf(builder.encode()), externs, size)


def _fix_section(
    elf: ElfObject, builder: BtfBuilder, found: Datasec, symbols: dict[str, Symbol]
) -> None:
    """Give a section its size and its global variables their offsets."""
    # A statically linked object has them already.
    missing = found.size == 0
    if missing:
        section = elf.section(found.name)
        if section is None or section.size == 0:
            raise BtfError(f"variables of section '{found.name}', which the file does not have")
        found.size = section.size
    for place in found.vars:
        var = builder.types[place.type]
        if not isinstance(var, Var):
            raise BtfError(f"section '{found.name}' holds '{var.name}', which is no variable")
        if var.linkage in (VAR_STATIC, VAR_EXTERN):
            continue
        symbol = symbols.get(var.name)
        if symbol is None:
            raise BtfError(f"variable '{var.name}' of section '{found.name}' has no symbol")
        if missing:
            place.offset = symbol.value & 0xFFFFFFFF
        if symbol.visibility in ("HIDDEN", "INTERNAL"):
            var.linkage = VAR_STATIC


def _collect_externs(elf: ElfObject, btf: Btf) -> list[Extern]:
    """Return all externs, those of .kconfig in the order of their places in the map."""
    declared: dict[str, BtfType] = {}
    for found in btf:
        is_extern = (isinstance(found, Var) and found.linkage == VAR_EXTERN) or (
            isinstance(found, Func) and found.linkage == FUNC_EXTERN
        )
        if is_extern:
            declared.setdefault(found.name, found)
    section_of = {
        place.type: section.name
        for section in btf
        if isinstance(section, Datasec)
        for place in section.vars
    }
    externs = []
    for symbol in elf.symbols:
        undefined = symbol.section == 0 and symbol.type == "NOTYPE" and symbol.name
        if not undefined or symbol.bind not in ("GLOBAL", "WEAK"):
            continue
        found_type = declared.get(symbol.name)
        if found_type is None:
            raise BtfError(f"extern '{symbol.name}' has no type")
        section = section_of.get(found_type.id, "")
        extern = Extern(symbol.name, section, symbol.bind == "WEAK", found_type.id)
        if isinstance(found_type, Var):
            extern.untyped = btf.resolve(found_type.type).kind == Kind.VOID
        if section == KCONFIG:
            extern.size = btf.size_of(found_type.id)
            extern.align = btf.align_of(found_type.id)
            if not _has_kconfig_type(btf, found_type):
                raise BtfError(f"extern '{symbol.name}' of .kconfig has an unsupported type")
        elif section != KSYMS:
            raise BtfError(f"extern '{symbol.name}' is in the unknown section '{section}'")
        externs.append(extern)
    return sorted(
        externs, key=lambda e: (e.section != KCONFIG, -e.align, e.size, e.name.encode())
    )


def _has_kconfig_type(btf: Btf, var: BtfType) -> bool:
    """Tell whether a configuration value can be stored in ``var``: number, tristate, string."""
    assert isinstance(var, Var)
    found = btf.resolve(var.type)
    if isinstance(found, Array):
        elem = btf.resolve(found.type)
        return bool(found.nelems) and isinstance(elem, Int) and elem.size == 1 and (
            elem.encoding != INT_BOOL
        )
    if isinstance(found, Int):
        return found.size <= (1 if found.encoding == INT_BOOL else 8)
    return isinstance(found, Enum) and found.size == 4 and found.name == "libbpf_tristate"


def _place_kconfig(builder: BtfBuilder, externs: list[Extern]) -> int:
    """Lay out the variables of the .kconfig map; return its size in bytes."""
    size = 0
    for extern in externs:
        if extern.section == KCONFIG:
            extern.offset = -(-size // extern.align) * extern.align
            size = extern.offset + extern.size
    places = {extern.name: extern for extern in externs if extern.section == KCONFIG}
    section = _section(builder, KCONFIG)
    if section is None:
        return size
    for place in section.vars:
        var = builder.types[place.type]
        if not isinstance(var, Var) or var.name not in places:
            raise BtfError(f"no symbol for '{var.name}' of section '{KCONFIG}'")
        var.linkage = VAR_GLOBAL
        place.offset = places[var.name].offset
    section.size = size
    return size


def _replace_ksyms(builder: BtfBuilder, externs: list[Extern]) -> None:
    """Make the .ksyms section acceptable: every symbol becomes a 4-byte variable."""
    section = _section(builder, KSYMS)
    if section is None:
        return
    known = {extern.name for extern in externs if extern.section == KSYMS}
    functions = any(isinstance(builder.types[place.type], Func) for place in section.vars)
    int_id = _int_id(builder)
    dummy = builder.add_var("dummy_ksym", int_id) if functions else 0
    for index, place in enumerate(section.vars):
        found = builder.types[place.type]
        if found.name not in known:
            raise BtfError(f"no symbol for '{found.name}' of section '{KSYMS}'")
        if isinstance(found, Func):
            _name_params(builder, found)
            found.linkage = FUNC_GLOBAL
            section.vars[index] = place = SecVar(dummy, 0, 0)
        elif isinstance(found, Var):
            found.linkage, found.type = VAR_GLOBAL, int_id
        place.offset, place.size = index * _INT_BYTES, _INT_BYTES
    section.size = len(section.vars) * _INT_BYTES


def _name_params(builder: BtfBuilder, func: Func) -> None:
    """Name the nameless parameters: the kernel wants names where a function is defined."""
    proto = builder.types[func.type]
    assert isinstance(proto, FuncProto)
    proto.params = [
        ("dummy_ksym" if type_id and not name else name, type_id) for name, type_id in proto.params
    ]


def _int_id(builder: BtfBuilder) -> int:
    for found in builder.types:
        if isinstance(found, Int) and found.bits == 32:
            return found.id
    return builder.add_int("int", 4, INT_SIGNED)


def _section(builder: BtfBuilder, name: str) -> Datasec | None:
    for found in builder.types:
        if found.kind == Kind.DATASEC and found.name == name:
            assert isinstance(found, Datasec)
            return found
    return None
