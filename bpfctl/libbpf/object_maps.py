"""Maps of an object file: BTF-defined, legacy definitions, global data, struct_ops.

The order of the result is the order of creation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    LOOKED_THROUGH,
    VAR_GLOBAL,
    VAR_STATIC,
    Array,
    BtfError,
    Composite,
    Datasec,
    Enum,
    FuncProto,
    Kind,
    Member,
    Ref,
    Var,
)
from bpfctl.libbpf.btf_fixup import KCONFIG
from bpfctl.libbpf.elf import ElfObject, Section
from bpfctl.libbpf.mapspec import (
    ARRAY,
    MAP_IN_MAP,
    PROG_ARRAY,
    STRUCT_OPS,
    MapSpec,
)
from bpfctl.uapi import (
    BPF_F_LINK,
    BPF_F_MMAPABLE,
    BPF_F_RDONLY_PROG,
    BPF_OBJ_NAME_LEN,
    U32_MAX,
)

MAPS, LEGACY_MAPS = ".maps", "maps"
_LEGACY_DEF_BYTES = 20
_KEY_BYTES = 4
_POINTER_BYTES = 8
_FD_BYTES = 4


@dataclass(slots=True, frozen=True)
class LoadRules:
    """What a loader lets pass, and what libbpf has changed over time. The default is libbpf 1.5.

    ``relaxed`` is bpftool's ``-m``: unknown map options are passed over. ``legacy`` accepts
    section names that only begin like a known one (``xdp_sock``), as before libbpf 1.0.
    ``mmap_all`` makes maps of global data mappable even when all their variables are static or
    without BTF, as before libbpf 1.1; this changes what they cost.
    """

    relaxed: bool = False
    legacy: bool = False
    mmap_all: bool = False


def read_maps(
    elf: ElfObject, btf: Btf | None, object_name: str, kconfig_bytes: int, rules: LoadRules
) -> list[MapSpec]:
    """Return all maps of the file in creation order.

    :raises ObjectError: a definition that libbpf refuses too.
    """
    maps = _legacy_maps(elf, btf, rules.relaxed)
    maps += _btf_maps(elf, btf, rules.relaxed)
    maps += _data_maps(elf, btf, object_name)
    if kconfig_bytes:
        name = data_map_name(object_name, KCONFIG)
        maps.append(_data_map(btf, name, KCONFIG, "kconfig", bytes(kconfig_bytes)))
    if rules.mmap_all:
        for spec in maps:
            spec.map_flags |= BPF_F_MMAPABLE if spec.internal else 0
    maps += _struct_ops_maps(elf, btf)
    return maps


# struct bpf_elf_map of iproute2, and with Cilium's inner maps; libbpf's own has five fields.
_IPROUTE2_DEF_BYTES = 36
_CILIUM_DEF_BYTES = 28


def data_map_name(object_name: str, section: str) -> str:
    """Return the name of the map of a data section: object name and section in 15 bytes.

    Sections with a second dot keep their own name.
    """
    if "." in section[1:]:
        return section
    room = max(0, BPF_OBJ_NAME_LEN - 1 - max(7, len(section)))
    name = (object_name[:room] + section)[: BPF_OBJ_NAME_LEN - 1]
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)


# ---- global data


def _data_maps(elf: ElfObject, btf: Btf | None, object_name: str) -> list[MapSpec]:
    maps = []
    for section in elf.sections:
        origin = _data_origin(section)
        if origin and section.size:
            if section.size > U32_MAX:
                raise elf.error(f"{section.size} bytes are too many for a map", section.name)
            name = data_map_name(object_name, section.name)
            data = section.data
            maps.append(_data_map(btf, name, section.name, origin, data, section))
    return maps


def _data_origin(section: Section) -> str:
    """Return ``data``, ``rodata`` or ``bss`` for a section of global variables, else nothing."""
    if section.type == "SHT_PROGBITS" and not section.executable:
        for origin in ("data", "rodata"):
            if section.name == f".{origin}" or section.name.startswith(f".{origin}."):
                return origin
    if section.type == "SHT_NOBITS":
        return "bss" if section.name == ".bss" or section.name.startswith(".bss.") else ""
    return ""


def _data_map(
    btf: Btf | None,
    name: str,
    section_name: str,
    origin: str,
    data: bytes,
    section: Section | None = None,
) -> MapSpec:
    found = btf.find(section_name) if btf else None
    flags = BPF_F_RDONLY_PROG if origin in ("rodata", "kconfig") else 0
    if btf and isinstance(found, Datasec):
        variables = (btf.types[place.type] for place in found.vars)
        # User space can reach only what is not static, so only that is worth mapping.
        if any(isinstance(var, Var) and var.linkage != VAR_STATIC for var in variables):
            flags |= BPF_F_MMAPABLE
    return MapSpec(
        name,
        ARRAY,
        _KEY_BYTES,
        section.size if section else len(data),
        1,
        flags,
        btf_value_type_id=found.id if found else 0,
        data=data,
        origin=origin,
        section=section_name,
        section_index=section.index if section else -1,
    )


# ---- the legacy "maps" section


def _other_loader(record: int) -> str:
    """Say whose definitions of maps have so many bytes: libbpf, whose rules count here, differs."""
    loaders = {_IPROUTE2_DEF_BYTES: "tc and ip (iproute2)", _CILIUM_DEF_BYTES: "Cilium's loader"}
    whose = loaders.get(record, "another loader")
    return f": definitions of {record} bytes are for {whose}, whose objects libbpf does not load"


def _legacy_maps(elf: ElfObject, btf: Btf | None, relaxed: bool) -> list[MapSpec]:
    """Read struct bpf_map_def records: type, key size, value size, entries, flags.

    The record size follows from the number of symbols; what a longer record has beyond the
    known fields must be zero. Mirrors ``bpf_object__init_user_maps()`` of libbpf 0.x.
    """
    section = elf.section(LEGACY_MAPS)
    if section is None:
        return []
    symbols = [
        symbol
        for symbol in elf.symbols
        if symbol.section == section.index and symbol.type not in ("SECTION", "FILE")
    ]
    size = len(section.data)
    if not size or not symbols or size % len(symbols):
        reason = f"cannot tell the size of a map definition: {size} bytes, {len(symbols)} symbols"
        raise elf.error(reason, section.name)
    record = size // len(symbols)
    endian = ">" if elf.big_endian else "<"
    maps = []
    for symbol in symbols:
        if symbol.bind == "LOCAL":
            raise elf.error(f"map '{symbol.name}' is static", section.name)
        if symbol.value + record > size:
            raise elf.error(f"map '{symbol.name}' is cut off", section.name)
        definition = section.data[symbol.value : symbol.value + record]
        if any(definition[_LEGACY_DEF_BYTES:]) and not relaxed:
            reason = f"map '{symbol.name}' has unrecognized, non-zero options"
            raise elf.error(reason + _other_loader(record), section.name)
        fields = struct.unpack(
            f"{endian}5I", definition[:_LEGACY_DEF_BYTES].ljust(_LEGACY_DEF_BYTES, b"\0")
        )
        spec = MapSpec(symbol.name, *fields)
        spec.origin = "legacy"
        _place(spec, section, symbol.value)
        _legacy_types(btf, spec)
        maps.append(spec)
    return maps


def _legacy_types(btf: Btf | None, spec: MapSpec) -> None:
    """Find key and value types in the struct that annotates a legacy map."""
    found = btf.find(f"____btf_map_{spec.name}", Kind.STRUCT) if btf else None
    if btf is None or not isinstance(found, Composite) or len(found.members) < 2:
        return
    key, value = found.members[:2]
    if btf.size_of(key.type) == spec.key_size and btf.size_of(value.type) == spec.value_size:
        spec.btf_key_type_id, spec.btf_value_type_id = key.type, value.type


# ---- BTF-defined maps


def _btf_maps(elf: ElfObject, btf: Btf | None, relaxed: bool) -> list[MapSpec]:
    section = elf.section(MAPS)
    if section is None or not section.size:
        return []
    found = btf.find(MAPS, Kind.DATASEC) if btf else None
    if btf is None or not isinstance(found, Datasec):
        raise elf.error("BTF is required, but is missing or corrupted", section.name)
    maps = []
    for place in found.vars:
        var = btf.types[place.type]
        if not var.name:
            raise elf.error("a map has no name", section.name)
        if not isinstance(var, Var):
            raise elf.error(f"map '{var.name}': unexpected var kind {var.kind.name}", section.name)
        if place.offset + place.size > section.size:
            raise elf.error(f"map '{var.name}' lies outside the section", section.name)
        if var.linkage != VAR_GLOBAL:
            raise elf.error(f"map '{var.name}': unsupported map linkage static", section.name)
        try:
            definition = _struct(btf, var.type)
            if definition.size > place.size:
                raise _BadMap("invalid def size")
            spec = _Definition(btf, MapSpec(var.name), relaxed, False).read(definition)
        except (_BadMap, BtfError) as exc:
            reason = exc.reason if isinstance(exc, BtfError) else str(exc)
            raise elf.error(f"map '{var.name}': {reason}", section.name) from None
        _place(spec, section, place.offset)
        maps.append(spec)
    return maps


def _place(spec: MapSpec, section: Section, offset: int) -> None:
    spec.section, spec.section_index, spec.section_offset = section.name, section.index, offset


class _BadMap(Exception):
    """A map definition that libbpf refuses; the text is the reason."""


def _struct(btf: Btf, type_id: int) -> Composite:
    found = btf.skip(type_id, LOOKED_THROUGH)
    if not isinstance(found, Composite) or found.kind != Kind.STRUCT:
        raise _BadMap(f"unexpected def kind {found.kind.name}")
    return found


@dataclass(slots=True)
class _Definition:
    """Reads the members of a map definition struct into ``spec``.

    Numbers are encoded as array lengths: ``int (*max_entries)[8]``. Mirrors
    ``parse_btf_map_def()``.
    """

    btf: Btf
    spec: MapSpec
    relaxed: bool
    is_inner: bool

    def read(self, definition: Composite) -> MapSpec:
        last = definition.members[-1] if definition.members else None
        for member in definition.members:
            reader = _ATTRIBUTES.get(member.name)
            if member.name == "values" and member is not last:
                raise _BadMap("'values' member should be last")
            if reader:
                reader(self, member)
            elif not self.relaxed:
                raise _BadMap(f"unknown field '{member.name}'")
        if self.spec.type == 0:
            raise _BadMap("map type isn't specified")
        return self.spec

    def number(self, member: Member) -> int:
        found = self.btf.resolve(member.type)
        if found.kind != Kind.PTR or not isinstance(found, Ref):
            raise _BadMap(f"attr '{member.name}': expected PTR, got {found.kind.name}")
        array = self.btf.type(found.type)
        if not isinstance(array, Array):
            raise _BadMap(f"attr '{member.name}': expected ARRAY, got {array.kind.name}")
        return array.nelems

    def long(self, member: Member) -> int:
        """Read a 64-bit number: the only value of an enum, or as :meth:`number`."""
        found = self.btf.resolve(member.type)
        if not isinstance(found, Enum):
            return self.number(member)
        if len(found.values) != 1:
            raise _BadMap(f"attr '{member.name}': invalid enum")
        bits = 64 if found.kind == Kind.ENUM64 else 32
        return found.values[0][1] & ((1 << bits) - 1)

    def pointee(self, member: Member) -> int:
        found = self.btf.type(member.type)
        if found.kind != Kind.PTR or not isinstance(found, Ref):
            raise _BadMap(f"{member.name} spec is not PTR: {found.kind.name}")
        return found.type

    def attribute(self, member: Member) -> None:
        setattr(self.spec, member.name, self.number(member))

    def map_extra(self, member: Member) -> None:
        self.spec.map_extra = self.long(member)

    def size(self, member: Member) -> None:
        self.set_size(member.name, self.number(member))

    def set_size(self, name: str, size: int) -> None:
        known = getattr(self.spec, name)
        if known and known != size:
            raise _BadMap(f"conflicting {name.replace('_', ' ')} {known} != {size}")
        setattr(self.spec, name, size)

    def key(self, member: Member) -> None:
        self.spec.btf_key_type_id = self.pointee(member)
        self.set_size("key_size", self.btf.size_of(self.spec.btf_key_type_id))

    def value(self, member: Member) -> None:
        self.spec.btf_value_type_id = self.pointee(member)
        self.set_size("value_size", self.btf.size_of(self.spec.btf_value_type_id))

    def pinning(self, member: Member) -> None:
        if self.is_inner:
            raise _BadMap("inner def can't be pinned")
        pinning = self.number(member)
        if pinning > 1:
            raise _BadMap(f"invalid pinning value {pinning}")
        self.spec.pinning = pinning

    def values(self, member: Member) -> None:
        """Read the template of inner maps, or the marker of a filled program array."""
        if self.is_inner:
            raise _BadMap("multi-level inner maps not supported")
        if self.spec.type not in MAP_IN_MAP and self.spec.type != PROG_ARRAY:
            raise _BadMap("'values' needs a map-in-map or prog array")
        self.set_size("value_size", _FD_BYTES)
        array = self.btf.type(member.type)
        if not isinstance(array, Array) or array.nelems:
            raise _BadMap("'values' spec is not a zero-sized array")
        pointer = self.btf.resolve(array.type)
        if pointer.kind != Kind.PTR or not isinstance(pointer, Ref):
            raise _BadMap(f"'values' def is of unexpected kind {pointer.kind.name}")
        if self.spec.type == PROG_ARRAY:
            proto = self.btf.resolve(pointer.type)
            if not isinstance(proto, FuncProto):
                raise _BadMap(f"'values' def is of unexpected kind {proto.kind.name}")
            return
        inner = MapSpec(f"{self.spec.name}.inner")
        template = _struct(self.btf, pointer.type)
        self.spec.inner = _Definition(self.btf, inner, self.relaxed, True).read(template)


_ATTRIBUTES: dict[str, Callable[[_Definition, Member], None]] = {
    "type": _Definition.attribute,
    "max_entries": _Definition.attribute,
    "map_flags": _Definition.attribute,
    "numa_node": _Definition.attribute,
    "map_extra": _Definition.map_extra,
    "key_size": _Definition.size,
    "value_size": _Definition.size,
    "key": _Definition.key,
    "value": _Definition.value,
    "values": _Definition.values,
    "pinning": _Definition.pinning,
}


def fill_slots(elf: ElfObject, btf: Btf | None, maps: list[MapSpec], programs: set[str]) -> None:
    """Read the initial elements of map-in-map and program arrays from the relocations of .maps.

    ``programs`` are the names that a program array may hold.
    """
    section = elf.section(MAPS)
    found = btf.find(MAPS, Kind.DATASEC) if btf else None
    if section is None or btf is None or not isinstance(found, Datasec):
        return
    declared = {spec.section_offset: spec for spec in maps if spec.section_index == section.index}
    names = {spec.name for spec in declared.values()}
    for change in elf.relocations.get(section.index, []):
        place = next(
            (p for p in found.vars if p.offset <= change.offset <= p.offset + p.size - 8), None
        )
        if place is None:
            raise elf.error(f"initial element at {change.offset} is in no map", section.name)
        owner = declared[place.offset]
        if owner.type not in MAP_IN_MAP and owner.type != PROG_ARRAY:
            raise elf.error(f"map '{owner.name}' cannot have initial elements", section.name)
        var = btf.types[place.type]
        assert isinstance(var, Var)
        members = _struct(btf, var.type).members
        start = place.offset + members[-1].bit_offset // 8 if members else 0
        index, rest = divmod(change.offset - start, _POINTER_BYTES)
        if not members or members[-1].name != "values" or index < 0 or rest:
            raise elf.error(f"map '{owner.name}': misplaced initial element", section.name)
        if change.symbol.name not in (names if owner.type in MAP_IN_MAP else programs):
            reason = f"map '{owner.name}': '{change.symbol.name}' cannot be an element"
            raise elf.error(reason, section.name)
        owner.slots[index] = change.symbol.name


# ---- struct_ops

_STRUCT_OPS_FLAGS = {
    ".struct_ops": 0,
    ".struct_ops.link": BPF_F_LINK,
    "?.struct_ops": 0,
    "?.struct_ops.link": BPF_F_LINK,
}


def _struct_ops_maps(elf: ElfObject, btf: Btf | None) -> list[MapSpec]:
    """Recognise tables of operations: each variable is a map of the kernel's type.

    ``value_size`` is that of the declared struct; the kernel's own is larger.
    """
    maps = []
    for section in elf.sections:
        flags = _STRUCT_OPS_FLAGS.get(section.name)
        if flags is None or not section.size or section.type != "SHT_PROGBITS":
            continue
        found = btf.find(section.name, Kind.DATASEC) if btf else None
        if btf is None or not isinstance(found, Datasec):
            raise elf.error("BTF is required, but is missing or corrupted", section.name)
        for place in found.vars:
            var = btf.types[place.type]
            table = btf.resolve(var.type) if isinstance(var, Var) else var
            if not isinstance(table, Composite) or not table.name:
                raise elf.error(f"'{var.name}' is not a struct with a name", section.name)
            if place.offset + place.size > section.size:
                raise elf.error(f"'{var.name}' lies outside the section", section.name)
            spec = MapSpec(var.name, STRUCT_OPS, _KEY_BYTES, table.size, 1, flags)
            spec.btf_value_type_id = table.id
            spec.origin = "struct_ops"
            spec.autocreate = not section.name.startswith("?")
            _place(spec, section, place.offset)
            maps.append(spec)
    return maps
