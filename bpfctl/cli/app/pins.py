"""Paths of the virtual bpffs, with the checks and messages of bpftool."""

from __future__ import annotations

import os
from collections.abc import Callable

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, E, KernelError, strerror
from bpfctl.libbpf.paths import absolute, dirname

# Descriptor of whatever a selector names.
Selector = Callable[[App, Words], int]


def exists(app: App, path: str) -> bool:
    """Tell whether something is at ``path``: in the bpffs, or on the host outside of it."""
    full = absolute(path)
    bpffs = app.kernel.bpffs
    if bpffs.is_bpffs(full):
        return bool(bpffs.is_dir(full) if path.endswith("/") else bpffs.exists(full))
    try:
        return bool(path) and os.path.exists(path)
    except ValueError:
        return False


def is_bpffs(app: App, path: str) -> bool:
    """Tell whether ``path`` exists inside a bpffs."""
    full = absolute(path)
    return bool(app.kernel.bpffs.is_bpffs(full)) and exists(app, path)


def open_pinned(app: App, path: str, kind: str) -> int:
    """Return a descriptor of the object pinned at ``path``, which must be a ``kind``."""
    try:
        fd = app.bpf.obj_get(absolute(path))
    except KernelError as exc:
        raise _open_error(app, path, exc) from exc
    app.opened(fd)
    found = kind_of(app, fd)
    if found != kind:
        raise CommandError(f"incorrect object type: {found}")
    return fd


def _open_error(app: App, path: str, exc: KernelError) -> CommandError:
    text = exc.strerror
    if not app.kernel.bpffs.is_bpffs(absolute(path)):
        refusal = _host_refusal(path)
        text = refusal or E_ACCES_TEXT
    if text != E_ACCES_TEXT:
        return CommandError(f"bpf obj get ({path}): {text}", hint=exc.hint)
    directory = dirname(path)
    text = E_ACCES_TEXT if is_bpffs(app, directory) else NOT_BPFFS_TEXT
    # bpftool cuts the path in place, which does nothing to a bare file name.
    shown = directory if "/" in path else path
    return CommandError(f"bpf obj get ({shown}): {text}")


def _host_refusal(path: str) -> str:
    """Return why the host says that ``path`` cannot be reached, "" if it can."""
    try:
        os.stat(path)
    except OSError as exc:
        return strerror(exc.errno or E.NOENT)
    except ValueError:
        return strerror(E.NOENT)
    return ""


E_ACCES_TEXT = "Permission denied"
NOT_BPFFS_TEXT = "directory not in bpf file system (bpffs)"


def kind_of(app: App, fd: int) -> str:
    """Return map, prog, link or unknown."""
    name = type(app.bpf.obj_info(fd)).__name__
    return {"MapInfo": "map", "ProgInfo": "prog", "LinkInfo": "link"}.get(name, "unknown")


def prepare(app: App, path: str) -> None:
    """Check that ``path`` is free and its directory a bpffs; mount one there if need be.

    :raises CommandError: the path cannot be pinned at.
    """
    if exists(app, path):
        raise CommandError(f"can't pin BPF object: path '{path}' already exists")
    directory = dirname(path)
    if is_bpffs(app, directory):
        return
    if not exists(app, directory):
        raise CommandError(f"can't pin BPF object: dir '{directory}' doesn't exist")
    if app.options.nomount:
        raise CommandError("no BPF file system found, not mounting it due to --nomount option")
    if not os.path.isdir(directory):
        raise CommandError(
            f"can't mount BPF file system on given dir '{directory}': Not a directory"
        )
    app.kernel.bpffs.mount(absolute(directory))


def pin(app: App, fd: int, path: str) -> None:
    """Pin ``fd`` at ``path``; the status of a refusal is the errno's."""
    prepare(app, path)
    try:
        app.bpf.obj_pin(fd, absolute(path))
    except KernelError as exc:
        raise CommandError(
            f"can't pin the object ({path}): {exc.strerror}", -exc.code & 0xFF, exc.hint
        ) from exc


def pin_command(app: App, words: Words, select: Selector) -> None:
    """Run ``OBJECT pin SELECTOR FILE``."""
    words.need(3, status=-E.INVAL & 0xFF)
    fd = select(app, words)
    pin(app, fd, words.take())
    app.out.done()


def pinned_paths(app: App, kind: str) -> dict[int, list[str]]:
    """Return the paths of all pinned objects of ``kind``, by object id, in bpftool's order.

    That is the order of its hash table: the chain of an id grows at its head, and is turned
    round each time the table, which counts all paths, doubles.
    """
    found: dict[int, list[str]] = {}
    capacity = 0
    walk = (pin for pin in app.kernel.bpffs.pins() if pin[1] == kind)
    for count, (path, _, obj_id) in enumerate(walk):
        if not capacity or (count + 1) * 4 // 3 > capacity:
            capacity = capacity * 2 or _FIRST_CAPACITY
            for paths in found.values():
                paths.reverse()
        found.setdefault(obj_id, []).insert(0, path)
    return found


# Buckets of a hash table of libbpf once something is in it.
_FIRST_CAPACITY = 4
