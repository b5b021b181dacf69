"""The words of a verb, read by its grammar: operands and keywords by name."""

from __future__ import annotations

from bpfctl.cli.app.grammar import Next, Taken, Walk, parse, usage
from bpfctl.cli.app.table import Verb
from bpfctl.cli.app.words import Words, strtoul
from bpfctl.errors import CommandError


class Arguments:
    """What was given for each keyword and operand of a grammar.

    A value belongs to the operand that took it and to the keyword before it: ``[repeat N]`` is
    asked for as ``repeat``.
    """

    def __init__(self, taken: list[Taken]) -> None:
        self._taken = taken

    def given(self, keyword: str) -> bool:
        """Tell whether a keyword was there."""
        return any(word.keyword and word.name == keyword for word in self._taken)

    def all(self, name: str) -> list[str]:
        """Return every value of an operand, or behind a keyword."""
        found = []
        keyword = ""
        for word in self._taken:
            if word.keyword:
                keyword = word.name
            elif name in (word.name, keyword):
                found.append(word.word)
        return found

    def word(self, name: str, default: str = "") -> str:
        """Return the value of an operand, or the one behind a keyword."""
        return next(iter(self.all(name)), default)

    def chosen(self, *keywords: str) -> str:
        """Return in full which of several keywords was given, "" if none."""
        return next((word.name for word in self._taken if word.name in keywords), "")

    def number(self, name: str, default: int = 0) -> int:
        """Return a value as a number of 64 bits, as C reads it.

        :raises CommandError: it is none.
        """
        found = self.all(name)
        if not found:
            return default
        number = strtoul(found[0], 0)
        if number is None:
            raise CommandError(f"can't parse {found[0]} as {name}")
        return number

    def object(self, name: str) -> Words:
        """Return the words that name an object (MAP, PROG), for ``select.map_fd`` and the like."""
        return Words([word.word for word in self._taken if word.of == name])


def read(object_name: str, verb: Verb, words: Words) -> Arguments:
    """Read all words that are left.

    :raises CommandError: they are none of the verb's.
    """
    walk = Walk(parse(verb.grammar))
    hint = f"usage: bpfctl {object_name} {verb.name} {usage(verb.grammar)}".rstrip()
    while words.left:
        if not walk.take(words.items[words.at]):
            raise CommandError(_unexpected(walk.next(), words.items[words.at]), hint=hint)
        words.at += 1
    if not walk.complete:
        before = words.items[words.at - 1]
        raise CommandError(f"expected {names(walk.next())} after '{before}'", hint=hint)
    return Arguments(walk.taken)


def _unexpected(expected: list[Next], word: str) -> str:
    return f"expected {names(expected)}, got: '{word}'?" if expected else f"what is '{word}'?"


def names(expected: list[Next]) -> str:
    """Return ``'id', 'name' or FILE``."""
    shown = [f"'{each.name}'" if each.keyword else each.name for each in expected]
    return " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
