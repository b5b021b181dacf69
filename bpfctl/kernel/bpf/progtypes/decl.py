"""How a program type is declared: what it may be loaded by, see, call and return.

The context layout is the one that programs see (struct __sk_buff, struct xdp_md ...), not the
kernel's. Mirrors struct bpf_verifier_ops: the fields of a layout say what its is_valid_access()
decides, the helper sets what its get_func_proto() offers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

NO_CAP, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON = "", "bpf", "net_admin", "perfmon"

BASE_SETS = ("base", "base_bpf", "locks", "base_perfmon")
"""The helper sets of bpf_base_func_proto(), which most types fall back to."""

SCALAR = "scalar"
PACKET, PACKET_END, PACKET_META = "packet", "packet_end", "packet_meta"
SOCKET, SOCKET_OR_NULL, SOCK_COMMON_OR_NULL = "socket", "socket_or_null", "sock_common_or_null"
FLOW_KEYS, TP_BUFFER = "flow_keys", "tp_buffer"
UNCONVERTIBLE = "unconvertible"
"""What only 5.10 has: padding that may be read, and then cannot be rewritten."""


@dataclass(frozen=True)
class Field:
    """One field of a context, sizes and offsets in bytes.

    A load of ``size`` bytes at its beginning is always good. ``narrow``: smaller loads too,
    "any" where, or at the "start" only; ``smallest`` is the least of them. ``wide``: also whole
    8 bytes, where aligned; ``unit``: bytes of one word of an array (IPv6 addresses).
    ``also``: further sizes at its beginning. ``write``: sizes that may be stored at its start, or
    with ``write_any`` wherever they fit. ``becomes``: what a load gives ("btf:STRUCT" is a
    trusted kernel pointer). ``attach``, ``write_attach``: attach types that may read or write it,
    if not all. ``capable``: reading takes CAP_BPF; ``write_capable``: writing does. ``trait``:
    only where the profile lists it, ``unless``: only where it does not. ``spans``: only its first
    byte is special, the rest belongs to the layout's span. ``widened``: the kernel rewrites narrow
    loads to whole ones.
    """

    name: str
    offset: int
    size: int = 4
    becomes: str = SCALAR
    narrow: str = ""
    smallest: int = 1
    unit: int = 0
    wide: bool = False
    readable: bool = True
    also: tuple[int, ...] = ()
    write: tuple[int, ...] = ()
    write_any: bool = False
    attach: frozenset[int] | None = None
    write_attach: frozenset[int] | None = None
    capable: bool = False
    write_capable: bool = False
    trait: str = ""
    unless: str = ""
    spans: bool = False
    widened: bool = True

    @property
    def end(self) -> int:
        """First byte behind the field."""
        return self.offset + self.size

    def _fits(self, off: int, size: int) -> bool:
        return self.offset <= off and off + size <= self.end

    def reads(self, off: int, size: int) -> bool:
        """Tell whether ``size`` bytes at ``off`` may be loaded."""
        if not self.readable:
            return False
        if self.wide and size == 8 and off % 8 == 0 and self._fits(off, size):
            return True
        unit = self.unit or self.size
        at = (off - self.offset) % unit
        if off == self.offset and size in self.also:
            return True
        if size == unit and at == 0:
            return self._fits(off, size)
        if self.narrow == "any":
            return self.smallest <= size <= unit and at + size <= unit and self._fits(off, size)
        return self.narrow == "start" and off == self.offset and size <= self.size

    def writes(self, off: int, size: int) -> bool:
        """Tell whether ``size`` bytes may be stored at ``off``."""
        if size not in self.write:
            return False
        if self.write_any or self.unit:
            return self._fits(off, size) and off % size == 0
        return off == self.offset


class Access(NamedTuple):
    """A context access that is allowed: what a load gives, and the field it is in."""

    becomes: str
    field: Field | None
    field_size: int


@dataclass(frozen=True)
class CtxLayout:
    """The context that programs of a type see.

    ``fields`` by offset. Without fields every access of a ``span`` (first byte, byte behind the
    last) is good, writes if ``writable`` or with trait ``writable_trait``. ``aligned``: offsets
    are multiples of the size, but where the profile lists ``unaligned_trait``.
    """

    struct: str
    size: int
    fields: tuple[Field, ...] = ()
    span: tuple[int, int] | None = None
    writable: bool = False
    writable_trait: str = ""
    unaligned_trait: str = ""

    def field_at(self, off: int, traits: frozenset[str]) -> Field | None:
        """Return the field that byte ``off`` is in, as a release with ``traits`` has it."""
        for field_ in self.fields:
            if field_.offset <= off < field_.end and (
                (not field_.trait or field_.trait in traits)
                and (not field_.unless or field_.unless not in traits)
            ):
                return field_
        return None

    def access(
        self,
        off: int,
        size: int,
        write: bool,
        attach_type: int = 0,
        capable: bool = True,
        traits: frozenset[str] = frozenset(),
    ) -> Access | None:
        """Return what an access gives, or None: invalid bpf_context access."""
        if off < 0 or off + size > (self.size if self.fields else self.size + 8):
            return None
        if off % size and self.unaligned_trait not in traits:
            return None
        found = self.field_at(off, traits)
        if found is not None and found.spans and off != found.offset:
            found = None
        if found is not None:
            return _field_access(found, off, size, write, attach_type, capable)
        if self.span is None or not self.span[0] <= off or off + size > self.span[1]:
            return None
        if write and not self.writable and self.writable_trait not in traits:
            return None
        return Access(SCALAR, None, 0)


def _field_access(
    found: Field, off: int, size: int, write: bool, attach_type: int, capable: bool
) -> Access | None:
    allowed = found.write_attach if write else found.attach
    if allowed is not None and attach_type not in allowed:
        return None
    if not capable and (found.write_capable if write else found.capable):
        return None
    good = found.writes(off, size) if write else found.reads(off, size)
    if not good:
        return None
    narrow = found.becomes == SCALAR and not write and bool(found.narrow) and found.widened
    return Access(found.becomes, found, (found.unit or found.size) if narrow else 0)


class Returns(NamedTuple):
    """The range of r0 at exit; ``attach``: for these attach types only. First match counts."""

    low: int
    high: int
    attach: frozenset[int] | None = None
    trait: str = ""
    unless: str = ""


@dataclass(frozen=True)
class AttachRule:
    """Values of expected_attach_type that a type accepts at load.

    ``zero_means``: what 0 is rewritten to. ``since`` is the attach type whose arrival brought
    the rule, 0 for "always".
    """

    allowed: frozenset[int]
    zero_means: int = 0
    since: int = 0


@dataclass(frozen=True, eq=False)
class ProgType:
    """One program type.

    ``capability``: what its loader needs beside CAP_BPF; NO_CAP: not even that. ``helpers``:
    names of helper sets; ``attach_helpers``: further sets by attach type; ``variants``: which
    prototype of a helper it gets, ``attach_variants``: by attach type. ``attach``: None takes
    every expected_attach_type.
    ``attach_btf``: names what it attaches to by a BTF id. ``returns``: empty for any value.
    ``sleepable``: BPF_F_SLEEPABLE may be asked for ("always": must be), for
    ``sleepable_attach`` types only, where profiles list ``sleepable_trait``. ``test_run``: runner
    of BPF_PROG_TEST_RUN, empty for none. ``changes_pkt_data``, ``ld_abs``: what skb programs may.
    """

    name: str
    number: int
    capability: str
    ctx: CtxLayout | None
    helpers: tuple[str, ...]
    attach_helpers: dict[int, tuple[str, ...]] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    attach_variants: dict[int, dict[str, str]] = field(default_factory=dict)
    attach: AttachRule | None = None
    attach_btf: bool = False
    returns: tuple[Returns, ...] = ()
    sleepable: str = ""
    sleepable_attach: frozenset[int] | None = None
    sleepable_trait: str = ""
    test_run: str = ""
    ld_abs: bool = False
    direct_packet: str = ""
    built_in: bool = True

    def return_range(self, attach_type: int, traits: frozenset[str]) -> Returns | None:
        """Return what r0 may be at exit, None for anything."""
        for rule in self.returns:
            if rule.trait and rule.trait not in traits:
                continue
            if rule.unless and rule.unless in traits:
                continue
            if rule.attach is None or attach_type in rule.attach:
                return rule
        return None


REGISTRY: dict[int, ProgType] = {}


def declare(prog_type: ProgType) -> ProgType:
    """Add a program type to the registry and return it."""
    if prog_type.number in REGISTRY:
        raise ValueError(f"program type {prog_type.number} is declared twice")
    REGISTRY[prog_type.number] = prog_type
    return prog_type
