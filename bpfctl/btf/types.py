"""BTF type records and the errors of a damaged blob.

One small record per kind of ``include/uapi/linux/btf.h``. ``id`` is the position in the blob
(1 is the first type, 0 is void); ``name`` is empty for anonymous types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from bpfctl.errors import Failure

BTF_MAGIC = 0xEB9F
BTF_VERSION = 1
BTF_HEADER_BYTES = 24
PTR_BYTES = 8


class Kind(IntEnum):
    """BTF_KIND_*; the member names are those that ``btf dump`` prints."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


MODIFIERS = frozenset((Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG))
LOOKED_THROUGH = MODIFIERS | {Kind.TYPEDEF}

INT_SIGNED, INT_CHAR, INT_BOOL = 1, 2, 4
VAR_STATIC, VAR_GLOBAL, VAR_EXTERN = 0, 1, 2
FUNC_STATIC, FUNC_GLOBAL, FUNC_EXTERN = 0, 1, 2


class BtfError(Failure):
    """A BTF blob is truncated or contradicts itself.

    ``reason`` alone, without the byte ``offset`` in the blob, is what a caller embeds in a
    longer sentence. ``where`` names the file and section if known.
    """

    def __init__(self, reason: str, offset: int | None = None, where: str = "BTF") -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{where} is malformed{at}: {reason}")
        self.reason = reason
        self.offset = offset
        self.where = where

    def within(self, where: str) -> BtfError:
        """Same failure, blamed on ``where`` (a file and a section)."""
        return BtfError(self.reason, self.offset, where)


@dataclass(slots=True)
class BtfType:
    """What all kinds share."""

    kind: Kind
    name: str = ""
    id: int = field(default=0, kw_only=True)


@dataclass(slots=True)
class Int(BtfType):
    """``size`` in bytes; ``offset`` and ``bits`` describe old-style bit fields."""

    size: int = 4
    encoding: int = 0
    offset: int = 0
    bits: int = 32


@dataclass(slots=True)
class Ref(BtfType):
    """PTR, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG: one other type."""

    type: int = 0


@dataclass(slots=True)
class Array(BtfType):
    """``nelems`` elements of type ``type``; ``index`` is the index type."""

    type: int = 0
    index: int = 0
    nelems: int = 0


@dataclass(slots=True)
class Member:
    """``bit_offset`` from the start of the struct; ``bitfield_size`` in bits, 0 if none."""

    name: str
    type: int
    bit_offset: int
    bitfield_size: int = 0


@dataclass(slots=True)
class Composite(BtfType):
    """STRUCT or UNION. ``bitfields`` is the kind flag: member offsets carry sizes."""

    size: int = 0
    members: list[Member] = field(default_factory=list)
    bitfields: bool = False


@dataclass(slots=True)
class Enum(BtfType):
    """ENUM or ENUM64; values are signed numbers only if ``signed``."""

    size: int = 4
    values: list[tuple[str, int]] = field(default_factory=list)
    signed: bool = False


@dataclass(slots=True)
class Fwd(BtfType):
    """Forward declaration of a struct, or of a union."""

    is_union: bool = False


@dataclass(slots=True)
class Func(BtfType):
    """A function: its FUNC_PROTO and FUNC_STATIC, FUNC_GLOBAL or FUNC_EXTERN."""

    type: int = 0
    linkage: int = 0


@dataclass(slots=True)
class FuncProto(BtfType):
    """``params`` are (name, type id); a last ("", 0) is ``...``."""

    ret: int = 0
    params: list[tuple[str, int]] = field(default_factory=list)


@dataclass(slots=True)
class Var(BtfType):
    """A global variable."""

    type: int = 0
    linkage: int = 0


@dataclass(slots=True)
class SecVar:
    """One variable of a section: bytes from its start, and size in bytes."""

    type: int
    offset: int
    size: int


@dataclass(slots=True)
class Datasec(BtfType):
    """An ELF section of variables."""

    size: int = 0
    vars: list[SecVar] = field(default_factory=list)


@dataclass(slots=True)
class Float(BtfType):
    """``size`` in bytes."""

    size: int = 8


@dataclass(slots=True)
class DeclTag(BtfType):
    """A tag on a declaration; ``component`` is -1 for the whole, else a member or parameter."""

    type: int = 0
    component: int = -1


VOID = BtfType(Kind.VOID)
