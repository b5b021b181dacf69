"""bpftool's ``prog`` object: the command table. What is missing is in ``pending``."""

from __future__ import annotations

from bpfctl.cli.app.pending import PROG_MISSING
from bpfctl.cli.app.pins import pin_command
from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.app.words import Words
from bpfctl.cli.prog.show import show


def pin(app: App, words: Words) -> None:
    """Run ``prog pin PROG FILE``."""
    pin_command(app, words, prog_fd)


def load(app: App, words: Words) -> None:
    """Run ``prog load OBJ PATH ...``."""
    from bpfctl.cli.prog import load as prog_load

    prog_load.load(app, words)


def loadall(app: App, words: Words) -> None:
    """Run ``prog loadall OBJ PATH ...``."""
    from bpfctl.cli.prog import load as prog_load

    prog_load.loadall(app, words)


def dump(app: App, words: Words) -> int:
    """Run ``prog dump xlated|jited PROG ...``."""
    from bpfctl.cli.prog import dump as prog_dump

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
