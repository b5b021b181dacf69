"""Commands on single elements: update, lookup, getnext, delete, pop."""

from __future__ import annotations

from bpfctl.cli.map_print import (
    MAP_IN_MAP,
    PERCPU,
    PROG_ARRAY,
    print_element,
    slot_bytes,
)
from bpfctl.cli.out import hex_rows
from bpfctl.cli.select import map_fd, map_fd_and_info, prog_fd
from bpfctl.cli.session import App
from bpfctl.cli.words import UsageExit, Words, take_bytes
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.uapi import BPF_ANY, BPF_EXIST, BPF_NOEXIST, MapInfo

_FD_BYTES = 4


class Element:
    """What the words after MAP give: bytes of key and value, and update flags.

    ``wants_key`` and so on say what a command takes and has not got yet; it takes nothing that
    the map has no room for.
    """

    __slots__ = ("flags", "info", "key", "value", "wants_flags", "wants_key", "wants_value")

    def __init__(self, info: MapInfo, key: bool, value: bool = False, flags: bool = False) -> None:
        self.info = info
        self.wants_key = key
        self.wants_value = value
        self.wants_flags = flags
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.flags = BPF_ANY

    def parse(self, app: App, words: Words, key_size: int, value_size: int) -> None:
        """Read ``key DATA``, ``value VALUE`` and a flag, in any order.

        The sizes, in bytes, are those that the command accepts: 0 makes a keyword unnecessary
        instead of a duplicate.
        """
        items = words.items
        while words.at < len(items):
            word = items[words.at]
            words.at += 1
            if "key".startswith(word):
                if not self.wants_key:
                    raise CommandError("duplicate key" if key_size else "unnecessary key")
                self.wants_key = False
                self.key = take_bytes(words, "key", key_size)
            elif "value".startswith(word):
                if not self.wants_value:
                    raise CommandError("duplicate value" if value_size else "unnecessary value")
                self.wants_value = False
                self.value = self._take_value(app, words, value_size)
            else:
                self._take_flag(word)
        if self.wants_key or self.wants_value:
            raise CommandError(f"did not find {'key' if self.wants_key else 'value'}")

    def _take_flag(self, word: str) -> None:
        for keyword, flag in _FLAGS:
            if keyword.startswith(word):
                if not self.wants_flags:
                    raise CommandError(f"flags specified multiple times: {word}")
                self.wants_flags = False
                self.flags = flag
                return
        raise CommandError(f"expected key or value, got: {word}")

    def _take_value(self, app: App, words: Words, size: int) -> bytes:
        kind = self.info.type
        if kind in MAP_IN_MAP:
            _need_object(words, size, "map in map")
            return map_fd(app, words).to_bytes(_FD_BYTES, "little")
        if kind == PROG_ARRAY:
            _need_object(words, size, "map of progs")
            if words.next_is("id"):
                app.out.info(_PROG_BY_ID)
            return prog_fd(app, words).to_bytes(_FD_BYTES, "little")
        value = take_bytes(words, "value", size)
        if kind in PERCPU:
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
    if words.left < 2:
        raise UsageExit
    return map_fd_and_info(app, words)


def _failure(what: str, exc: KernelError) -> CommandError:
    """Return the error of an element operation; its status is the errno's."""
    return CommandError(f"{what}: {exc.strerror}", -exc.code & 0xFF, exc.hint)


def update(app: App, words: Words) -> None:
    """Run ``map update|push|enqueue MAP [key DATA] value VALUE [FLAG]``."""
    fd, info = _open(app, words)
    element = Element(info, info.key_size > 0, info.value_size > 0, flags=True)
    element.parse(app, words, info.key_size, info.value_size)
    try:
        app.bpf.map_update_elem(fd, element.key, element.value or b"", element.flags)
    except KernelError as exc:
        raise _failure("update failed", exc) from exc
    app.out.done()


def lookup(app: App, words: Words) -> int:
    """Run ``map lookup|peek MAP [key DATA]``; a miss is told on stdout, status -ENOENT."""
    fd, info = _open(app, words)
    element = Element(info, info.key_size > 0)
    element.parse(app, words, info.key_size, 0)
    try:
        value = app.bpf.map_lookup_elem(fd, element.key)
    except KernelError as exc:
        if exc.code != E.NOENT:
            raise _failure("lookup failed", exc) from exc
        if app.out.json is not None:
            app.out.json.null()
        else:
            app.out.put(f"key:\n{hex_rows(element.key or b'')}\n\nNot found\n")
        return -E.NOENT
    print_element(app, info, element.key or b"", value)
    return 0


def getnext(app: App, words: Words) -> None:
    """Run ``map getnext MAP [key DATA]``."""
    fd, info = _open(app, words)
    key: bytes | None = None
    if words.left:
        element = Element(info, key=True)
        element.parse(app, words, info.key_size, 0)
        key = element.key
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
    element = Element(info, key=True)
    element.parse(app, words, info.key_size, 0)
    try:
        app.bpf.map_delete_elem(fd, element.key)
    except KernelError as exc:
        raise _failure("delete failed", exc) from exc
    app.out.done()


def pop(app: App, words: Words) -> int:
    """Run ``map pop|dequeue MAP``; further words are ignored, an empty map is -ENOENT."""
    fd, info = _open(app, words)
    # bpftool offers a buffer that it never fills.
    key = bytes(info.key_size) if info.key_size else None
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
