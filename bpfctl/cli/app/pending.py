"""bpftool's objects whose commands bpfctl does not have yet: all that is missing, in one table.

Every object has its help, its prefixes and its unknown-word usage. A verb that takes words
checks their number as bpftool does; then it says that it is missing. Listings of objects that
the simulated kernel cannot hold are complete: they are empty.
"""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Check, Table, Verb, missing
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError, E

_PIN = Check(3, -E.INVAL & 0xFF)
_GEN = Check(2, usage=True)


def _help(app: App, words: Words) -> None:
    app.help(app, words)


def _empty(app: App, words: Words) -> None:
    """List objects of a kind that never exists."""
    if app.out.json is not None:
        app.out.json.begin_array()
        app.out.json.end_array()


def _prog_profile(app: App, words: Words) -> None:
    """Check the words of ``prog profile``."""
    from bpfctl.cli.app.select import prog_fd

    words.need(3, -E.INVAL & 0xFF)
    try:
        prog_fd(app, words)
    except CommandError as exc:
        if exc.text:
            app.out.error(exc.text)
        raise CommandError("failed to parse fd") from exc
    raise CommandError("bpfctl does not simulate 'prog profile' yet")


def _net_show(app: App, words: Words) -> None:
    """Check the words of ``net show``."""
    if words.left and not (words.left == 2 and words.next_is("dev")):
        raise UsageExit
    raise CommandError("bpfctl does not simulate 'net show' yet")


def _link_show(app: App, words: Words) -> None:
    """Run ``link show`` on a kernel that has no link."""
    if words.left == 2:
        raise CommandError("bpfctl does not simulate 'link show' of a link yet")
    words.no_more()
    _empty(app, words)


def _table(name: str, *verbs: tuple[str, Verb | Check]) -> Table:
    return Table(
        name,
        {
            verb: found if isinstance(found, Verb) else missing(name, verb, found)
            for verb, found in verbs
        },
    )


_ANY = Check()
_HELP = ("help", Verb(_help))

PROG_MISSING = {
    "attach": missing("prog", "attach", _PIN),
    "detach": missing("prog", "detach", _PIN),
    "tracelog": missing("prog", "tracelog", _ANY),
    "run": missing("prog", "run", Check(4)),
    "profile": Verb(_prog_profile),
}
LINK = _table(
    "link",
    ("show", Verb(_link_show)),
    ("list", Verb(_link_show)),
    _HELP,
    ("pin", _PIN),
    ("detach", _ANY),
)
CGROUP = _table(
    "cgroup",
    ("show", Check(1)),
    ("list", Check(1)),
    ("tree", _ANY),
    ("attach", _ANY),
    ("detach", _ANY),
    _HELP,
)
PERF = _table("perf", ("show", Verb(_empty)), ("list", Verb(_empty)), _HELP)
NET = _table(
    "net",
    ("show", Verb(_net_show)),
    ("list", Verb(_net_show)),
    ("attach", Check(5, -E.INVAL & 0xFF)),
    ("detach", Check(3, -E.INVAL & 0xFF)),
    _HELP,
)
FEATURE = _table("feature", ("probe", _ANY), ("list_builtins", _ANY), _HELP)
GEN = _table(
    "gen",
    ("object", _GEN),
    ("skeleton", Check(1, usage=True)),
    ("subskeleton", Check(1, usage=True)),
    ("min_core_btf", Check(3, usage=True)),
    _HELP,
)
STRUCT_OPS = _table(
    "struct_ops",
    ("show", _ANY),
    ("list", _ANY),
    ("register", _ANY),
    ("unregister", _ANY),
    ("dump", _ANY),
    _HELP,
)
ITER = _table("iter", _HELP, ("pin", Check(2, usage=True)))
