"""Values of BTF types as trees that a JSON writer prints.

A tree is an :class:`Object` (ordered members, names may repeat), a list, a str (quoted and
escaped by the writer), an int, a bool, or :class:`Raw` text that goes out as it is. Plain and
JSON output differ for pointers, bit fields and unprintable characters, so ``plain`` is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    INT_BOOL,
    INT_CHAR,
    INT_SIGNED,
    MODIFIERS,
    PTR_BYTES,
    Array,
    BtfError,
    BtfType,
    Composite,
    Datasec,
    Enum,
    Int,
    Kind,
    Var,
)

# Hostile types can nest and repeat without using a byte of the value.
_MAX_DEPTH = 128
_SPARE_NODES = 100_000
_NODES_PER_BYTE = 64


@dataclass(slots=True)
class Raw:
    """Text written without quotes, whether or not it is JSON."""

    text: str


@dataclass(slots=True)
class Object:
    """Members in order."""

    members: list[tuple[str, Tree]] = field(default_factory=list)


Tree: TypeAlias = "Object | list[Tree] | str | int | bool | Raw"


@dataclass(slots=True)
class Formatted:
    """``complete`` is False when a type without a text form (float ...) ended it early."""

    tree: Tree
    complete: bool = True


def format_value(btf: Btf, type_id: int, data: bytes, plain: bool) -> Formatted:
    """Return the value ``data`` of type ``type_id``.

    :raises BtfError: ``data`` is shorter than the type.
    """
    formatter = _Formatter(btf, data, plain)
    tree = formatter.value(type_id, 0, 0, 0)
    return Formatted(tree, not formatter.stopped)


def _signed(value: int, bits: int) -> int:
    """Read the low ``bits`` of ``value`` as a two's complement number."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class _Formatter:
    """Mirrors bpftool's btf_dumper: ``stopped`` makes every enclosing level end."""

    def __init__(self, btf: Btf, data: bytes, plain: bool) -> None:
        self.btf = btf
        self.data = data
        self.plain = plain
        self.stopped = False
        self.nodes_left = _SPARE_NODES + _NODES_PER_BYTE * len(data)

    def read(self, at: int, size: int) -> int:
        end = at + size
        if end > len(self.data):
            raise BtfError(f"a value of {len(self.data)} bytes is too short for its type")
        return int.from_bytes(self.data[at:end], "big" if self.btf.big_endian else "little")

    def value(self, type_id: int, at: int, bit: int, depth: int) -> Tree:
        """Return the value at byte ``at``; ``bit`` is an extra offset below 8."""
        self.nodes_left -= 1
        if depth > _MAX_DEPTH or self.nodes_left < 0:
            raise BtfError(f"type {type_id} is too deep or too large to print")
        found = self.btf.resolve(type_id)
        if isinstance(found, Int):
            return self.integer(found, at, bit)
        if isinstance(found, Composite):
            return self.composite(found, at, depth)
        if isinstance(found, Array):
            return self.array(found, at, depth)
        if isinstance(found, Enum):
            return self.enum(found, at)
        if found.kind == Kind.PTR:
            return self.pointer(at)
        if isinstance(found, Var):
            return Object([(found.name, self.value(found.type, at, bit, depth + 1))])
        if isinstance(found, Datasec):
            return self.datasec(found, at, depth)
        return self.odd(found)

    def odd(self, found: BtfType) -> Raw:
        """Text for what cannot be a value; all but void end the output."""
        if found.kind == Kind.VOID:
            return Raw("(unknown)")
        self.stopped = True
        # bpftool forgets the second parenthesis; scripts may look for the text.
        return Raw("(fwd-kind-invalid)" if found.kind == Kind.FWD else "(unsupported-kind")

    def integer(self, found: Int, at: int, bit: int) -> Tree:
        odd_size = found.bits % 8 or (found.bits not in (8, 16, 32, 64, 128))
        character = found.encoding & (INT_CHAR | INT_BOOL)
        if found.offset or bit or found.bits % 8 or (odd_size and not character):
            total = bit + found.offset
            return self.bitfield(at + total // 8, total % 8, found.bits)
        if found.bits == 128:
            return self.hex(self.read(at, 16))
        if found.encoding & INT_BOOL:
            return self.read(at, 1) != 0
        if found.encoding & INT_CHAR:
            return self.char(self.read(at, 1))
        value = self.read(at, found.bits // 8)
        return _signed(value, found.bits) if found.encoding & INT_SIGNED else value

    def char(self, value: int) -> Raw:
        if 0x20 <= value < 0x7F:
            return Raw(f'"{chr(value)}"')
        return Raw(f"0x{value:x}" if self.plain else f'"\\u00{value:02x}"')

    def bitfield(self, at: int, bit: int, bits: int) -> Tree:
        size = (bit + bits + 7) // 8
        value = self.read(at, size)
        if self.btf.big_endian:
            value >>= 8 * size - bit - bits
        else:
            value >>= bit
        return self.hex(value & ((1 << bits) - 1))

    def hex(self, value: int) -> Tree:
        return Raw(f"0x{value:x}") if self.plain else f"0x{value:x}"

    def pointer(self, at: int) -> Tree:
        value = self.read(at, PTR_BYTES)
        if not self.plain:
            return value
        return f"0x{value:x}" if value else "(nil)"

    def enum(self, found: Enum, at: int) -> Tree:
        # Signed comparison and output, whatever the enum says: 255 in one byte reads -1.
        value = _signed(self.read(at, found.size), 8 * found.size)
        bits = 64 if found.kind == Kind.ENUM64 else 32
        for name, known in found.values:
            if _signed(known, bits) == value:
                return name
        return value

    def composite(self, found: Composite, at: int, depth: int) -> Object:
        made = Object()
        for member in found.members:
            where = at + member.bit_offset // 8
            bit = member.bit_offset % 8
            if member.bitfield_size:
                self.nodes_left -= 1
                value = self.bitfield(where, bit, member.bitfield_size)
            else:
                value = self.value(member.type, where, bit, depth + 1)
            made.members.append((member.name, value))
            if self.stopped:
                break
        return made

    def array(self, found: Array, at: int, depth: int) -> Tree:
        text = self.text(found, at)
        if text is not None:
            return text
        size = self.btf.size_of(found.type) if found.nelems else 0
        made: list[Tree] = []
        for index in range(found.nelems):
            made.append(self.value(found.type, at + index * size, 0, depth + 1))
            if self.stopped:
                break
        return made

    def text(self, found: Array, at: int) -> str | None:
        """Return the string in an array of char: printable and ended by a zero byte.

        A typedef of char does not count.
        """
        elem = self.btf.skip(found.type, MODIFIERS)
        if not isinstance(elem, Int) or elem.size != 1 or not found.nelems:
            return None
        if elem.encoding != INT_CHAR and elem.name != "char":
            return None
        chars, end, _ = self.data[at : at + found.nelems].partition(b"\0")
        if not end or any(not 0x1F < char < 0x7F for char in chars):
            return None
        return chars.decode("ascii")

    def datasec(self, found: Datasec, at: int, depth: int) -> Object:
        made: list[Tree] = []
        for var in found.vars:
            made.append(self.value(var.type, at + var.offset, 0, depth + 1))
            if self.stopped:
                break
        return Object([(found.name, made)])
