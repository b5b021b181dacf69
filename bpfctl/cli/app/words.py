"""bpftool's language of words: prefixes, numbers, bytes."""

from __future__ import annotations

from bpfctl.errors import CommandError

_ULONG_MAX = (1 << 64) - 1
_DIGITS = {char: value for value, char in enumerate("0123456789abcdef")}
_DIGITS.update({char.upper(): value for char, value in list(_DIGITS.items()) if value > 9})
_BLANKS = " \t\n\v\f\r"


class UsageExit(Exception):
    """End the program with the help text of the current object and status 255."""


class Words:
    """The words of one command line and how far they are read.

    ``base`` is the position of the object word.
    """

    __slots__ = ("at", "base", "items")

    def __init__(self, items: list[str], at: int = 0, base: int = 0) -> None:
        self.items = items
        self.at = at
        self.base = base

    @property
    def left(self) -> int:
        """Number of words not read yet."""
        return len(self.items) - self.at

    @property
    def object(self) -> str:
        """The object word as it was typed."""
        return self.items[self.base] if self.base < len(self.items) else ""

    def peek(self) -> str | None:
        """Return the next word without reading it; None at the end."""
        return self.items[self.at] if self.at < len(self.items) else None

    def take(self) -> str:
        """Read one word; usage when there is none."""
        if self.at >= len(self.items):
            raise UsageExit
        self.at += 1
        return self.items[self.at - 1]

    def next_is(self, keyword: str) -> bool:
        """Tell whether the next word abbreviates ``keyword``."""
        return self.at < len(self.items) and keyword.startswith(self.items[self.at])

    def shortage(self, count: int) -> str:
        """Return what to complain about if fewer than ``count`` words are left, else ""."""
        if self.left >= count:
            return ""
        before = self.items[self.at - 1] if self.at else ""
        return f"'{before}' needs at least {count} arguments, {self.left} found"

    def need(self, count: int, status: int = 255) -> None:
        """Raise an error if fewer than ``count`` words are left."""
        complaint = self.shortage(count)
        if complaint:
            raise CommandError(complaint, status)

    def no_more(self) -> None:
        """Raise an error if a word is left."""
        if self.left:
            raise CommandError(f"what is '{self.items[self.at]}'?")


def strtoul(text: str, base: int) -> int | None:
    """Convert as C does, 64 bits wide; None if anything is left over.

    ``base`` 0 reads decimal, 0x hexadecimal and leading-0 octal. A minus sign negates modulo
    2**64, numbers too large become 2**64-1, and no characters at all are 0.
    """
    if not text:
        return 0
    digits = text.lstrip(_BLANKS)
    negative = digits[:1] == "-"
    if digits[:1] in ("-", "+"):
        digits = digits[1:]
    if base in (0, 16) and digits[:2] in ("0x", "0X") and digits[2:3] in _DIGITS:
        digits = digits[2:]
        base = 16
    elif base == 0:
        base = 8 if digits[:1] == "0" else 10
    if not digits:
        return None
    value = 0
    for char in digits:
        digit = _DIGITS.get(char, 16)
        if digit >= base:
            return None
        value = value * base + digit
    if value > _ULONG_MAX:
        return _ULONG_MAX
    return -value & _ULONG_MAX if negative else value


def u32(text: str) -> int | None:
    """Convert with base 0 and keep the low 32 bits; None if ``text`` is no number."""
    value = strtoul(text, 0)
    return None if value is None else value & 0xFFFFFFFF


class _ByteTable(dict[str, int]):
    """Word to byte in one base; remembers the short words, which are few."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __missing__(self, word: str) -> int:
        value = strtoul(word, self.base)
        if value is None:
            raise CommandError(f"error parsing byte: {word}")
        value &= 0xFF
        if len(word) <= 4 and len(self) < 4096:
            self[word] = value
        return value


_ANY_BASE = _ByteTable(0)
_HEX = _ByteTable(16)


def take_bytes(words: Words, name: str, size: int) -> bytes:
    """Read ``[hex] BYTE...``, exactly ``size`` bytes; ``name`` is for the error message."""
    at = words.at
    items = words.items
    if at < len(items) and "hex".startswith(items[at]):
        at += 1
        data = _from_hex(items[at : at + size])
    else:
        data = bytes([_ANY_BASE[word] for word in items[at : at + size]])
    if len(data) != size:
        raise CommandError(f"{name} expected {size} bytes got {len(data)}")
    words.at = at + size
    return data


def _from_hex(items: list[str]) -> bytes:
    """Convert words in base 16; two lower-case digits each, as scripts write them, is quick."""
    text = " ".join(items)
    if len(text) == 3 * len(items) - 1:
        try:
            data = bytes.fromhex(text)
        except ValueError:
            pass
        else:
            if data.hex(" ") == text:
                return data
    return bytes([_HEX[word] for word in items])
