"""What to price: maps and programs, grouped by where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from bpfctl import plugins
from bpfctl.errors import CommandError
from bpfctl.libbpf.mapspec import MapSpec, apply_settings

if TYPE_CHECKING:
    from bpfctl.libbpf.object import BpfObject
    from bpfctl.libbpf.object_maps import LoadRules
    from bpfctl.libbpf.object_progs import ProgramSpec

MAX_OBJECTS = 100_000


@dataclass(slots=True)
class MapItem:
    """A map to create ``copies`` times.

    ``now`` is the number of elements that it has at present, for maps of a state. ``ifindex`` is
    the device that an offloaded map lives on, 0 for none. ``key`` is what programs refer to it
    by, if not its name. ``ops`` is the kernel struct that a struct_ops map implements.
    """

    spec: MapSpec
    copies: int = 1
    now: int = 0
    ifindex: int = 0
    key: str = ""
    ops: str = ""

    @property
    def name(self) -> str:
        """Name as declared."""
        return self.spec.name

    @property
    def type_name(self) -> str:
        """Type as bpftool spells it, also of types from plugins."""
        return plugins.type_name(self.spec.type) or self.spec.type_name


@dataclass(slots=True)
class ProgItem:
    """A program to load ``copies`` times."""

    spec: ProgramSpec
    copies: int = 1

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.spec.name

    @property
    def type_name(self) -> str:
        """Type as bpftool spells it."""
        return self.spec.type_name


@dataclass(slots=True)
class Source:
    """Maps and programs that are loaded together, with one BTF object (None: without).

    Programs use the maps of their own source and of those with the same ``scope``.
    """

    label: str
    maps: list[MapItem] = field(default_factory=list)
    programs: list[ProgItem] = field(default_factory=list)
    btf: bytes | None = None
    license: str = "GPL"
    scope: str = ""
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """Everything to price, in the order of creation."""

    sources: list[Source] = field(default_factory=list)

    def nr_objects(self) -> int:
        """Count maps and programs, copies included."""
        maps = sum(item.copies for source in self.sources for item in source.maps)
        return maps + sum(item.copies for source in self.sources for item in source.programs)

    def check(self) -> None:
        """Refuse an empty plan and one of too many objects.

        :raises CommandError: nothing to price, or too much.
        """
        number = self.nr_objects()
        if not number:
            reasons = [note for source in self.sources for note in source.notes]
            raise CommandError(
                "; ".join(reasons) or "there is nothing to price",
                hint="name object files or a plan (*.toml), say --map type=hash,key=4,value=8,"
                "entries=1000, or create maps in the state",
            )
        if number > MAX_OBJECTS:
            raise CommandError(f"{number} maps and programs are too many; {MAX_OBJECTS} will do")

    def set(self, settings: list[str]) -> None:
        """Apply overrides such as ``flows.max_entries=1000``; ``NAME.inner`` is a template.

        One that names maps of several sources goes for all of them.

        :raises CommandError: no such map or attribute, or a bad value.
        """
        for setting in settings:
            name = setting.partition("=")[0].rpartition(".")[0]
            having = [specs for specs in self._specs() if name in _names(specs)]
            for specs in having or [list(chain.from_iterable(self._specs()))]:
                apply_settings(specs, [setting])

    def _specs(self) -> list[list[MapSpec]]:
        return [[item.spec for item in source.maps] for source in self.sources]


def _names(specs: list[MapSpec]) -> set[str]:
    return {each.name for spec in specs for each in (spec, spec.inner) if each}


# Minor versions of libbpf whose rules are known, oldest first.
LIBBPF_VERSIONS = ((0, 8), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 5))


def libbpf_version(text: str | None) -> tuple[int, int] | None:
    """Return (major, minor) of ``1.1``; None, the newest, for None.

    :raises CommandError: anything else.
    """
    if text is None:
        return None
    major, _, minor = text.partition(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 4 for part in (major, minor)):
        raise CommandError(f"--libbpf {text}: expected a version such as 1.1")
    found = int(major), int(minor)
    if found not in LIBBPF_VERSIONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in LIBBPF_VERSIONS)
        raise CommandError(
            f"the rules of libbpf {text} are not known",
            hint=f"known are {known}: the library that was linked, whatever a distribution's "
            "bpftool calls itself",
        )
    return found


def rules_of(libbpf: tuple[int, int] | None) -> LoadRules:
    """Return what a version of libbpf lets pass and makes of an object (None: the newest)."""
    from bpfctl.libbpf.object_maps import LoadRules

    if libbpf is None:
        return LoadRules()
    return LoadRules(legacy=libbpf < (1, 0), mmap_all=libbpf < (1, 1))


def rules_text(libbpf: tuple[int, int] | None) -> str:
    """Return the rules by which objects were read, for people."""
    rules = rules_of(libbpf)
    name = "1.5, the newest known" if libbpf is None else f"{libbpf[0]}.{libbpf[1]}"
    data = "all maps of global data" if rules.mmap_all else "maps of global data with variables"
    legacy = "section names may only begin like a known one" if rules.legacy else (
        "section names are exact, .text has no programs"
    )
    return f"objects are read as libbpf {name} does: {data} are mappable; {legacy}"


def object_source(path: str, libbpf: tuple[int, int] | None = None, copies: int = 1) -> Source:
    """Read the object file ``path`` as that version of libbpf does (None: the newest).

    :raises ObjectError: it names file, section and reason.
    """
    from bpfctl.libbpf.object import open_object

    found = open_object(path, rules_of(libbpf))
    return Source(
        path,
        [
            MapItem(spec, copies, ops=_ops_name(found, spec))
            for spec in found.maps
            if spec.autocreate
        ],
        [ProgItem(spec, copies) for spec in found.programs if spec.autoload],
        found.btf.raw if found.btf else None,
        found.license,
        notes=_notes(path, found),
    )


def _notes(path: str, found: BpfObject) -> list[str]:
    """Return what an object has that is not priced, or that libbpf of today refuses."""
    notes = []
    if any(spec.origin == "legacy" for spec in found.maps):
        notes.append(
            f"{path}: its maps are in a section 'maps', which libbpf 1.0 and later refuses"
        )
    later = [spec.name for spec in found.programs if not spec.autoload]
    if later:
        notes.append(
            f"{path}: {', '.join(later)} in sections that begin with '?' are loaded on demand only"
        )
    if not found.programs:
        why = "its functions are in .text only" if found.text_functions else "it has no functions"
        notes.append(f"{path}: no programs: {why}{'' if found.maps else ', and no maps'}")
    return notes


def _ops_name(found: BpfObject, spec: MapSpec) -> str:
    """Return the struct that a struct_ops map implements: flavours (``name___v2``) are the same."""
    if spec.origin != "struct_ops" or found.btf is None:
        return ""
    return found.btf.types[spec.btf_value_type_id].name.partition("___")[0]
