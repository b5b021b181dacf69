"""The binary format of WebAssembly, as much as programs need of it."""

from __future__ import annotations

I32, I64, VOID = 0x7F, 0x7E, 0x40
OPS = {
    "unreachable": 0x00, "block": 0x02, "loop": 0x03, "if": 0x04, "else": 0x05, "end": 0x0B,
    "br": 0x0C, "br_if": 0x0D, "br_table": 0x0E, "return": 0x0F, "call": 0x10, "drop": 0x1A,
    "select": 0x1B, "local.get": 0x20, "local.set": 0x21, "local.tee": 0x22,
    "i32.const": 0x41, "i64.const": 0x42, "i32.eqz": 0x45, "i64.eqz": 0x50,
    "i32.eq": 0x46, "i32.ne": 0x47, "i32.lt_s": 0x48, "i32.lt_u": 0x49, "i32.gt_s": 0x4A,
    "i32.gt_u": 0x4B, "i32.le_s": 0x4C, "i32.le_u": 0x4D, "i32.ge_s": 0x4E, "i32.ge_u": 0x4F,
    "i64.eq": 0x51, "i64.ne": 0x52, "i64.lt_s": 0x53, "i64.lt_u": 0x54, "i64.gt_s": 0x55,
    "i64.gt_u": 0x56, "i64.le_s": 0x57, "i64.le_u": 0x58, "i64.ge_s": 0x59, "i64.ge_u": 0x5A,
    "i32.add": 0x6A, "i32.sub": 0x6B, "i32.mul": 0x6C, "i32.div_s": 0x6D, "i32.div_u": 0x6E,
    "i32.rem_s": 0x6F, "i32.rem_u": 0x70, "i32.and": 0x71, "i32.or": 0x72, "i32.xor": 0x73,
    "i32.shl": 0x74, "i32.shr_s": 0x75, "i32.shr_u": 0x76, "i32.rotl": 0x77,
    "i64.add": 0x7C, "i64.sub": 0x7D, "i64.mul": 0x7E, "i64.div_s": 0x7F, "i64.div_u": 0x80,
    "i64.rem_s": 0x81, "i64.rem_u": 0x82, "i64.and": 0x83, "i64.or": 0x84, "i64.xor": 0x85,
    "i64.shl": 0x86, "i64.shr_s": 0x87, "i64.shr_u": 0x88, "i64.rotl": 0x89,
    "i32.wrap_i64": 0xA7, "i64.extend_i32_s": 0xAC, "i64.extend_i32_u": 0xAD,
    "i64.extend8_s": 0xC2, "i64.extend16_s": 0xC3, "i64.extend32_s": 0xC4,
    "i32.extend8_s": 0xC0, "i32.extend16_s": 0xC1,
}  # fmt: skip
LOADS = {1: 0x31, 2: 0x33, 4: 0x35, 8: 0x29}
SIGNED_LOADS = {1: 0x30, 2: 0x32, 4: 0x34, 8: 0x29}
STORES = {1: 0x3C, 2: 0x3D, 4: 0x3E, 8: 0x37}


def unsigned(number: int) -> bytes:
    """Return LEB128."""
    found = bytearray()
    while True:
        byte = number & 0x7F
        number >>= 7
        if not number:
            found.append(byte)
            return bytes(found)
        found.append(byte | 0x80)


def signed(number: int) -> bytes:
    """Return signed LEB128."""
    found = bytearray()
    while True:
        byte = number & 0x7F
        number >>= 7
        if (number == 0 and not byte & 0x40) or (number == -1 and byte & 0x40):
            found.append(byte)
            return bytes(found)
        found.append(byte | 0x80)


def as_signed(value: int, bits: int = 64) -> int:
    """Return an unsigned number as the signed one with the same bits."""
    half = 1 << (bits - 1)
    return (value & ((1 << bits) - 1) ^ half) - half


class Code:
    """A function body being written."""

    def __init__(self) -> None:
        self.out = bytearray()

    def op(self, *names: str) -> Code:
        """Append operations without operands."""
        self.out += bytes([OPS[name] for name in names])
        return self

    def with_index(self, name: str, index: int) -> Code:
        """Append an operation with an index: local, label, function."""
        self.out.append(OPS[name])
        self.out += unsigned(index)
        return self

    def const(self, value: int) -> Code:
        """Append a 64-bit constant, given unsigned."""
        self.out.append(OPS["i64.const"])
        self.out += signed(as_signed(value))
        return self

    def const32(self, value: int) -> Code:
        """Append a 32-bit constant, given unsigned."""
        self.out.append(OPS["i32.const"])
        self.out += signed(as_signed(value, 32))
        return self

    def begin(self, name: str, kind: int = VOID) -> Code:
        """Open a block, loop or if."""
        self.out += bytes((OPS[name], kind))
        return self

    def memory(self, opcode: int, offset: int = 0) -> Code:
        """Append a load or store; it may be unaligned."""
        self.out += bytes((opcode, 0))
        self.out += unsigned(offset)
        return self


def vector(items: list[bytes]) -> bytes:
    """Return a vector of encoded items."""
    return unsigned(len(items)) + b"".join(items)


def section(number: int, content: bytes) -> bytes:
    """Return a section of a module."""
    return bytes((number,)) + unsigned(len(content)) + content


def name(text: str) -> bytes:
    """Return a name."""
    return unsigned(len(text)) + text.encode()


def function_type(nr_args: int) -> bytes:
    """Return the type of a function of so many i64 that gives an i64."""
    return bytes((0x60,)) + vector([bytes((I64,))] * nr_args) + vector([bytes((I64,))])
