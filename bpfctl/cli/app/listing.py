"""``show``: all objects of a kind, or those that a selector matches."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.cli.app.session import App
from bpfctl.errors import CommandError, E, Failure, KernelError

# Prints the object behind a descriptor.
Show = Callable[[int], None]


def show_all(
    app: App,
    one: Show,
    next_id: Callable[[int], int],
    open_by_id: Callable[[int], int],
    by_id: str,
    following: str,
) -> int:
    """Print every object by ascending id, in JSON as an array; return the exit status.

    ``by_id`` and ``following`` are bpftool's words for an object in its error messages.
    """
    json = app.out.json
    if json is not None:
        json.begin_array()
    status = 0
    try:
        for obj_id in app.bpf.ids(next_id):
            try:
                fd = open_by_id(obj_id)
            except KernelError as exc:
                if exc.code == E.NOENT:
                    continue
                raise CommandError(f"can't get {by_id} by id ({obj_id}): {exc.strerror}") from exc
            one(fd)
            app.bpf.close(fd)
    except KernelError as exc:
        app.out.error(f"can't get next {following}: {exc.strerror}")
        status = -1
    except Failure as exc:
        app.out.error(exc.text)
        status = -1
    if json is not None:
        json.end_array()
    return status


def show_some(app: App, one: Show, fds: list[int]) -> int:
    """Print what a selector matched, one or more: in JSON an object, or an array of several."""
    json = app.out.json if len(fds) > 1 else None
    if json is not None:
        json.begin_array()
    for fd in fds:
        one(fd)
    if json is not None:
        json.end_array()
    return 0
