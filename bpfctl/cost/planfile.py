"""Plan files: many maps and programs in TOML, and the questions to ask about them.

docs/cost.md describes the format.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bpfctl.cost.mapline import WORDS, map_item, resolve_inner, with_types
from bpfctl.cost.plan import MapItem, ProgItem, Source, object_source
from bpfctl.errors import CommandError
from bpfctl.isa import insn
from bpfctl.libbpf.mapspec import apply_settings
from bpfctl.uapi import PROG_TYPE_NUMBER

if TYPE_CHECKING:
    from bpfctl.libbpf.object_progs import ProgramSpec

# What a plan may say about the questions; the options of the same names win.
CHOICES = ("kernels", "cpus", "fill", "memlock", "memory_max")
_TABLES = ("defaults", "map", "program", "object")
_PROGRAM_WORDS = ("name", "type", "insns", "functions", "lines", "maps", "copies")
_OBJECT_WORDS = ("file", "set", "copies")
_MAX_COPIES = 100_000
_MAX_INSNS = 1_000_000
_MOV_R0 = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0))
_EXIT = bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
_CALL_INSNS, _MAP_INSNS = 1, 2
_SUBPROGRAM_INSNS = 2


@dataclass(slots=True)
class PlanFile:
    """A plan as read. ``choices`` holds words by the names of CHOICES."""

    sources: list[Source] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)


def read_plan(path: str, libbpf: tuple[int, int] | None = None) -> PlanFile:
    """Read the plan ``path``; object files in it are found from its folder, and read as
    :func:`object_source` does.

    :raises CommandError: it names the file and what is wrong.
    """
    return _Reader(path, libbpf).read(_load(path))


def _load(path: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        with open(path, "rb") as file:
            return tomllib.loads(file.read().decode())
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise CommandError(f"{path}: {reason}") from None


class _Reader:
    def __init__(self, path: str, libbpf: tuple[int, int] | None) -> None:
        self.path = path
        self.libbpf = libbpf

    def error(self, text: str, hint: str = "") -> CommandError:
        """Return an error that names the file."""
        return CommandError(f"{self.path}: {text}", hint=hint)

    def read(self, data: dict[str, Any]) -> PlanFile:
        """Return the plan that the tables say."""
        unknown = [key for key in data if key not in (*CHOICES, *_TABLES)]
        if unknown:
            known = ", ".join((*CHOICES, *(f"[{name}]" for name in _TABLES)))
            raise self.error(f"unknown key '{unknown[0]}'", f"a plan has: {known}")
        plan = PlanFile()
        for key in CHOICES:
            if key in data:
                plan.choices[key] = self._words(key, data[key])
        own = self._own(data)
        if own.maps or own.programs:
            plan.sources.append(own)
        for number, table in enumerate(self._tables(data, "object"), 1):
            plan.sources.append(self._object(table, f"[[object]] {number}"))
        return plan

    def _words(self, key: str, value: Any) -> list[str]:
        words = value if isinstance(value, list) else [value]
        if any(isinstance(word, bool) or not isinstance(word, (str, int, float)) for word in words):
            raise self.error(f"{key} must be a word, a number or a list of these")
        return [str(word) for word in words]

    def _tables(self, data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        tables = data.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            raise self.error(f"{name} must be written [[{name}]]")
        return tables

    def _check(self, table: Mapping[str, Any], words: tuple[str, ...], where: str) -> None:
        for word in table:
            if word not in words:
                raise self.error(f"{where}: unknown word '{word}'", f"words: {', '.join(words)}")

    def _count(
        self,
        table: Mapping[str, Any],
        word: str,
        default: int,
        largest: int,
        where: str,
        least: int = 0,
    ) -> int:
        number = table.get(word, default)
        if isinstance(number, bool) or not isinstance(number, int):
            raise self.error(f"{where}: {word} is not a number")
        if not least <= number <= largest:
            raise self.error(f"{where}: {word} is not from {least} to {largest}")
        return number

    # --- maps and programs of the plan itself --------------------------------

    def _own(self, data: dict[str, Any]) -> Source:
        defaults = data.get("defaults", {})
        if not isinstance(defaults, dict):
            raise self.error("defaults must be written [defaults]")
        self._check(defaults, WORDS, "[defaults]")
        made = []
        for number, table in enumerate(self._tables(data, "map"), 1):
            where = f"{self.path}: [[map]] {number}"
            made.append(map_item({**defaults, **table}, where, f"map{number}"))
        source = Source(self.path, resolve_inner(made, self.path))
        source.btf = with_types(source.maps)
        for number, table in enumerate(self._tables(data, "program"), 1):
            source.programs.append(
                self._program(table, f"[[program]] {number}", f"prog{number}", source.maps)
            )
        return source

    def _program(
        self, table: dict[str, Any], where: str, name: str, maps: list[MapItem]
    ) -> ProgItem:
        self._check(table, _PROGRAM_WORDS, where)
        type_name = str(table.get("type", ""))
        if type_name not in PROG_TYPE_NUMBER:
            known = ", ".join(PROG_TYPE_NUMBER)
            raise self.error(f"{where}: unknown program type '{type_name}'", f"types: {known}")
        used = table.get("maps", [])
        names = {item.name for item in maps}
        if not isinstance(used, list) or any(each not in names for each in used):
            raise self.error(f"{where}: maps must be a list of names of maps in this plan")
        functions = self._count(table, "functions", 1, 256, where, 1)
        lines = self._count(table, "lines", 0, _MAX_INSNS, where)
        nr_insns = self._count(table, "insns", 2, _MAX_INSNS, where, 2)
        copies = self._count(table, "copies", 1, _MAX_COPIES, where, 1)
        least = functions * _SUBPROGRAM_INSNS + (functions - 1) + _MAP_INSNS * len(used)
        if nr_insns < least:
            raise self.error(
                f"{where}: {functions} functions and {len(used)} maps take {least} insns or more"
            )
        spec = made_program(str(table.get("name", name)), type_name, nr_insns, functions, used)
        spec.line_info = [(0, 0, 0, 0)] * lines
        return ProgItem(spec, copies)

    # --- object files ----------------------------------------------------------

    def _object(self, table: dict[str, Any], where: str) -> Source:
        self._check(table, _OBJECT_WORDS, where)
        file = table.get("file")
        settings = table.get("set", [])
        if not isinstance(file, str) or not file:
            raise self.error(f"{where}: file must name an object file")
        if not isinstance(settings, list) or not all(isinstance(each, str) for each in settings):
            raise self.error(f"{where}: set must be a list of NAME.attribute=value")
        copies = self._count(table, "copies", 1, _MAX_COPIES, where, 1)
        path = os.path.join(os.path.dirname(self.path), file)
        source = object_source(path, self.libbpf, copies)
        apply_settings([item.spec for item in source.maps], settings)
        return source


def made_program(
    name: str, type_name: str, nr_insns: int, functions: int, maps: list[str]
) -> ProgramSpec:
    """Return a program of that many instructions, functions and maps, which does nothing.

    Called functions have two instructions each, the main one has the rest.
    """
    from bpfctl.libbpf.object_progs import ProgramSpec, Reference

    called = functions - 1
    body = nr_insns - _SUBPROGRAM_INSNS * called
    spec = ProgramSpec(name, type_name, PROG_TYPE_NUMBER[type_name])
    code = bytearray()
    for used in maps:
        spec.references.append(Reference(len(code) // insn.INSN_BYTES, "map", used))
        code += bytes((insn.LD_IMM64, 1)) + bytes(14)
    for number in range(called):
        at = len(code) // insn.INSN_BYTES
        target = body + _SUBPROGRAM_INSNS * number
        code += bytes((insn.CALL, insn.PSEUDO_CALL << 4, 0, 0))
        code += (target - at - 1).to_bytes(4, "little", signed=True)
    filler = body - 1 - len(code) // insn.INSN_BYTES
    spec.insns = bytes(code) + _MOV_R0 * filler + _EXIT + (_MOV_R0 + _EXIT) * called
    spec.subprograms = [f"sub{number}" for number in range(called)]
    return spec
