"""Byte strings of a spec: hex, and names of things that exist only while a line runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from run.lab import Lab


def value_bytes(lab: Lab, text: str | dict[str, Any]) -> bytes:
    """Return the bytes that a key, value or buffer stands for; parts are joined with ``+``."""
    if isinstance(text, dict):
        return bytes.fromhex(text["hex"])[: text["size"]].ljust(text["size"], b"\0")
    return b"".join(_part(lab, part) for part in text.split("+")) if text else b""


def _part(lab: Lab, part: str) -> bytes:
    kind, colon, rest = part.partition(":")
    if colon:
        number = lab.named(kind, rest)
        size = 8 if kind in ("u64", "cgid") else 4
        return (number & (1 << 8 * size) - 1).to_bytes(size, "little")
    if part.startswith("ubuf"):
        return (lab.ubuf_addr + int(part[4:] or 0)).to_bytes(8, "little")
    special = lab.special.get(part)
    return special(lab) if special is not None else bytes.fromhex(part)


def context_bytes(ctx: str | dict[str, Any], lab: Lab) -> bytes:
    """Return a context: hex, or a size and u32 words by offset."""
    if isinstance(ctx, str):
        return value_bytes(lab, ctx)
    packed = bytearray(ctx["size"])
    for at, word in ctx.items():
        if at != "size":
            packed[int(at) : int(at) + 4] = (int(word) & 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(packed[: ctx["size"]])


def context_words(content: bytes) -> dict[str, int]:
    """Return a context as its size and the words that are not zero."""
    words: dict[str, int] = {}
    for at in range(0, len(content), 4):
        word = int.from_bytes(content[at : at + 4], "little")
        if word:
            words[str(at)] = word
    return {**words, "size": len(content)}
