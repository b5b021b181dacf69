"""What an object file says about a map, before any kernel is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bpfctl.errors import SpecError
from bpfctl.uapi import (
    BPF_OBJ_NAME_LEN,
    MAP_TYPE_NUMBER,
    MAP_TYPES,
    U32_MAX,
    MapCreateAttr,
)

PERF_EVENT_ARRAY = MAP_TYPE_NUMBER["perf_event_array"]
PROG_ARRAY = MAP_TYPE_NUMBER["prog_array"]
ARRAY = MAP_TYPE_NUMBER["array"]
STRUCT_OPS = MAP_TYPE_NUMBER["struct_ops"]
MAP_IN_MAP = frozenset((MAP_TYPE_NUMBER["array_of_maps"], MAP_TYPE_NUMBER["hash_of_maps"]))
RING_BUFFERS = frozenset((MAP_TYPE_NUMBER["ringbuf"], MAP_TYPE_NUMBER["user_ringbuf"]))

# libbpf passes no BTF for these: their kernel code refuses it.
WITHOUT_BTF = frozenset(
    MAP_TYPE_NUMBER[name]
    for name in (
        "perf_event_array",
        "cgroup_array",
        "stack_trace",
        "array_of_maps",
        "hash_of_maps",
        "devmap",
        "devmap_hash",
        "cpumap",
        "xskmap",
        "sockmap",
        "sockhash",
        "queue",
        "stack",
        "arena",
    )
)

# name typed after the map: field, largest value
_SETTABLE = {
    "type": ("type", U32_MAX),
    "key_size": ("key_size", U32_MAX),
    "value_size": ("value_size", U32_MAX),
    "max_entries": ("max_entries", U32_MAX),
    "map_flags": ("map_flags", U32_MAX),
    "flags": ("map_flags", U32_MAX),
    "numa_node": ("numa_node", U32_MAX),
    "map_extra": ("map_extra", (1 << 64) - 1),
}


@dataclass(slots=True)
class MapSpec:
    """One map as declared. Sizes in bytes; ``max_entries`` is bytes for ring buffers.

    ``origin`` is the section family: ``maps`` (BTF-defined), ``legacy``, ``data``, ``rodata``,
    ``bss``, ``kconfig`` or ``struct_ops``. ``data`` is the first value of a global data map.
    ``slots`` are initial elements of map-in-map and prog arrays: index and the name of a map or
    program of the same object.
    """

    name: str
    type: int = 0
    key_size: int = 0
    value_size: int = 0
    max_entries: int = 0
    map_flags: int = 0
    numa_node: int = 0
    map_extra: int = 0
    pinning: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    inner: MapSpec | None = None
    data: bytes | None = None
    origin: str = "maps"
    section: str = ""
    section_index: int = 0
    section_offset: int = 0
    slots: dict[int, str] = field(default_factory=dict)
    autocreate: bool = True

    @property
    def type_name(self) -> str:
        """Type as bpftool spells it."""
        return MAP_TYPES[self.type] if self.type < len(MAP_TYPES) else f"type {self.type}"

    @property
    def kernel_name(self) -> bytes:
        """Name as the kernel gets it: 15 bytes at most."""
        return self.name.encode()[: BPF_OBJ_NAME_LEN - 1]

    @property
    def frozen(self) -> bool:
        """Whether the loader freezes the map once its contents are in."""
        return self.origin in ("rodata", "kconfig")

    @property
    def internal(self) -> bool:
        """Whether the map holds global variables rather than being declared as a map."""
        return self.data is not None

    def resolve(self, possible_cpus: int, page_size: int) -> MapSpec:
        """Return the map as libbpf creates it on a machine with these CPUs and pages.

        A perf event array of 0 entries gets one per possible CPU; a ring buffer grows to a
        power-of-two number of pages; types that refuse BTF lose it; inner maps likewise.
        """
        made = replace(self, inner=self.inner and self.inner.resolve(possible_cpus, page_size))
        if made.type == PERF_EVENT_ARRAY and not made.max_entries:
            made.max_entries = possible_cpus
        if made.type in RING_BUFFERS:
            made.max_entries = _ring_bytes(made.max_entries, page_size)
        if made.type in WITHOUT_BTF:
            made.btf_key_type_id = made.btf_value_type_id = 0
        return made

    def create_attr(self, btf_fd: int = 0, inner_map_fd: int = 0) -> MapCreateAttr:
        """Return the BPF_MAP_CREATE attributes; call it on a resolved map."""
        has_btf = bool(btf_fd and (self.btf_key_type_id or self.btf_value_type_id))
        return MapCreateAttr(
            map_type=self.type,
            key_size=self.key_size,
            value_size=self.value_size,
            max_entries=self.max_entries,
            map_flags=self.map_flags,
            inner_map_fd=inner_map_fd,
            numa_node=self.numa_node,
            map_name=self.kernel_name,
            btf_fd=btf_fd if has_btf else 0,
            btf_key_type_id=self.btf_key_type_id if has_btf else 0,
            btf_value_type_id=self.btf_value_type_id if has_btf and self.type != STRUCT_OPS else 0,
            map_extra=self.map_extra,
        )

    def set(self, attribute: str, value: str) -> None:
        """Override one attribute, as a loader would before creating the map.

        ``value`` is a number (decimal, 0x, 0o) or, for ``type``, a type name. A new size makes
        the map lose its BTF, and cuts or zero-fills the contents of global data.
        """
        if attribute not in _SETTABLE:
            names = ", ".join(_SETTABLE)
            raise SpecError(f"map {self.name}: no attribute '{attribute}'; there are {names}")
        name, limit = _SETTABLE[attribute]
        number = _number(self.name, attribute, value)
        if not 0 <= number <= limit:
            raise SpecError(f"map {self.name}: {attribute}={value} is out of range")
        if name in ("key_size", "value_size") and number != getattr(self, name):
            # The declared types no longer fit.
            self.btf_key_type_id = self.btf_value_type_id = 0
        if name == "value_size" and self.data is not None:
            self.data = self.data[:number].ljust(number, b"\0")
        setattr(self, name, number)


def apply_settings(maps: list[MapSpec], settings: list[str]) -> None:
    """Apply overrides of the form ``NAME.attribute=value``, in order.

    The template inside a map-in-map is called ``NAME.inner``.
    """
    known = {spec.name: spec for spec in maps}
    for spec in maps:
        if spec.inner:
            known.setdefault(spec.inner.name, spec.inner)
    for setting in settings:
        target, equals, value = setting.partition("=")
        name, dot, attribute = target.rpartition(".")
        if not (equals and dot and name and attribute and value):
            raise SpecError(f"'{setting}' is not NAME.attribute=value")
        if name not in known:
            there = ", ".join(known) or "none"
            raise SpecError(f"'{setting}': no map '{name}'; there are: {there}")
        known[name].set(attribute, value)


def _number(map_name: str, attribute: str, value: str) -> int:
    if attribute == "type" and value in MAP_TYPE_NUMBER:
        return MAP_TYPE_NUMBER[value]
    try:
        return int(value, 0)
    except ValueError:
        raise SpecError(f"map {map_name}: {attribute}={value} is not a number") from None


def _ring_bytes(size: int, page_size: int) -> int:
    """Return the power-of-two number of pages that holds ``size`` bytes; 0 stays 0.

    Mirrors ``adjust_ringbuf_sz()``: a size that fits exactly stays, others grow past it.
    """
    if size == 0:
        return 0
    pages, rest = divmod(size, page_size)
    if rest == 0 and pages & (pages - 1) == 0:
        return size
    bytes_ = page_size
    while bytes_ <= size:
        bytes_ *= 2
    # libbpf gives up where the power of two leaves 32 bits, and the kernel then refuses.
    return bytes_ if bytes_ <= U32_MAX else size
