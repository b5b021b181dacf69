"""MAP and PROG as bpftool's commands name them: by id, name, tag or pinned path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from bpfctl.cli.app.pins import open_pinned
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words, u32
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.uapi import BPF_OBJ_NAME_LEN, MapInfo, ProgInfo

TAG_BYTES = 8
_TAG_BYTE = r"[ \t\n\v\f\r]*([0-9a-fA-F]{1,2})"

# Nothing was found and bpftool says nothing about it.
SILENT = ""


def take_id(words: Words) -> int:
    """Read an id, cut to 32 bits."""
    word = words.take()
    found = u32(word)
    if found is None:
        raise CommandError(f"can't parse {word} as ID")
    return found


def _walk(app: App, next_id: Callable[[int], int], open_id: Callable[[int], int]) -> Iterator[int]:
    """Yield a descriptor of every object, in the order of ids."""
    try:
        for obj_id in app.bpf.ids(next_id):
            try:
                fd = open_id(obj_id)
            except KernelError as exc:
                if exc.code == E.NOENT:
                    continue
                raise
            app.opened(fd)
            yield fd
    except KernelError as exc:
        raise CommandError(str(exc.strerror), hint=exc.hint) from exc


def map_fds(app: App, words: Words) -> list[int]:
    """Return descriptors of the maps that a MAP selector matches, maybe none."""
    keyword = words.peek()
    if words.next_is("id"):
        words.take()
        map_id = take_id(words)
        try:
            fd = app.bpf.map_get_fd_by_id(map_id)
        except KernelError as exc:
            raise CommandError(f"get map by id ({map_id}): {exc.strerror}", hint=exc.hint) from exc
        app.opened(fd)
        return [fd]
    if words.next_is("name"):
        words.take()
        name = os.fsencode(words.take())
        if len(name) > BPF_OBJ_NAME_LEN - 1:
            raise CommandError("can't parse name")
        bpf = app.bpf
        walk = _walk(app, bpf.map_get_next_id, bpf.map_get_fd_by_id)
        return [fd for fd in walk if bpf.map_info(fd).name == name]
    if words.next_is("pinned"):
        words.take()
        return [open_pinned(app, words.take(), "map")]
    raise CommandError(
        f"expected 'id', 'name' or 'pinned', got: '{'(null)' if keyword is None else keyword}'?"
    )


def map_fd(app: App, words: Words) -> int:
    """Return a descriptor of the one map that a MAP selector matches."""
    return _only_one(map_fds(app, words), "maps")


def _only_one(fds: list[int], kind: str) -> int:
    if len(fds) > 1:
        raise CommandError(f"several {kind} match this handle")
    if not fds:
        raise CommandError(SILENT)
    return fds[0]


def map_fd_and_info(app: App, words: Words) -> tuple[int, MapInfo]:
    """Return descriptor and info of the one map that a MAP selector matches.

    A batch keeps the maps open that it names by path: nothing in a batch can unpin them.
    """
    cache = app.pin_cache
    start = words.at
    items = words.items
    if cache and start + 1 < len(items) and _is_pinned(items[start]):
        found = cache.get(items[start + 1])
        if found is not None:
            words.at = start + 2
            return found
    fd = map_fd(app, words)
    info = map_info(app, fd)
    if cache is not None and _is_pinned(items[start]):
        app.keep_pin(items[start + 1], fd, info)
    return fd, info


def map_info(app: App, fd: int) -> MapInfo:
    """Return struct bpf_map_info of a map that is open."""
    try:
        return app.bpf.map_info(fd)
    except KernelError as exc:
        raise CommandError(f"can't get map info: {exc.strerror}", hint=exc.hint) from exc


def prog_fds(app: App, words: Words) -> list[int]:
    """Return descriptors of the programs that a PROG selector matches, maybe none."""
    keyword = words.peek()
    if words.next_is("id"):
        words.take()
        prog_id = take_id(words)
        try:
            fd = app.bpf.prog_get_fd_by_id(prog_id)
        except KernelError as exc:
            raise CommandError(f"get by id ({prog_id}): {exc.strerror}", hint=exc.hint) from exc
        app.opened(fd)
        return [fd]
    if words.next_is("tag"):
        words.take()
        tag = _parse_tag(words.take())
        return [fd for fd, info in _progs(app) if info.tag == tag]
    if words.next_is("name"):
        from bpfctl.cli.prog.names import FULL_NAME_MAX, full_name

        words.take()
        name = words.take()
        if len(os.fsencode(name)) > FULL_NAME_MAX:
            raise CommandError("can't parse name")
        return [fd for fd, info in _progs(app) if full_name(app, info) == name]
    if words.next_is("pinned"):
        words.take()
        return [open_pinned(app, words.take(), "prog")]
    shown = "(null)" if keyword is None else keyword
    raise CommandError(f"expected 'id', 'tag', 'name' or 'pinned', got: '{shown}'?")


def prog_fd(app: App, words: Words) -> int:
    """Return a descriptor of the one program that a PROG selector matches."""
    return _only_one(prog_fds(app, words), "programs")


def _parse_tag(word: str) -> bytes:
    """Read a tag as sscanf(3) does: eight numbers of up to two digits, then anything."""
    import re

    at, tag = 0, []
    for _ in range(TAG_BYTES):
        found = re.compile(_TAG_BYTE).match(word, at)
        if found is None:
            raise CommandError("can't parse tag")
        tag.append(int(found[1], 16))
        at = found.end()
    return bytes(tag)


def _progs(app: App) -> Iterator[tuple[int, ProgInfo]]:
    bpf = app.bpf
    for fd in _walk(app, bpf.prog_get_next_id, bpf.prog_get_fd_by_id):
        info = bpf.obj_info(fd)
        if isinstance(info, ProgInfo):
            yield fd, info


def _is_pinned(word: str) -> bool:
    # An empty word abbreviates "id", which comes first.
    return word != "" and "pinned".startswith(word)
