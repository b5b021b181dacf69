"""The top-level table: which module runs which first word."""

from __future__ import annotations

from importlib import import_module

from bpfctl.cli.app import usage
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Handler, Table
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, KernelError

# bpftool's objects in bpftool's order, which decides what an abbreviation means.
OBJECTS = {
    "help": "bpfctl.cli.app.dispatch:help_",
    "batch": "bpfctl.cli.app.batch:batch",
    "prog": "bpfctl.cli.prog.verbs:TABLE",
    "map": "bpfctl.cli.map.verbs:TABLE",
    "link": "bpfctl.cli.app.pending:LINK",
    "cgroup": "bpfctl.cli.app.pending:CGROUP",
    "perf": "bpfctl.cli.app.pending:PERF",
    "net": "bpfctl.cli.app.pending:NET",
    "feature": "bpfctl.cli.app.pending:FEATURE",
    "btf": "bpfctl.cli.btf.verbs:TABLE",
    "gen": "bpfctl.cli.app.pending:GEN",
    "struct_ops": "bpfctl.cli.app.pending:STRUCT_OPS",
    "iter": "bpfctl.cli.app.pending:ITER",
    "version": "bpfctl.cli.app.version:version",
}
# Our own objects: Click commands. They come after bpftool's, whose abbreviations win.
OWN_OBJECTS = {
    "sim": "bpfctl.cli.sim.verbs:sim",
    "memcg": "bpfctl.cli.memcg.verbs:memcg",
    "task": "bpfctl.cli.task.verbs:task",
    "plugin": "bpfctl.cli.plugin.verbs:plugin",
    "sample": "bpfctl.cli.sample.verbs:sample",
    "cost": "bpfctl.cli.cost.verbs:cost",
    "series": "bpfctl.cli.series.verbs:series",
    "completion": "bpfctl.cli.complete.verbs:completion",
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
