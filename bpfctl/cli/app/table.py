"""Command tables: the first entry that a word abbreviates wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bpfctl.cli.app import usage
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError

Handler = Callable[[App, Words], "int | None"]


class Verb(NamedTuple):
    """A sub-command: what runs it, and whether it changes the state."""

    run: Handler
    write: bool = False


class Table:
    """The sub-commands of one object; the first one runs when none is given."""

    def __init__(self, name: str, verbs: dict[str, Verb]) -> None:
        self.name = name
        self.verbs = verbs
        self._found: dict[str, Verb | None] = {}

    def find(self, word: str) -> Verb | None:
        """Return the first sub-command that ``word`` abbreviates."""
        if word not in self._found:
            matches = (verb for name, verb in self.verbs.items() if name.startswith(word))
            self._found[word] = next(matches, None)
        return self._found[word]

    def help(self, app: App, words: Words) -> None:
        """Print the help text of this object."""
        usage.show(app.out, self.name, words.object)

    def run(self, app: App, words: Words) -> int | None:
        """Run the sub-command that the next word names."""
        app.help = self.help
        app.words = words
        if words.at >= len(words.items):
            verb = next(iter(self.verbs.values()))
        else:
            found = self.find(words.items[words.at])
            if found is None:
                self.help(app, words)
                return -1
            verb = found
            words.at += 1
        app.write = app.write or verb.write
        return verb.run(app, words)


class Check(NamedTuple):
    """Words that a sub-command needs before it does anything: how many, and what follows."""

    words: int = 0
    status: int = 255
    usage: bool = False


def missing(object_name: str, verb: str, check: Check) -> Verb:
    """Return a sub-command that checks its words and says that it is not there yet."""

    def run(app: App, words: Words) -> None:
        complaint = words.shortage(check.words)
        if complaint and check.usage:
            app.out.error(complaint)
            raise UsageExit
        if complaint:
            raise CommandError(complaint, check.status)
        raise CommandError(f"bpfctl does not simulate '{object_name} {verb}' yet")

    return Verb(run)
