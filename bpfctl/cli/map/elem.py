"""Commands on single elements: update, lookup, getnext, delete, pop."""

from __future__ import annotations

from bpfctl.cli.app.out import hex_rows
from bpfctl.cli.app.select import map_fd, map_fd_and_info, prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words, take_bytes
from bpfctl.cli.map.printing import (
    print_element,
    slot_bytes,
)
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.map_values import MAP, PERCPU, PROG
from bpfctl.plugins import facts_of
from bpfctl.uapi import BPF_ANY, BPF_EXIST, BPF_NOEXIST, MapInfo

_FD_BYTES = 4


def parse_element(
    app: App, words: Words, info: MapInfo, want_key: bool, update: bool = False
) -> tuple[bytes | None, bytes | None, int]:
    """Read ``key DATA`` and, for an ``update``, ``value VALUE`` and a flag, in any order.

    Each comes at most once. Return key, value and flags; None for what is not wanted.
    """
    key_size = info.key_size
    # What a command or a map has no room for is unnecessary, the rest can only be a duplicate.
    value_size = info.value_size if update else 0
    want_value = value_size > 0
    want_flags = update
    key: bytes | None = None
    value: bytes | None = None
    flags = BPF_ANY
    items = words.items
    while words.at < len(items):
        word = items[words.at]
        words.at += 1
        if "key".startswith(word):
            if not want_key:
                raise CommandError("duplicate key" if key_size else "unnecessary key")
            want_key = False
            key = take_bytes(words, "key", key_size)
        elif "value".startswith(word):
            if not want_value:
                raise CommandError("duplicate value" if value_size else "unnecessary value")
            want_value = False
            value = _take_value(app, words, info, value_size)
        else:
            flags = _flag(word, want_flags)
            want_flags = False
    if want_key or want_value:
        raise CommandError(f"did not find {'key' if want_key else 'value'}")
    return key, value, flags


def _flag(word: str, wanted: bool) -> int:
    for keyword, flag in _FLAGS:
        if keyword.startswith(word):
            if not wanted:
                raise CommandError(f"flags specified multiple times: {word}")
            return flag
    raise CommandError(f"expected key or value, got: {word}")


def _take_value(app: App, words: Words, info: MapInfo, size: int) -> bytes:
    kind = facts_of(info.type).values
    if kind == MAP:
        _need_object(words, size, "map in map")
        return map_fd(app, words).to_bytes(_FD_BYTES, "little")
    if kind == PROG:
        _need_object(words, size, "map of progs")
        if words.next_is("id"):
            app.out.info(_PROG_BY_ID)
        return prog_fd(app, words).to_bytes(_FD_BYTES, "little")
    value = take_bytes(words, "value", size)
    if kind == PERCPU:
        cpus: int = app.kernel.possible_cpus()
        return value.ljust(slot_bytes(size), b"\0") * cpus
    return value


_FLAGS = (("any", BPF_ANY), ("noexist", BPF_NOEXIST), ("exist", BPF_EXIST))
_PROG_BY_ID = (
    "Warning: updating program array via MAP_ID, make sure this map is kept open\n"
    "         by some process or pinned otherwise update will be lost"
)


def _need_object(words: Words, size: int, what: str) -> None:
    if size != _FD_BYTES:
        raise CommandError(f"value smaller than 4B for {what}?")
    if words.left < 2:
        raise CommandError(f"not enough value arguments for {what}")


def _open(app: App, words: Words) -> tuple[int, MapInfo]:
    if len(words.items) - words.at < 2:
        raise UsageExit
    return map_fd_and_info(app, words)


def _failure(what: str, exc: KernelError) -> CommandError:
    """Return the error of an element operation; its status is the errno's."""
    return CommandError(f"{what}: {exc.strerror}", -exc.code & 0xFF, exc.hint)


def update(app: App, words: Words) -> None:
    """Run ``map update|push|enqueue MAP [key DATA] value VALUE [FLAG]``."""
    fd, info = _open(app, words)
    key, value, flags = parse_element(app, words, info, info.key_size > 0, update=True)
    try:
        app.bpf.map_update_elem(fd, key, value or b"", flags)
    except KernelError as exc:
        raise _failure("update failed", exc) from exc
    app.out.done()


def _unfilled(size: int) -> bytes:
    """Return what is in a buffer that bpftool takes from the heap and never fills.

    It is zero, unless it fits the smallest piece of the heap: that one was in use before.
    """
    return _HEAP_LEFTOVER[:size].ljust(size, b"\0") if size <= _SMALLEST_PIECE else bytes(size)


_SMALLEST_PIECE = 24
_HEAP_LEFTOVER = bytes.fromhex("7b d5 a1 5e 05")


def lookup(app: App, words: Words) -> int:
    """Run ``map lookup|peek MAP [key DATA]``; a miss is told on stdout, status -ENOENT."""
    fd, info = _open(app, words)
    key, _, _ = parse_element(app, words, info, info.key_size > 0)
    # A Bloom filter looks up what is in the buffer for the answer.
    asked = None if info.key_size else _unfilled(info.value_size)
    try:
        value = app.bpf.map_lookup_elem(fd, key, value=asked)
    except KernelError as exc:
        if exc.code != E.NOENT:
            raise _failure("lookup failed", exc) from exc
        if app.out.json is not None:
            app.out.json.null()
        else:
            app.out.put(f"key:\n{hex_rows(key or b'')}\n\nNot found\n")
        return -E.NOENT
    print_element(app, info, key or b"", value)
    return 0


def getnext(app: App, words: Words) -> None:
    """Run ``map getnext MAP [key DATA]``."""
    fd, info = _open(app, words)
    key: bytes | None = None
    if words.left:
        key, _, _ = parse_element(app, words, info, want_key=True)
    try:
        following = app.bpf.map_get_next_key(fd, key)
    except KernelError as exc:
        raise _failure("can't get next key", exc) from exc
    json = app.out.json
    if json is None:
        shown = " None" if key is None else "\n" + hex_rows(key)
        app.out.put(f"key:{shown}\nnext key:\n{hex_rows(following)}\n")
        return
    json.begin_object()
    json.name("key")
    if key is None:
        json.null()
    else:
        json.hex_array(key)
    json.name("next_key")
    json.hex_array(following)
    json.end_object()


def delete(app: App, words: Words) -> None:
    """Run ``map delete MAP key DATA``; even a map without keys wants the keyword."""
    fd, info = _open(app, words)
    key, _, _ = parse_element(app, words, info, want_key=True)
    try:
        app.bpf.map_delete_elem(fd, key)
    except KernelError as exc:
        raise _failure("delete failed", exc) from exc
    app.out.done()


def pop(app: App, words: Words) -> int:
    """Run ``map pop|dequeue MAP``; further words are ignored, an empty map is -ENOENT."""
    fd, info = _open(app, words)
    key = _unfilled(info.key_size) if info.key_size else None
    try:
        value = app.bpf.map_lookup_and_delete_elem(fd, key)
    except KernelError as exc:
        if exc.code != E.NOENT:
            raise _failure("pop failed", exc) from exc
        if app.out.json is not None:
            app.out.json.null()
        else:
            app.out.put("Error: empty map\n")
        return -E.NOENT
    print_element(app, info, key or b"", value)
    return 0
