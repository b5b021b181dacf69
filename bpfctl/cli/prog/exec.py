"""``prog exec``: bare instructions and a buffer in, r0 out, as a plugin of conformance suites."""

from __future__ import annotations

import sys

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError


def exec_(app: App, words: Words) -> None:
    """Run ``prog exec [MEMORY] [insns HEX]``: instructions are read from the input if not given.

    Both are hex digits, with or without blanks. The state file has no part in it.
    """
    memory, code = b"", None
    while words.left:
        word = words.take()
        if word and "insns".startswith(word):
            if not words.left:
                raise CommandError("expected instructions behind 'insns'")
            code = words.take()
        else:
            memory = _bytes(word, "memory")
    insns = _bytes(sys.stdin.read() if code is None else code, "instructions")
    from bpfctl.system.machines import boot
    from bpfctl.system.releases import NEWEST

    kernel = boot(NEWEST)
    kernel.engine = app.settings.engine or ""
    result, after = kernel.execute(insns, memory)
    json = app.out.json
    if json is None:
        app.out.put(f"{result:x}\n")
        return
    json.begin_object()
    json.name("r0")
    json.string(f"{result:#x}")
    json.name("memory")
    json.string(after.hex())
    json.end_object()


def _bytes(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text.replace("0x", " "))
    except ValueError:
        raise CommandError(f"{what}: expected hex digits, two a byte") from None
