"""BPF object files as a loader sees them: maps and programs, ready to create.

Loads pyelftools; import this module when an object is opened, not before.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from bpfctl.btf.parse import Btf, parse_btf
from bpfctl.btf.types import BtfError
from bpfctl.libbpf.btf_ext import BtfExt, parse_btf_ext
from bpfctl.libbpf.btf_fixup import Extern, fix_btf
from bpfctl.libbpf.elf import ElfObject, parse_elf, read_elf
from bpfctl.libbpf.mapspec import MapSpec, apply_settings
from bpfctl.libbpf.object_error import ObjectError
from bpfctl.libbpf.object_maps import LoadRules, fill_slots, read_maps
from bpfctl.libbpf.object_progs import ProgramSpec, read_programs
from bpfctl.uapi import BPF_OBJ_NAME_LEN

_BTF, _BTF_EXT = ".BTF", ".BTF.ext"
_LICENSE_BYTES = 64


@dataclass(slots=True)
class BpfObject:
    """Everything in one file. ``maps`` and ``programs`` are in the order of creation.

    ``btf`` is what BPF_BTF_LOAD gets (``btf.raw``), or None without debug information;
    ``license`` is empty when the file has none; ``text_functions`` tells of code in .text.
    """

    path: str
    name: str
    license: str = ""
    big_endian: bool = False
    btf: Btf | None = None
    maps: list[MapSpec] = field(default_factory=list)
    programs: list[ProgramSpec] = field(default_factory=list)
    externs: list[Extern] = field(default_factory=list)
    text_functions: bool = False

    def map(self, name: str) -> MapSpec | None:
        """Return the map called ``name``."""
        return next((spec for spec in self.maps if spec.name == name), None)

    def program(self, name: str) -> ProgramSpec | None:
        """Return the program of the function ``name``."""
        return next((spec for spec in self.programs if spec.name == name), None)

    def apply(self, settings: list[str]) -> None:
        """Apply overrides ``NAME.attribute=value`` to the maps."""
        apply_settings(self.maps, settings)


def object_name(path: str) -> str:
    """Return the name that libbpf gives an object: 15 bytes of its file name, up to a dot."""
    name = os.path.basename(path).encode(errors="replace")[: BPF_OBJ_NAME_LEN - 1]
    return name.decode(errors="ignore").partition(".")[0]


DEFAULT_RULES = LoadRules()


def open_object(path: str, rules: LoadRules = DEFAULT_RULES) -> BpfObject:
    """Read the object file ``path``.

    :raises ObjectError: the file cannot be read or is not a sound object; it names file,
        section and reason.
    """
    return _from_elf(read_elf(path), rules)


def parse_object(data: bytes, path: str, rules: LoadRules = DEFAULT_RULES) -> BpfObject:
    """Read an object given as bytes; ``path`` names it in errors and names its data maps."""
    return _from_elf(parse_elf(data, path), rules)


def open_btf(path: str, base: Btf | None = None) -> Btf:
    """Read the types in a file: a raw BTF blob, or the .BTF section of an object.

    ``base`` holds the types that those of a split BTF follow. They are as stored: ``btf dump
    file`` shows sizes that a loader would still fill in.

    :raises ObjectError: neither of both; an empty file has ``errno`` 5 (EIO).
    """
    elf_or_blob = _read_start(path)
    if elf_or_blob[:2] in (b"\x9f\xeb", b"\xeb\x9f"):
        with open(path, "rb") as file:
            blob = file.read()
        try:
            return parse_btf(blob, base)
        except BtfError as exc:
            raise ObjectError(path, str(exc), errno=22) from None
    elf = read_elf(path)
    btf = _read_btf(elf, base)
    if btf is None:
        raise ObjectError(path, "no .BTF section", errno=61)
    return btf


def _from_elf(elf: ElfObject, rules: LoadRules) -> BpfObject:
    made = BpfObject(elf.path, object_name(elf.path), _license(elf), elf.big_endian)
    btf = _read_btf(elf)
    btf_ext = BtfExt()
    kconfig_bytes = 0
    if btf:
        btf_ext = _read_btf_ext(elf, btf)
        try:
            fixed = fix_btf(elf, btf)
        except BtfError as exc:
            raise elf.error(exc.reason, _BTF) from None
        made.btf, made.externs, kconfig_bytes = fixed.btf, fixed.externs, fixed.kconfig_bytes
    made.maps = read_maps(elf, made.btf, made.name, kconfig_bytes, rules)
    made.programs = read_programs(elf, made.maps, made.externs, btf_ext, rules.legacy, btf)
    made.text_functions = any(s.name == ".text" and s.size for s in elf.sections)
    fill_slots(elf, made.btf, made.maps, {spec.name for spec in made.programs})
    return made


def _license(elf: ElfObject) -> str:
    section = elf.section("license")
    if section is None:
        return ""
    text = section.data[: _LICENSE_BYTES - 1].partition(b"\0")[0]
    return text.decode(errors="replace")


def _read_btf(elf: ElfObject, base: Btf | None = None) -> Btf | None:
    section = elf.section(_BTF)
    if section is None:
        return None
    try:
        return parse_btf(section.data, base)
    except BtfError as exc:
        raise elf.error(str(exc), _BTF) from None


def _read_btf_ext(elf: ElfObject, btf: Btf) -> BtfExt:
    section = elf.section(_BTF_EXT)
    if section is None:
        return BtfExt()
    try:
        return parse_btf_ext(section.data, btf)
    except BtfError as exc:
        raise elf.error(str(exc.within(_BTF_EXT)), _BTF_EXT) from None


def _read_start(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except (OSError, ValueError) as exc:
        raise ObjectError(
            path, getattr(exc, "strerror", None) or str(exc), errno=getattr(exc, "errno", None) or 2
        ) from None
    if len(start) < 2:
        raise ObjectError(path, "empty file", errno=5)
    return start
