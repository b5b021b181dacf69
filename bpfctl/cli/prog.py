"""bpftool's ``prog`` object: the command table. What is missing is in ``pending``."""

from __future__ import annotations

from bpfctl.cli.pending import PROG_MISSING
from bpfctl.cli.pins import pin_command
from bpfctl.cli.prog_show import show
from bpfctl.cli.select import prog_fd
from bpfctl.cli.session import App
from bpfctl.cli.table import Table, Verb
from bpfctl.cli.words import Words


def pin(app: App, words: Words) -> None:
    """Run ``prog pin PROG FILE``."""
    pin_command(app, words, prog_fd)


def load(app: App, words: Words) -> None:
    """Run ``prog load OBJ PATH ...``."""
    from bpfctl.cli import prog_load

    prog_load.load(app, words)


def loadall(app: App, words: Words) -> None:
    """Run ``prog loadall OBJ PATH ...``."""
    from bpfctl.cli import prog_load

    prog_load.loadall(app, words)


def dump(app: App, words: Words) -> int:
    """Run ``prog dump xlated|jited PROG ...``."""
    from bpfctl.cli import prog_dump

    return prog_dump.dump(app, words)


def help_(app: App, words: Words) -> None:
    """Run ``prog help``."""
    app.help(app, words)


TABLE = Table(
    "prog",
    {
        "show": Verb(show),
        "list": Verb(show),
        "help": Verb(help_),
        "dump": Verb(dump),
        "pin": Verb(pin, write=True),
        "load": Verb(load, write=True),
        "loadall": Verb(loadall, write=True),
        "attach": PROG_MISSING["attach"],
        "detach": PROG_MISSING["detach"],
        "tracelog": PROG_MISSING["tracelog"],
        "run": PROG_MISSING["run"],
        "profile": PROG_MISSING["profile"],
    },
)
