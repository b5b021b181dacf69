"""How a helper function is declared: prototype, licence, effects, and the body that runs it.

Mirrors struct bpf_func_proto of include/linux/bpf.h. A helper is declared once; where program
types have prototypes of their own for one number (bpf_perf_event_output of skb, xdp and tracing
programs), each is a variant of it. What changed between releases is a change of the newest
prototype, named by a trait that profiles list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

BASE_MASK = 0xFF
"""The bits of an argument or return type that hold the base type; flags lie above."""


class Flag:
    """Modifiers of arguments and return values (enum bpf_type_flag)."""

    MAYBE_NULL = 1 << 8
    RDONLY = 1 << 9
    RINGBUF = 1 << 10
    USER = 1 << 11
    PERCPU = 1 << 12
    RELEASE = 1 << 13
    UNTRUSTED = 1 << 14
    UNINIT = 1 << 15
    DYNPTR_LOCAL = 1 << 20
    DYNPTR_RINGBUF = 1 << 21
    FIXED_SIZE = 1 << 24
    ALLOC = 1 << 16
    TRUSTED = 1 << 17
    RCU = 1 << 18
    NON_OWN_REF = 1 << 19
    DYNPTR_SKB = 1 << 22
    DYNPTR_XDP = 1 << 23
    ALIGNED = 1 << 26
    WRITE = 1 << 25


class Arg:
    """Types of arguments (enum bpf_arg_type), with the combinations that helpers use."""

    DONTCARE = 0
    CONST_MAP_PTR = 1
    PTR_TO_MAP_KEY = 2
    PTR_TO_MAP_VALUE = 3
    PTR_TO_MEM = 4
    PTR_TO_ARENA = 5
    CONST_SIZE = 6
    CONST_SIZE_OR_ZERO = 7
    PTR_TO_CTX = 8
    ANYTHING = 9
    PTR_TO_SPIN_LOCK = 10
    PTR_TO_SOCK_COMMON = 11
    PTR_TO_SOCKET = 12
    PTR_TO_BTF_ID = 13
    PTR_TO_RINGBUF_MEM = 14
    CONST_ALLOC_SIZE_OR_ZERO = 15
    PTR_TO_BTF_ID_SOCK_COMMON = 16
    PTR_TO_PERCPU_BTF_ID = 17
    PTR_TO_FUNC = 18
    PTR_TO_STACK = 19
    PTR_TO_CONST_STR = 20
    PTR_TO_TIMER = 21
    KPTR_XCHG_DEST = 22
    PTR_TO_DYNPTR = 23
    PTR_TO_INT = 24
    PTR_TO_LONG = 25

    PTR_TO_MEM_RDONLY = PTR_TO_MEM | Flag.RDONLY
    PTR_TO_MEM_RDONLY_OR_NULL = PTR_TO_MEM_RDONLY | Flag.MAYBE_NULL
    PTR_TO_MEM_OR_NULL = PTR_TO_MEM | Flag.MAYBE_NULL
    PTR_TO_MEM_WRITE = PTR_TO_MEM | Flag.WRITE
    PTR_TO_MEM_WRITE_OR_NULL = PTR_TO_MEM_WRITE | Flag.MAYBE_NULL
    PTR_TO_UNINIT_MEM = PTR_TO_MEM | Flag.UNINIT | Flag.WRITE
    PTR_TO_FIXED_SIZE_MEM = PTR_TO_MEM | Flag.FIXED_SIZE
    PTR_TO_MAP_VALUE_OR_NULL = PTR_TO_MAP_VALUE | Flag.MAYBE_NULL
    PTR_TO_UNINIT_MAP_VALUE = PTR_TO_MAP_VALUE | Flag.UNINIT | Flag.WRITE
    PTR_TO_CTX_OR_NULL = PTR_TO_CTX | Flag.MAYBE_NULL
    PTR_TO_SOCKET_OR_NULL = PTR_TO_SOCKET | Flag.MAYBE_NULL
    PTR_TO_BTF_ID_OR_NULL = PTR_TO_BTF_ID | Flag.MAYBE_NULL
    PTR_TO_STACK_OR_NULL = PTR_TO_STACK | Flag.MAYBE_NULL


class Ret:
    """Types of return values (enum bpf_return_type), with the combinations that helpers use."""

    INTEGER = 0
    VOID = 1
    MAP_VALUE = 2
    SOCKET = 3
    TCP_SOCK = 4
    SOCK_COMMON = 5
    MEM = 6
    MEM_OR_BTF_ID = 7
    BTF_ID = 8

    MAP_VALUE_OR_NULL = MAP_VALUE | Flag.MAYBE_NULL
    SOCKET_OR_NULL = SOCKET | Flag.MAYBE_NULL
    TCP_SOCK_OR_NULL = TCP_SOCK | Flag.MAYBE_NULL
    SOCK_COMMON_OR_NULL = SOCK_COMMON | Flag.MAYBE_NULL
    RINGBUF_MEM_OR_NULL = MEM | Flag.RINGBUF | Flag.MAYBE_NULL
    DYNPTR_MEM_OR_NULL = MEM | Flag.MAYBE_NULL
    BTF_ID_OR_NULL = BTF_ID | Flag.MAYBE_NULL
    BTF_ID_TRUSTED = BTF_ID | Flag.TRUSTED
    MEM_OR_BTF_ID_OR_NULL = MEM_OR_BTF_ID | Flag.MAYBE_NULL


class ArgSpec(NamedTuple):
    """One argument: type with flags, kernel struct of a BTF pointer, bytes of fixed-size memory."""

    type: int
    btf: str = ""
    size: int = 0

    @property
    def base(self) -> int:
        """The type without its flags."""
        return self.type & BASE_MASK


def btf(struct: str, flags: int = 0) -> ArgSpec:
    """Declare a pointer to a kernel ``struct``."""
    return ArgSpec(Arg.PTR_TO_BTF_ID | flags, struct)


def fixed(size: int, flags: int = Flag.RDONLY) -> ArgSpec:
    """Declare a pointer to memory of ``size`` bytes, whatever the call says."""
    return ArgSpec(Arg.PTR_TO_FIXED_SIZE_MEM | flags, "", size)


@dataclass(frozen=True)
class Proto:
    """One prototype (struct bpf_func_proto).

    ``ret_btf``: kernel struct that a returned BTF pointer points to. ``pkt_access``: packet
    pointers may be passed as memory. ``changes_pkt``: packet pointers are void after the call.
    ``acquires``: the result is a reference that must be given back. ``changes``: for each trait
    of older releases, the fields that differed there.
    """

    ret: int
    args: tuple[ArgSpec, ...]
    ret_btf: str = ""
    gpl_only: bool = False
    pkt_access: bool = False
    might_sleep: bool = False
    changes_pkt: bool = False
    acquires: bool = False
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def at(self, traits: frozenset[str]) -> Proto:
        """Return the prototype as a release has it whose profile lists ``traits``."""
        found = self
        for trait, fields in self.changes.items():
            if trait in traits:
                found = replace(found, **fields)
        return found


@dataclass
class Helper:
    """A helper function: number, name, and prototype and body by variant ("" is the common one)."""

    number: int
    name: str
    protos: dict[str, Proto] = field(default_factory=dict)
    bodies: dict[str, Callable[..., Any]] = field(default_factory=dict)
    registers: bool = False

    def proto(self, variant: str = "") -> Proto:
        """Return the prototype of ``variant``, or the common one."""
        return self.protos.get(variant) or self.protos[""]

    def body(self, variant: str = "") -> Callable[..., Any] | None:
        """Return what runs ``variant``, or None: declared, but not modelled."""
        return self.bodies.get(variant) or self.bodies.get("")


REGISTRY: dict[int, Helper] = {}

F = TypeVar("F", bound=Callable[..., Any])


def args(*specs: int | ArgSpec) -> tuple[ArgSpec, ...]:
    """Build argument lists out of plain types and specs."""
    return tuple(spec if isinstance(spec, ArgSpec) else ArgSpec(spec) for spec in specs)


def declare(
    number: int,
    name: str,
    ret: int = Ret.INTEGER,
    args: tuple[int | ArgSpec, ...] = (),
    variant: str = "",
    **facts: Any,
) -> Helper:
    """Declare a helper, or a ``variant`` of it, and return it. ``facts`` are those of Proto."""
    helper_ = REGISTRY.setdefault(number, Helper(number, name))
    if helper_.name != name:
        raise ValueError(f"helper {number} is {helper_.name}, not {name}")
    if variant in helper_.protos:
        raise ValueError(f"helper {name}: variant '{variant}' is declared twice")
    specs = tuple(spec if isinstance(spec, ArgSpec) else ArgSpec(spec) for spec in args)
    helper_.protos[variant] = Proto(ret, specs, **facts)
    return helper_


def helper(
    number: int,
    name: str,
    ret: int = Ret.INTEGER,
    args: tuple[int | ArgSpec, ...] = (),
    variant: str = "",
    **facts: Any,
) -> Callable[[F], F]:
    """Declare a helper as :func:`declare` does; what is decorated runs it.

    The body is called with the runtime object and the decoded arguments and returns an int,
    taken modulo 2**64.
    """
    declared = declare(number, name, ret, args, variant, **facts)

    def register(body: F) -> F:
        declared.bodies[variant] = body
        return body

    return register


def body(number: int, variant: str = "", registers: bool = False) -> Callable[[F], F]:
    """Give a declared helper what runs it; see :func:`helper`.

    ``registers``: it is passed r1 to r5, however many arguments the declaration checks.
    """

    def register(run: F) -> F:
        REGISTRY[number].bodies[variant] = run
        REGISTRY[number].registers |= registers
        return run

    return register
