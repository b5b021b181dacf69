"""The top-level table: which module runs which first word."""

from __future__ import annotations

from importlib import import_module

from bpfctl.cli import usage
from bpfctl.cli.session import App
from bpfctl.cli.table import Handler, Table
from bpfctl.cli.words import Words
from bpfctl.errors import CommandError, KernelError

# bpftool's objects in bpftool's order, which decides what an abbreviation means.
OBJECTS = {
    "help": "bpfctl.cli.dispatch:help_",
    "batch": "bpfctl.cli.batch:batch",
    "prog": "bpfctl.cli.prog:TABLE",
    "map": "bpfctl.cli.map:TABLE",
    "link": "bpfctl.cli.pending:LINK",
    "cgroup": "bpfctl.cli.pending:CGROUP",
    "perf": "bpfctl.cli.pending:PERF",
    "net": "bpfctl.cli.pending:NET",
    "feature": "bpfctl.cli.pending:FEATURE",
    "btf": "bpfctl.cli.btf:TABLE",
    "gen": "bpfctl.cli.pending:GEN",
    "struct_ops": "bpfctl.cli.pending:STRUCT_OPS",
    "iter": "bpfctl.cli.pending:ITER",
    "version": "bpfctl.cli.version:version",
}
# Our own objects: Click commands. They come after bpftool's, whose abbreviations win.
OWN_OBJECTS = {
    "sim": "bpfctl.cli.sim:sim",
    "memcg": "bpfctl.cli.memcg:memcg",
    "task": "bpfctl.cli.task:task",
    "plugin": "bpfctl.cli.plugin:plugin",
    "sample": "bpfctl.cli.sample:sample",
    "cost": "bpfctl.cli.cost:cost",
    "series": "bpfctl.cli.series:series",
    "completion": "bpfctl.cli.completion:completion",
}

_found: dict[str, Handler | None] = {}


def find_own(word: str) -> str | None:
    """Return the object of our own that ``word`` names or abbreviates."""
    if any(name.startswith(word) for name in OBJECTS):
        return None
    return next((name for name in OWN_OBJECTS if name.startswith(word)), None)


def find(word: str) -> Handler | None:
    """Return what runs bpftool's object that ``word`` abbreviates; imported on first use."""
    if word not in _found:
        name = next((name for name in OBJECTS if name.startswith(word)), None)
        handler: Handler | None = None
        if name is not None:
            module, _, attribute = OBJECTS[name].partition(":")
            target = getattr(import_module(module), attribute)
            handler = target.run if isinstance(target, Table) else target
        _found[word] = handler
    return _found[word]


def help_(app: App, words: Words) -> None:
    """Print the general help."""
    usage.show(app.out, "main")
    app.out.hint(f"bpfctl's own objects: {', '.join(OWN_OBJECTS)}; try 'bpfctl sim help'")


def _run(app: App, words: Words) -> int | None:
    app.help = help_
    app.words = words
    if not words.items:
        help_(app, words)
        return 0
    handler = find(words.items[0])
    if handler is None:
        help_(app, words)
        return -1
    words.at = 1
    return handler(app, words)


def run(app: App, words: Words) -> int:
    """Run one command line; print its error, if any. Return its exit status."""
    try:
        return (_run(app, words) or 0) & 0xFF
    except CommandError as exc:
        return report(app, exc)
    except KernelError as exc:
        return report(app, CommandError(str(exc.strerror), -exc.code & 0xFF, exc.hint))


def report(app: App, exc: CommandError) -> int:
    """Print an error and its hint; some errors have no text. Return the exit status."""
    if exc.text:
        app.out.error(exc.text)
        app.out.hint(exc.hint)
    return exc.status
