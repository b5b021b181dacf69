"""Format strings of bpf_trace_printk(), bpf_snprintf() and the like (bpf_bprintf_prepare).

A string is checked and its arguments are read as the kernel does, then printed as lib/vsprintf.c
would.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from hashlib import blake2s

from bpfctl.errors import E, KernelError
from bpfctl.light import dataclass

U64 = (1 << 64) - 1
STRING_LIMIT = 512
_PRINTABLE = frozenset(string.printable.encode())
_SPACE = frozenset(b" \t\n\v\f\r\xa0")
_PUNCTUATION = frozenset(string.punctuation.encode())
_DIGITS = frozenset(b"0123456789")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a release takes: ``modern`` widths, flags and pointer formats, ``high`` bytes >= 0x80.

    Before 5.13 bpf_trace_printk() took plain ``%d %i %u %x %ld.. %p %pB %s %pks %pus`` alone, with
    one string.
    """

    modern: bool
    high: bool


Reader = Callable[[int, int], "bytes | None"]
"""Reads ``size`` bytes at an address of the kernel, None where nothing is."""
StringReader = Callable[[int, str], bytes]
"""Reads a string at an address; the kind is "s", "k" or "u" (%s, %pks, %pus)."""


@dataclass(slots=True)
class Source:
    """Where arguments come from: their values, and memory behind pointers."""

    args: list[int]
    read: Reader
    text: StringReader
    symbol: Callable[[int], str | None]
    secret: bytes = b""


def _fail(what: str) -> KernelError:
    return KernelError(E.INVAL, what)


