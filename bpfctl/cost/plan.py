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
            raise CommandError(
                "there is nothing to price",
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


def libbpf_version(text: str | None) -> tuple[int, int] | None:
    """Return (major, minor) of ``1.1``; None, the newest, for None.

    :raises CommandError: anything else.
    """
    if text is None:
        return None
    major, _, minor = text.partition(".")
    if not all(part.isascii() and part.isdigit() for part in (major, minor)):
        raise CommandError(f"--libbpf {text}: expected a version such as 1.1")
    return int(major), int(minor)


def object_source(path: str, libbpf: tuple[int, int] | None = None, copies: int = 1) -> Source:
    """Read the object file ``path`` as that version of libbpf does (None: the newest).

    :raises ObjectError: it names file, section and reason.
    """
    from bpfctl.libbpf.object import open_object
    from bpfctl.libbpf.object_maps import LoadRules

    rules = LoadRules()
    if libbpf is not None:
        rules = LoadRules(legacy=libbpf < (1, 0), mmap_all=libbpf < (1, 2))
    found = open_object(path, rules)
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
    )


def _ops_name(found: BpfObject, spec: MapSpec) -> str:
    """Return the struct that a struct_ops map implements: flavours (``name___v2``) are the same."""
    if spec.origin != "struct_ops" or found.btf is None:
        return ""
    return found.btf.types[spec.btf_value_type_id].name.partition("___")[0]
