"""Programs of an object file, linked with the functions that they call."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import BtfError
from bpfctl.isa import insn, patch
from bpfctl.libbpf.btf_ext import BtfExt, InfoRecord
from bpfctl.libbpf.btf_fixup import KCONFIG, Extern
from bpfctl.libbpf.core.spec import CoreRelocation, RelocationKind
from bpfctl.libbpf.elf import ElfObject, Relocation, Section, Symbol
from bpfctl.libbpf.mapspec import MapSpec
from bpfctl.libbpf.sections import find_section_def
from bpfctl.uapi import BPF_OBJ_NAME_LEN, PROG_TYPES

_INSN = insn.INSN_BYTES
_ARENA_SECTION = ".addr_space.1"
# The kernel takes no more; without a bound, hostile calls could multiply code.
MAX_INSNS = 1_000_000
_CORE_KINDS = frozenset(RelocationKind)


@dataclass(slots=True)
class Reference:
    """What the loader must fill into instruction ``insn``.

    ``kind``: ``map`` (a descriptor), ``value`` (a descriptor and ``offset`` into the value),
    ``ksym`` (an address) or ``kfunc`` (a call). ``name`` is the map or the symbol.
    """

    insn: int
    kind: str
    name: str
    offset: int = 0


@dataclass(slots=True)
class ProgramSpec:
    """One program. ``insns`` are little-endian, with called functions appended.

    ``type`` is 0 if no program type claims the section name. ``func_info`` holds pairs
    (instruction, type id), ``line_info`` tuples (instruction, file, line, line << 10 | column;
    the middle two are string offsets). ``core_relos`` refer to the types of the object.
    """

    name: str
    section: str
    type: int = 0
    attach_type: int | None = None
    prog_flags: int = 0
    attach_to: str = ""
    autoload: bool = True
    insns: bytes = b""
    subprograms: list[str] = field(default_factory=list)
    references: list[Reference] = field(default_factory=list)
    func_info: list[tuple[int, ...]] = field(default_factory=list)
    line_info: list[tuple[int, ...]] = field(default_factory=list)
    core_relos: list[CoreRelocation] = field(default_factory=list)

    @property
    def insn_cnt(self) -> int:
        """Number of 8-byte instructions, appended functions included."""
        return len(self.insns) // _INSN

    @property
    def type_name(self) -> str:
        """Type as bpftool spells it."""
        return PROG_TYPES[self.type]

    @property
    def kernel_name(self) -> bytes:
        """Name as the kernel gets it: 15 bytes at most."""
        return self.name.encode()[: BPF_OBJ_NAME_LEN - 1]

    @property
    def map_names(self) -> list[str]:
        """Maps used, in order of first use."""
        used = [ref.name for ref in self.references if ref.kind in ("map", "value")]
        return list(dict.fromkeys(used))


@dataclass(slots=True)
class _Function:
    """A function symbol: ``start`` and ``count`` are instructions within its section."""

    name: str
    section: Section
    start: int
    count: int


def read_programs(
    elf: ElfObject,
    maps: list[MapSpec],
    externs: list[Extern],
    btf_ext: BtfExt,
    legacy: bool,
    btf: Btf | None = None,
) -> list[ProgramSpec]:
    """Return the programs by section and position, each with its subprograms.

    Functions in .text are subprograms; before libbpf 1.0 (``legacy``) the only function of a file
    is a program even there.

    :raises ObjectError: a function or relocation that libbpf refuses too.
    """
    linker = _Linker(elf, maps, externs, btf_ext, btf)
    return [
        linker.link(function, legacy)
        for function in linker.functions
        if function.section.name != ".text" or (legacy and len(linker.functions) == 1)
    ]


class _Linker:
    def __init__(
        self,
        elf: ElfObject,
        maps: list[MapSpec],
        externs: list[Extern],
        btf_ext: BtfExt,
        btf: Btf | None,
    ) -> None:
        self.elf = elf
        self.btf = btf
        self.btf_ext = btf_ext
        self.externs = {extern.name: extern for extern in externs}
        self.kconfig = next((spec.name for spec in maps if spec.origin == "kconfig"), "")
        self.at_offset = {
            (spec.section_index, spec.section_offset): spec for spec in maps if not spec.internal
        }
        self.data = {spec.section_index: spec for spec in maps if spec.internal}
        arena = elf.section(_ARENA_SECTION)
        for spec in maps:
            if arena and spec.type_name == "arena":
                self.data[arena.index] = spec
        self.code: dict[int, bytes] = {}
        self.functions = sorted(self._functions(), key=lambda f: (f.section.index, f.start))
        self.relocations: dict[int, dict[int, Relocation]] = {}
        self.text = [f for f in self.functions if f.section.name == ".text"]
        for index in {function.section.index for function in self.functions}:
            self.relocations[index] = self._by_insn(index)

    def _functions(self) -> list[_Function]:
        found = []
        for section in self.elf.sections:
            if section.type != "SHT_PROGBITS" or not section.executable or not section.size:
                continue
            if section.size % _INSN:
                raise self.elf.error("instructions are cut off", section.name)
            data = section.data
            self.code[section.index] = insn.to_little(data) if self.elf.big_endian else data
            for symbol in self.elf.symbols:
                if symbol.section == section.index and symbol.type == "FUNC":
                    found.append(self._function(section, symbol))
        return found

    def _function(self, section: Section, symbol: Symbol) -> _Function:
        if symbol.value + symbol.size > section.size:
            reason = f"program at offset {symbol.value} crosses section boundary"
            raise self.elf.error(reason, section.name)
        if section.name != ".text" and symbol.bind == "LOCAL":
            raise self.elf.error(
                f"program '{symbol.name}' is static and not supported", section.name
            )
        if not symbol.size or symbol.size % _INSN or symbol.value % _INSN:
            where = f"offset {symbol.value}, size {symbol.size}"
            raise self.elf.error(f"corrupted program '{symbol.name}', {where}", section.name)
        return _Function(symbol.name, section, symbol.value // _INSN, symbol.size // _INSN)

    def _by_insn(self, index: int) -> dict[int, Relocation]:
        """Index the relocations of a section by instruction."""
        section = self.elf.sections[index]
        found = {}
        for number, change in enumerate(self.elf.relocations.get(index, [])):
            if change.offset % _INSN or change.offset >= section.size:
                reason = f"invalid offset 0x{change.offset:x} for relo #{number}"
                raise self.elf.error(reason, section.name)
            found[change.offset // _INSN] = change
        return found

    def link(self, function: _Function, legacy: bool) -> ProgramSpec:
        """Return the program that starts with ``function``.

        Called functions follow in order of the first call, each directly before what it calls
        itself, as libbpf appends them.
        """
        spec = ProgramSpec(function.name, function.section.name)
        definition = find_section_def(spec.section, legacy)
        if definition:
            spec.type = definition.prog_type
            spec.attach_type = definition.attach_type
            spec.prog_flags = definition.prog_flags
            if definition.pattern.endswith("+"):
                spec.attach_to = spec.section.partition("/")[2]
        spec.autoload = not spec.section.startswith("?")
        code = bytearray()
        placed: dict[int, int] = {}
        # Depth first without recursion: one frame is (function, next instruction to look at).
        frames = [(function, self._append(spec, code, function), 0)]
        while frames:
            current, base, index = frames.pop()
            while index < current.count:
                target = self._visit(spec, code, current, base, index)
                if target is None:
                    index += 1
                    continue
                if target.start not in placed:
                    placed[target.start] = len(code) // _INSN
                    spec.subprograms.append(target.name)
                    start = self._append(spec, code, target)
                    frames += [(current, base, index), (target, start, 0)]
                    break
                patch.set_imm(code, base + index, placed[target.start] - (base + index) - 1)
                index += 1
        spec.insns = bytes(code)
        spec.references.sort(key=lambda ref: ref.insn)
        return spec

    def _append(self, spec: ProgramSpec, code: bytearray, function: _Function) -> int:
        """Add the code and its debug records; return the index of its first instruction."""
        base = len(code) // _INSN
        if base + function.count > MAX_INSNS:
            raise self.elf.error(
                f"program '{spec.name}' has more than {MAX_INSNS} instructions", spec.section
            )
        start, end = function.start, function.start + function.count
        code += self.code[function.section.index][start * _INSN : end * _INSN]
        for table, out in (
            (self.btf_ext.func_info, spec.func_info),
            (self.btf_ext.line_info, spec.line_info),
        ):
            for record in table.get(function.section.name, ()):
                index = record.insn_off // _INSN
                if start <= index < end:
                    out.append((index - start + base, *record.words))
        for record in self.btf_ext.core_relos.get(function.section.name, ()):
            index = record.insn_off // _INSN
            if start <= index < end:
                spec.core_relos.append(self._core(index - start + base, record, spec.section))
        return base

    def _core(self, at: int, record: InfoRecord, section: str) -> CoreRelocation:
        type_id, access_off, kind = record.words
        if kind not in _CORE_KINDS or self.btf is None:
            raise self.elf.error(f"unknown kind {kind} of a CO-RE relocation", section)
        try:
            access = self.btf.string(access_off)
        except BtfError as exc:
            raise self.elf.error(exc.reason, section) from None
        return CoreRelocation(at, type_id, access, RelocationKind(kind))

    def _visit(
        self, spec: ProgramSpec, code: bytearray, current: _Function, base: int, index: int
    ) -> _Function | None:
        """Record what instruction ``index`` of ``current`` refers to; return a called function."""
        change = self.relocations[current.section.index].get(current.start + index)
        at = base + index
        op = patch.opcode(code, at)
        if op not in (insn.CALL, insn.LD_IMM64):
            if change:
                reason = f"invalid relo against '{change.symbol.name}' for insn {index}, code {op}"
                raise self.elf.error(reason, current.section.name)
            return None
        if op == insn.LD_IMM64 and index + 1 >= current.count:
            raise self.elf.error("a 64-bit immediate is cut off", current.section.name)
        source = patch.src_reg(code, at)
        if change is None:
            if op == insn.CALL and source == insn.PSEUDO_CALL:
                # Within one section the compiler resolves calls itself.
                return self._callee(current, current.start + index + patch.imm(code, at) + 1)
            return None
        symbol = change.symbol
        if op == insn.CALL and symbol.section and source == insn.PSEUDO_CALL:
            return self._callee(current, self._call_target(change, patch.imm(code, at)), symbol)
        if op == insn.LD_IMM64 and self._is_code(symbol):
            patch.set_src_reg(code, at, insn.PSEUDO_FUNC)
            start = (symbol.value + change.addend + patch.imm(code, at)) // _INSN
            return self._callee(current, start, symbol)
        reference = self._reference(current, symbol, op, at)
        if reference.kind == "value":
            reference.offset += patch.imm(code, at) + change.addend
        if not any(known.insn == at for known in spec.references):
            spec.references.append(reference)
        return None

    def _call_target(self, change: Relocation, immediate: int) -> int:
        """Return the instruction of .text that a relocated call goes to.

        A call of a static function names the section and keeps the distance in the immediate,
        less one. One of a global function names its symbol, and compilers differ in what else.
        """
        start = (change.symbol.value + change.addend) // _INSN
        if change.symbol.type == "FUNC":
            return start
        return start + immediate + 1

    def _is_code(self, symbol: Symbol) -> bool:
        return symbol.section > 0 and self.elf.sections[symbol.section].executable

    def _callee(self, current: _Function, index: int, symbol: Symbol | None = None) -> _Function:
        """Return the function of .text that contains instruction ``index``."""
        if symbol and self.elf.sections[symbol.section].name != ".text":
            there = self.elf.sections[symbol.section].name if symbol.section > 0 else ""
            reason = f"bad call relo against '{symbol.name}' in section '{there}'"
            raise self.elf.error(reason, current.section.name)
        position = bisect_right([function.start for function in self.text], index) - 1
        if position >= 0:
            found = self.text[position]
            if index < found.start + found.count:
                return found
        raise self.elf.error(
            f"'{current.name}' calls a sub-program that does not exist", current.section.name
        )

    def _reference(self, current: _Function, symbol: Symbol, op: int, at: int) -> Reference:
        """Return what the loader has to fill in for ``symbol``."""
        if symbol.section == 0:
            extern = self.externs.get(symbol.name)
            if extern is None:
                raise self.elf.error(f"extern '{symbol.name}' not found", current.section.name)
            if extern.section == KCONFIG:
                return Reference(at, "value", self.kconfig, extern.offset)
            return Reference(at, "kfunc" if op == insn.CALL else "ksym", symbol.name)
        if op == insn.CALL:
            raise self.elf.error(f"incorrect call of '{symbol.name}'", current.section.name)
        data = self.data.get(symbol.section)
        if data:
            return Reference(at, "value", data.name, symbol.value)
        spec = self.at_offset.get((symbol.section, symbol.value))
        if spec:
            return Reference(at, "map", spec.name)
        there = self.elf.sections[symbol.section].name if symbol.section > 0 else "absolute"
        reason = f"bad map relo against '{symbol.name}' in section '{there}'"
        raise self.elf.error(reason, current.section.name)