class _Parser:
    """One pass over a format string; ``out`` is None when it is only checked."""

    def __init__(self, fmt: bytes, rules: Rules, count: int, source: Source | None) -> None:
        self.fmt = fmt + b"\0\0\0"
        self.end = len(fmt)
        self.rules = rules
        self.count = count
        self.source = source
        self.used = 0
        self.strings = 0
        self.out = bytearray()
        self.at = 0

    def run(self) -> bytes:
        while self.at < self.end:
            byte = self.fmt[self.at]
            self._check_char(byte)
            if byte != ord("%"):
                self.out.append(byte)
                self.at += 1
                continue
            if self.fmt[self.at + 1] == ord("%") and self.rules.modern:
                self.out.append(byte)
                self.at += 2
                continue
            self.at += 1
            self._conversion()
        return bytes(self.out)

    def _check_char(self, byte: int) -> None:
        if byte >= 0x80:
            if not self.rules.high:
                raise _fail("a byte above 0x7f")
        elif byte not in _PRINTABLE and byte not in _SPACE:
            raise _fail(f"byte {byte:#x}")

    def _next(self) -> int:
        """Return the value of the next argument."""
        value = self.source.args[self.used] if self.source is not None else 0
        self.used += 1
        return value & U64

    def _conversion(self) -> None:
        if self.used >= self.count:
            raise _fail("more conversions than arguments")
        flags = width = 0
        spec = self.at
        if self.rules.modern:
            while self.fmt[self.at] in b"0+- ":
                self.at += 1
            flags = self.at
            if self.fmt[self.at] in b"123456789":
                while self.fmt[self.at] in _DIGITS:
                    self.at += 1
            width = int(self.fmt[flags : self.at] or b"0")
            marks = self.fmt[spec:flags]
        else:
            marks = b""
        char = self.fmt[self.at]
        if char == ord("p"):
            self._pointer(marks, width)
        elif char == ord("s"):
            self._string("s", marks, width)
        elif char == ord("c") and self.rules.modern:
            self.at += 1
            self._pad(bytes((self._next() & 0xFF,)), marks, width)
        else:
            self._number(marks, width)

    # --- kinds of conversions ------------------------------------------------

    def _number(self, marks: bytes, width: int) -> None:
        size = 4
        for _ in range(2):
            if self.fmt[self.at] == ord("l"):
                size = 8
                self.at += 1
        kind = chr(self.fmt[self.at])
        if kind not in ("iduxX" if self.rules.modern else "idux"):
            raise _fail(f"conversion {kind!r}")
        self.at += 1
        value = self._next() & ((1 << 8 * size) - 1)
        if kind in "id":
            sign = 1 << 8 * size - 1
            value = (value ^ sign) - sign
        digits = format(abs(value), {"x": "x", "X": "X"}.get(kind, "d"))
        prefix = "-" if value < 0 else ""
        if not prefix and kind in "id":
            prefix = "+" if b"+" in marks else " " if b" " in marks else ""
        if b"0" in marks and b"-" not in marks:
            digits = digits.rjust(width - len(prefix), "0")
        self._pad((prefix + digits).encode(), marks, width)

    def _pad(self, text: bytes, marks: bytes, width: int) -> None:
        self.out += text.ljust(width) if b"-" in marks else text.rjust(width)

    def _ends_here(self, at: int) -> bool:
        byte = self.fmt[at]
        return byte == 0 or byte in _SPACE or byte in _PUNCTUATION

    def _string(self, kind: str, marks: bytes, width: int) -> None:
        self.at += 1
        if not self._ends_here(self.at):
            raise _fail("something behind %s")
        self.strings += 1
        if self.strings > 1 and not self.rules.modern:
            raise _fail("a second string")
        addr = self._next()
        text = self.source.text(addr, kind) if self.source is not None else b""
        self._pad(text, marks, width)

    def _pointer(self, marks: bytes, width: int) -> None:
        following, behind = chr(self.fmt[self.at + 1]), chr(self.fmt[self.at + 2])
        if self._ends_here(self.at + 1):
            self.at += 1
            self._pad(self._hashed(self._next()), marks, width)
            return
        if following in "ku" and behind == "s":
            self.at += 2
            self._string(following, marks, width)
        elif following == "B" or (following in "KxsS" and self.rules.modern):
            self.at += 2
            self._pad(self._symbolic(following, self._next()), marks, width)
        elif following in "iI" and behind in "46" and self.rules.modern:
            self.at += 3
            self.out += self._address(following, behind, self._next())
        else:
            raise _fail(f"%p{following}")
        # vsnprintf() takes letters and digits behind %p for more of the format.
        while chr(self.fmt[self.at]).isalnum() and self.fmt[self.at] < 0x80:
            self.at += 1

    def _hashed(self, value: int) -> bytes:
        """Return what %p shows: a hash of the address that only this boot knows."""
        if not value:
            return b"0" * 16
        secret = self.source.secret if self.source is not None else b""
        digest = blake2s(value.to_bytes(8, "little"), digest_size=4, key=secret).digest()
        return b"00000000" + digest.hex().encode()

    def _symbolic(self, kind: str, value: int) -> bytes:
        if kind == "K":
            return self._hashed(value)
        if kind == "x":
            return f"{value:016x}".encode()
        found = self.source.symbol(value) if self.source is not None else None
        if found is None:
            return f"{value:#x}".encode()
        return found.encode() if kind in "SB" else found.split("+")[0].encode()

    def _address(self, kind: str, version: str, value: int) -> bytes:
        size = 4 if version == "4" else 16
        raw = (self.source.read(value, size) if self.source is not None else None) or bytes(size)
        if version == "4":
            return ".".join(f"{byte:03d}" if kind == "i" else str(byte) for byte in raw).encode()
        if kind == "i":
            return raw.hex().encode()
        words = [raw[at : at + 2].hex() for at in range(0, 16, 2)]
        return ":".join(words).encode()


def check(fmt: bytes, count: int, rules: Rules) -> None:
    """Refuse a format string that the kernel refuses for ``count`` arguments.

    :raises KernelError: EINVAL.
    """
    _Parser(fmt, rules, count, None).run()


def render(fmt: bytes, source: Source, rules: Rules) -> bytes:
    """Print.

    :raises KernelError: EINVAL.
    """
    return _Parser(fmt, rules, len(source.args), source).run()
