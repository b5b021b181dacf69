"""Command tables: a verb is declared once, and the first one that a word abbreviates wins.

A declaration is a :class:`Verb`: name, what runs it, grammar, a line for people. Completion, help
and the tests of the documentation read the grammar (``grammar.py``); a verb with ``reads`` has its
words read by it, too, and bpftool's own verbs read theirs as bpftool does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bpfctl.cli.app import usage
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError
from bpfctl.light import dataclass

if TYPE_CHECKING:
    from bpfctl.cli.app.arguments import Arguments

# A status of None is 0.
Handler = Callable[[App, Words], "int | None"]
ArgumentHandler = Callable[[App, "Arguments"], "int | None"]


@dataclass(slots=True)
class Verb:
    """A sub-command.

    ``run`` is a function or ``"module:function"``, imported when the verb is used. It gets the
    words behind the verb, or with ``reads`` the :class:`~bpfctl.cli.app.arguments.Arguments` that
    the grammar makes of them. ``write`` says that it changes the state.
    """

    name: str
    run: str | Callable[..., int | None]
    grammar: str = ""
    about: str = ""
    write: bool = False
    reads: bool = False


def load(target: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that ``"module:function"`` names."""
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found


def _help(app: App, words: Words) -> None:
    app.help(app, words)


HELP = Verb("help", _help, "", "print the help")


class Table:
    """The sub-commands of one object; the first one runs when none is given."""

    def __init__(self, name: str, *verbs: Verb) -> None:
        self.name = name
        self.verbs = {verb.name: verb for verb in verbs}
        self._found: dict[str, tuple[Verb, Handler] | None] = {}

    def find(self, word: str) -> Verb | None:
        """Return the sub-command of that name, else the first that ``word`` abbreviates."""
        exact = self.verbs.get(word)
        if exact is not None:
            return exact
        return next((verb for name, verb in self.verbs.items() if name.startswith(word)), None)

    def help(self, app: App, words: Words) -> None:
        """Print the help text of this object."""
        usage.show(app.out, self.name, words.object)

    def run(self, app: App, words: Words) -> int | None:
        """Run the sub-command that the next word names."""
        app.help = self.help
        app.words = words
        word = ""  # the first one begins with it
        if words.at < len(words.items):
            word = words.items[words.at]
            words.at += 1
        if word not in self._found:
            self._found[word] = self._handler(word)
        found = self._found[word]
        if found is None:
            words.at -= 1
            self.help(app, words)
            from bpfctl.cli.app.near import did_you_mean

            app.out.hint(did_you_mean(word, self.verbs))
            return -1
        verb, run = found
        app.write = app.write or verb.write
        return run(app, words)

    def _handler(self, word: str) -> tuple[Verb, Handler] | None:
        verb = self.find(word)
        if verb is None:
            return None
        run = load(verb.run)
        return verb, (_reading(self.name, verb, run) if verb.reads else run)


def _reading(object_name: str, verb: Verb, run: ArgumentHandler) -> Handler:
    """Return what reads the words of a verb by its grammar and then runs it."""

    def read_and_run(app: App, words: Words) -> int | None:
        from bpfctl.cli.app.arguments import read

        return run(app, read(object_name, verb, words))

    return read_and_run


@dataclass(slots=True)
class Check:
    """Words that a sub-command needs before it does anything: how many, and what follows."""

    words: int = 0
    status: int = 255
    usage: bool = False


def missing(
    object_name: str, verb: str, grammar: str = "", about: str = "", check: Check | None = None
) -> Verb:
    """Declare a sub-command that checks its words and says that it is not there yet."""
    check = check or Check()

    def run(app: App, words: Words) -> None:
        complaint = words.shortage(check.words)
        if complaint and check.usage:
            app.out.error(complaint)
            raise UsageExit
        if complaint:
            raise CommandError(complaint, check.status)
        raise CommandError(f"bpfctl does not simulate '{object_name} {verb}' yet")

    return Verb(verb, run, grammar, about)
