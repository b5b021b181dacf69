"""Types spelled in C: declarations, and definitions of structs, unions and enums."""

from __future__ import annotations

from collections import Counter

from bpfctl.btf.parse import Btf
from bpfctl.btf.types import (
    MODIFIERS,
    PTR_BYTES,
    Array,
    BtfError,
    BtfType,
    Composite,
    Enum,
    FuncProto,
    Fwd,
    Kind,
    Ref,
)

# Hostile types nest deeply, or write one thing again and again.
MAX_DEPTH = 200
MAX_STEPS = 5_000_000
_TYPE_BITS = (("long", 8 * PTR_BYTES), ("int", 32), ("short", 16), ("char", 8))
_WORDS = {Kind.VOLATILE: "volatile", Kind.CONST: "const", Kind.RESTRICT: "restrict"}
_VOID_GNUC_VA_LIST = "__gnuc_va_list"
_REFERENCES = MODIFIERS | {Kind.PTR}


class Speller:
    """Collects C text of one BTF in ``text``.

    Names that several types share get a number: types among each other, typedefs and
    enumerators among each other.
    """

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.text: list[str] = []
        self._names: dict[int, str] = {}
        self._type_names: Counter[str] = Counter()
        self._ident_names: Counter[str] = Counter()
        self._depth = 0
        self._steps = 0

    def put(self, *pieces: str) -> None:
        self.text += pieces

    def step(self) -> None:
        """Count one step of work.

        :raises BtfError: no sound BTF takes so many.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise BtfError("types repeat endlessly")

    # --- names -----------------------------------------------------------------

    def type_name(self, found: BtfType) -> str:
        """Return the name of a struct, union, enum or forward declaration."""
        return self._name(found, self._type_names)

    def ident_name(self, found: BtfType) -> str:
        """Return the name of a typedef."""
        return self._name(found, self._ident_names)

    def _name(self, found: BtfType, names: Counter[str]) -> str:
        if not found.name:
            return ""
        known = self._names.get(found.id)
        if known is None:
            known = found.name
            empty = found.kind == Kind.ENUM and isinstance(found, Enum) and not found.values
            if not isinstance(found, Fwd) and not empty:
                known = self._numbered(found.name, names)
            self._names[found.id] = known
        return known

    @staticmethod
    def _numbered(name: str, names: Counter[str]) -> str:
        names[name] += 1
        return f"{name}___{names[name]}" if names[name] > 1 else name

    # --- definitions -------------------------------------------------------------

    def forward(self, found: BtfType) -> None:
        """Write ``struct NAME``, ``union NAME`` or ``enum NAME``."""
        if isinstance(found, Fwd):
            word = "union" if found.is_union else "struct"
        else:
            word = "enum" if isinstance(found, Enum) else found.kind.name.lower()
        name = self.type_name(found)
        self.put(f"{word} {name}" if name else word)

    def typedef(self, found: Ref) -> None:
        """Write ``typedef TYPE NAME``."""
        name = self.ident_name(found)
        if found.type == 0 and name == _VOID_GNUC_VA_LIST:
            self.put(f"typedef __builtin_va_list {name}")
            return
        self.put("typedef ")
        self.declare(found.type, name, 0)

    def enum(self, found: Enum, level: int) -> None:
        """Write a whole enum; the level is that of its braces."""
        self.forward(found)
        if not found.values:
            return
        indent = "\t" * (level + 1)
        suffix = ""
        if found.kind == Kind.ENUM64:
            suffix = "LL" if found.signed else "ULL"
        self.put(" {")
        for name, value in found.values:
            self.put(f"\n{indent}{self._numbered(name, self._ident_names)} = {value}{suffix},")
        self.put("\n", "\t" * level, "}")
        if found.size == 1:
            self.put(" __attribute__((mode(byte)))")
        elif found.size == 8 and not _is_wide(found):
            self.put(" __attribute__((mode(word)))")

    def composite(self, found: Composite, level: int) -> None:
        """Write a whole struct or union, with explicit padding where C would not pad so."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BtfError("types nest too deeply")
        is_struct = found.kind == Kind.STRUCT
        packed = is_struct and self._is_packed(found)
        self.forward(found)
        self.put(" {")
        end = 0
        in_bits = False
        for member in found.members:
            self.step()
            bits = member.bitfield_size
            align = 1 if packed else self.align(member.type)
            self._pad(end, member.bit_offset, align, in_bits and bits != 0, level + 1)
            self.put("\n", "\t" * (level + 1))
            self.declare(member.type, member.name, level + 1)
            self.put(f": {bits};" if bits else ";")
            in_bits = bits != 0
            end = member.bit_offset + (bits or 8 * self.size(member.type))
        if is_struct:
            self._pad(end, 8 * found.size, self.align(found.id), False, level + 1)
        self.put("\n" + "\t" * level + "}" if found.members or found.size else "}")
        if packed:
            self.put(" __attribute__((packed))")
        self._depth -= 1

    def size(self, type_id: int) -> int:
        """Return the bytes of a type, 0 for types without a size."""
        try:
            return self.btf.size_of(type_id)
        except BtfError:
            return 0

    def align(self, type_id: int) -> int:
        """Return the alignment of a type, 0 for types without one."""
        try:
            return self.btf.align_of(type_id)
        except BtfError:
            return 0

    def _is_packed(self, found: Composite) -> bool:
        most = 1
        for member in found.members:
            align = self.align(member.type)
            if align and not member.bitfield_size and member.bit_offset % (8 * align):
                return True
            most = max(most, align)
        return found.size % most != 0

    def _pad(self, at: int, to: int, align: int, in_bits: bool, level: int) -> None:
        """Fill the gap between two bit offsets with nameless bit fields.

        Offsets that the compiler's own alignment arrives at need nothing.
        """
        if at >= to:
            return
        name, bits = next(
            ((name, bits) for name, bits in _TYPE_BITS if _up(at, bits) <= to), _TYPE_BITS[-1]
        )
        start = "\n" + "\t" * level
        boundary = _up(at, bits)
        if at < boundary <= to:
            if in_bits:
                self.put(f"{start}{name}: {boundary - at};")
            elif (boundary == to and _up(at, 8 * align) != boundary) or (
                boundary != to and to - boundary <= boundary - at
            ):
                self.put(f"{start}{name}: 0;")
            at = boundary
        while to - at >= bits:
            self.step()
            self.put(f"{start}{name}: {bits};")
            at += bits
        if at < to:
            rest = to - at
            name = next(name for name, bits in reversed(_TYPE_BITS) if bits >= rest)
            self.put(f"{start}{name}: {rest};")

    # --- declarations --------------------------------------------------------------

    def declare(self, type_id: int, name: str, level: int) -> None:
        """Write the declaration of ``name``, which may be empty, as of a type."""
        chain = []
        while True:
            self.step()
            found = self.btf.type(type_id)
            chain.append(found)
            if isinstance(found, Array) or (isinstance(found, Ref) and found.kind in _REFERENCES):
                type_id = found.type
            elif isinstance(found, FuncProto):
                type_id = found.ret
            else:
                break
        self._chain(chain, name, level)

    def _chain(self, chain: list[BtfType], name: str, level: int) -> None:
        """Write a chain of types from its end, the innermost, to its start.

        Arrays and functions write the rest in between, so that ``name`` stands in the middle.
        """
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise BtfError("types nest too deeply")
        after_pointer = True
        while chain:
            found = chain.pop()
            if isinstance(found, Array):
                self._array(found, chain, name, level, after_pointer)
                break
            if isinstance(found, FuncProto):
                self._function(found, chain, name, level, after_pointer)
                break
            if found.kind == Kind.PTR:
                self.put("*" if after_pointer else " *")
            elif found.kind in MODIFIERS:
                if found.kind == Kind.TYPE_TAG:
                    self._modifiers(chain)
                self.put(f" {_modifier(found)}")
            else:
                self._innermost(found, chain, level)
            after_pointer = found.kind == Kind.PTR
        else:
            self._put_name(name, after_pointer)
        self._depth -= 1

    def _modifiers(self, chain: list[BtfType]) -> None:
        """Write the qualifiers that stand before a type; tags stand behind it."""
        while chain and chain[-1].kind in _WORDS:
            self.put(f"{_modifier(chain.pop())} ")

    def _put_name(self, name: str, after_pointer: bool) -> None:
        self.put(f" {name}" if name and not after_pointer else name)

    def _innermost(self, found: BtfType, chain: list[BtfType], level: int) -> None:
        """Write what a declaration begins with, its qualifiers first."""
        self._modifiers(chain)
        if isinstance(found, Composite) and not found.name:
            self.composite(found, level)
        elif isinstance(found, Enum) and not found.name:
            self.enum(found, level)
        elif isinstance(found, Composite | Enum | Fwd):
            self.forward(found)
        elif found.kind == Kind.TYPEDEF:
            self.put(self.ident_name(found))
        else:
            self.put(found.name if found.id else "void")

    def _array(
        self, found: Array, chain: list[BtfType], name: str, level: int, after_pointer: bool
    ) -> None:
        _drop_modifiers(chain)
        if not chain:
            self._put_name(name, after_pointer)
        else:
            inside = isinstance(chain[-1], Array)
            if name and not after_pointer:
                self.put(" ")
            self.put("" if inside else "(")
            self._chain(chain, name, level)
            self.put("" if inside else ")")
        self.put(f"[{found.nelems}]")

    def _function(
        self, found: FuncProto, chain: list[BtfType], name: str, level: int, after_pointer: bool
    ) -> None:
        _drop_modifiers(chain)
        if chain:
            self.put(" (")
            self._chain(chain, name, level)
            self.put(")")
        else:
            self._put_name(name, after_pointer)
        params = found.params
        if not params or (len(params) == 1 and params[0][1] == 0):
            self.put("(void)")
            return
        self.put("(")
        for index, (param, type_id) in enumerate(params):
            self.put(", " if index else "")
            if index == len(params) - 1 and type_id == 0:
                self.put("...")
            else:
                self.declare(type_id, param, level)
        self.put(")")


def _modifier(found: BtfType) -> str:
    return _WORDS.get(found.kind) or f'__attribute__((btf_type_tag("{found.name}")))'


def _drop_modifiers(chain: list[BtfType]) -> None:
    """Forget qualifiers of arrays and functions, which some compilers add."""
    while chain and chain[-1].kind in MODIFIERS:
        chain.pop()


def _is_wide(found: Enum) -> bool:
    """Tell whether a value makes the compiler take 64 bits by itself."""
    return found.kind == Kind.ENUM64 and any(value >> 32 for _, value in found.values)


def _up(value: int, unit: int) -> int:
    """Round up to a multiple; a unit of 0 leaves the value alone."""
    return -(-value // unit) * unit if unit else value
