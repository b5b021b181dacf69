"""The top-level table: which module runs which first word."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bpfctl.cli.app import usage
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Handler, Table, Verb, load
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, Failure, Hint, KernelError
from bpfctl.light import dataclass


@dataclass(slots=True)
class Object:
    """A first word: what it names, ``"module:attribute"``, and a line about it."""

    target: str
    about: str


# bpftool's objects in bpftool's order, which decides what an abbreviation means.
OBJECTS = {
    "help": Object("bpfctl.cli.help.page:HELP", "help, in general or about words"),
    "batch": Object("bpfctl.cli.app.batch:BATCH", "run the commands of a file"),
    "prog": Object("bpfctl.cli.prog.verbs:TABLE", "programs"),
    "map": Object("bpfctl.cli.map.verbs:TABLE", "maps and their elements"),
    "link": Object("bpfctl.cli.link.verbs:TABLE", "links"),
    "cgroup": Object("bpfctl.cli.cgroup.verbs:TABLE", "programs attached to cgroups"),
    "perf": Object("bpfctl.cli.perf.verbs:TABLE", "programs attached to perf events"),
    "net": Object("bpfctl.cli.net.verbs:TABLE", "programs attached to the network"),
    "feature": Object("bpfctl.cli.feature.verbs:TABLE", "what the kernel can do"),
    "btf": Object("bpfctl.cli.btf.verbs:TABLE", "type information"),
    "gen": Object("bpfctl.cli.gen.verbs:TABLE", "objects and skeletons"),
    "struct_ops": Object("bpfctl.cli.struct_ops.verbs:TABLE", "kernel structures in BPF"),
    "iter": Object("bpfctl.cli.iter.verbs:TABLE", "iterators"),
    "version": Object("bpfctl.cli.app.version:version", "versions and features"),
}
# Our own objects: Click commands. They come after bpftool's, whose abbreviations win.
OWN_OBJECTS = {
    "sim": Object("bpfctl.cli.sim.verbs:sim", "the simulated machine"),
    "memcg": Object("bpfctl.cli.memcg.verbs:memcg", "memory cgroups"),
    "task": Object("bpfctl.cli.task.verbs:task", "long-lived tasks"),
    "plugin": Object("bpfctl.cli.plugin.verbs:plugin", "map types and observers"),
    "sample": Object("bpfctl.cli.sample.verbs:sample", "the kernel's BPF samples"),
    "cost": Object("bpfctl.cli.cost.verbs:cost", "what maps and programs cost"),
    "check": Object("bpfctl.cli.check.verbs:check", "will objects load, and if not, why"),
    "series": Object("bpfctl.cli.series.verbs:series", "the 34 patches to memcg accounting"),
    "why": Object("bpfctl.cli.why.verbs:why", "the last failure, explained"),
    "completion": Object("bpfctl.cli.complete.verbs:completion", "scripts for the shells"),
}

_found: dict[str, Handler | None] = {}


def find_own(word: str) -> str | None:
    """Return the object of our own that ``word`` names or abbreviates."""
    if any(name.startswith(word) for name in OBJECTS):
        return None
    return next((name for name in OWN_OBJECTS if name.startswith(word)), None)


def target_of(found: Object) -> Any:
    """Return the table, the verb or the function that an object is."""
    module, _, attribute = found.target.partition(":")
    return getattr(import_module(module), attribute)


def find(word: str) -> Handler | None:
    """Return what runs bpftool's object that ``word`` abbreviates; imported on first use."""
    if word not in _found:
        name = next((name for name in OBJECTS if name.startswith(word)), None)
        handler: Handler | None = None
        if name is not None:
            target = target_of(OBJECTS[name])
            if isinstance(target, Verb):
                handler = load(target.run)
            else:
                handler = target.run if isinstance(target, Table) else target
        _found[word] = handler
    return _found[word]


def help_(app: App, words: Words) -> None:
    """Print bpftool's general help: the answer to words that name nothing, and to none."""
    usage.show(app.out, "main")
    word = words.object
    if word:
        from bpfctl.cli.app.near import did_you_mean

        app.out.hint(did_you_mean(word, [*OBJECTS, *OWN_OBJECTS]))
    app.out.hint("'bpfctl help' has all objects, options and examples")


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
    except Failure as exc:
        return report(app, exc)
    except KernelError as exc:
        failure = CommandError(str(exc.strerror), -exc.code & 0xFF, exc.hint)
        failure.__cause__ = exc
        return report(app, failure)


def report(app: App, exc: Failure) -> int:
    """Print an error and its hint; some errors have no text. Return the exit status."""
    if exc.text:
        app.out.error(exc.text)
        app.out.hint(exc.hint or _unsaid(app, exc))
        app.note_failure(exc)
    return exc.status


def _unsaid(app: App, exc: Failure) -> Hint:
    """Return what helps where the failure itself says nothing: the kernel's check knows."""
    refusal = exc.__cause__
    if not isinstance(refusal, KernelError) or not app.out.hints_shown:
        return ""
    from bpfctl.cli.why.words import hint_for

    return hint_for(app, refusal)
