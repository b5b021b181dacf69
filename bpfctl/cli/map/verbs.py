"""bpftool's ``map`` object: the command table, and the short commands."""

from __future__ import annotations

from bpfctl.cli.app.pins import pin_command
from bpfctl.cli.app.select import map_fd, map_fd_and_info
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.app.words import Words, strtoul
from bpfctl.cli.map.create import create
from bpfctl.cli.map.dump import dump
from bpfctl.cli.map.elem import delete, getnext, lookup, pop, update
from bpfctl.cli.map.show import show
from bpfctl.errors import CommandError, KernelError
from bpfctl.uapi import MAP_TYPE_NUMBER


def pin(app: App, words: Words) -> None:
    """Run ``map pin MAP FILE``."""
    pin_command(app, words, map_fd)


def freeze(app: App, words: Words) -> None:
    """Run ``map freeze MAP``."""
    words.need(2)
    fd = map_fd(app, words)
    words.no_more()
    try:
        app.bpf.map_freeze(fd)
    except KernelError as exc:
        raise CommandError(
            f"failed to freeze map: {exc.strerror}", -exc.code & 0xFF, exc.hint
        ) from exc
    app.out.done()


def event_pipe(app: App, words: Words) -> None:
    """Run ``map event_pipe MAP [cpu N index M]`` up to the first event, of which there is none."""
    _, info = map_fd_and_info(app, words)
    if info.type != MAP_TYPE_NUMBER["perf_event_array"]:
        raise CommandError("map is not a perf event array")
    given: set[str] = set()
    while words.left:
        if words.left < 2:
            words.no_more()
        for keyword, what in (("cpu", "CPU ID"), ("index", "index")):
            if words.next_is(keyword):
                words.take()
                word = words.take()
                if strtoul(word, 0) is None:
                    raise CommandError(f"can't parse {word} as {what}")
                given.add(keyword)
                break
        else:
            words.no_more()
    if len(given) == 1:
        raise CommandError("cpu and index must be specified together")
    raise CommandError("bpfctl does not simulate perf events yet")


def help_(app: App, words: Words) -> None:
    """Run ``map help``."""
    app.help(app, words)


TABLE = Table(
    "map",
    {
        "show": Verb(show),
        "list": Verb(show),
        "help": Verb(help_),
        "dump": Verb(dump),
        "update": Verb(update, write=True),
        "lookup": Verb(lookup),
        "getnext": Verb(getnext),
        "delete": Verb(delete, write=True),
        "pin": Verb(pin, write=True),
        "event_pipe": Verb(event_pipe),
        "create": Verb(create, write=True),
        "peek": Verb(lookup),
        "push": Verb(update, write=True),
        "enqueue": Verb(update, write=True),
        "pop": Verb(pop, write=True),
        "dequeue": Verb(pop, write=True),
        "freeze": Verb(freeze, write=True),
    },
)
