"""The grammar of a verb: one line of text, and how words are walked along it.

``MAP <[key DATA] [value VALUE] [{any | noexist | exist}]>`` reads as usage texts do. Small letters
are keywords, which any prefix abbreviates; capitals are operands. ``[x]`` may be left out,
``{a | b}`` is a choice, ``x ...`` is once or more, and what stands between ``<`` and ``>`` may come
in any order, each part once. :data:`RULES` has the operands that are several words.

A grammar is walked a word at a time: what is left of it after each word is a grammar again.
Parser, completion, help and the tests of the documentation all walk the same one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

RULES = {
    "MAP": "{id MAP_ID | name MAP_NAME | pinned MAP_PIN}",
    "PROG": "{id PROG_ID | tag PROG_TAG | name PROG_NAME | pinned PROG_PIN}",
    "LINK": "{id LINK_ID | pinned LINK_PIN}",
    "STRUCT_OPS": "{id MAP_ID | name MAP_NAME}",
    "VALUE": "{MAP | PROG | DATA}",
}
_BYTE = re.compile(r"[+-]?(0[xX])?[0-9a-fA-F]+\Z")


class Taken(NamedTuple):
    """A word and the keyword or operand that took it; ``of`` is the operand of :data:`RULES`."""

    name: str
    word: str
    keyword: bool
    of: str = ""


class Next(NamedTuple):
    """What may come next: a keyword, or an operand of one word."""

    name: str
    keyword: bool


class Knowledge:
    """What is known beyond the words; here nothing. Completion asks the state."""

    def expand(self, operand: str, taken: list[Taken]) -> Node | None:
        """Return what an operand of several words consists of, None for one word."""
        return data(None) if operand == "DATA" else rule(operand)

    def useless(self, keyword: str, taken: list[Taken]) -> bool:
        """Tell whether a keyword that could come would be refused."""
        return False


class Node:
    """A part of a grammar."""

    def optional(self, at: Walk) -> bool:
        """Tell whether no word at all fits."""
        return False

    def first(self, at: Walk) -> Iterator[Next]:
        """Yield what may come first."""
        raise NotImplementedError

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        """Return what is left after ``word`` and what took it, None if nothing does."""
        raise NotImplementedError


class Keyword(Node):
    """A word that is given, or any beginning of it."""

    def __init__(self, word: str) -> None:
        self.word = word

    def first(self, at: Walk) -> Iterator[Next]:
        yield Next(self.word, True)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        if not self.word.startswith(word):
            return None
        return NOTHING, Taken(self.word, word, True)


class Operand(Node):
    """Any word, or the words of a rule."""

    def __init__(self, name: str) -> None:
        self.name = name

    def first(self, at: Walk) -> Iterator[Next]:
        inside = at.known.expand(self.name, at.taken)
        if inside is None:
            yield Next(self.name, False)
        else:
            yield from inside.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        inside = at.known.expand(self.name, at.taken)
        if inside is None:
            return NOTHING, Taken(self.name, word, False)
        found = inside.after(word, at)
        if found is None:
            return None
        left, taken = found
        return _Inside(left, self.name), taken._replace(of=self.name)


class _Inside(Node):
    """What is left of the words of an operand."""

    def __init__(self, node: Node, of: str) -> None:
        self.node = node
        self.of = of

    def optional(self, at: Walk) -> bool:
        return self.node.optional(at)

    def first(self, at: Walk) -> Iterator[Next]:
        yield from self.node.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        found = self.node.after(word, at)
        if found is None:
            return None
        return _Inside(found[0], self.of), found[1]._replace(of=self.of)


class Sequence(Node):
    """Parts one after the other."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)

    def optional(self, at: Walk) -> bool:
        return all(node.optional(at) for node in self.nodes)

    def first(self, at: Walk) -> Iterator[Next]:
        for node in self.nodes:
            yield from node.first(at)
            if not node.optional(at):
                return

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        for number, node in enumerate(self.nodes):
            found = node.after(word, at)
            if found is not None:
                return Sequence((found[0], *self.nodes[number + 1 :])), found[1]
            if not node.optional(at):
                return None
        return None


NOTHING = Sequence(())


class Choice(Node):
    """One of several parts; the first that a word fits."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)

    def optional(self, at: Walk) -> bool:
        return any(node.optional(at) for node in self.nodes)

    def first(self, at: Walk) -> Iterator[Next]:
        for node in self.nodes:
            yield from node.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        for node in self.nodes:
            found = node.after(word, at)
            if found is not None:
                return found
        return None


class Maybe(Node):
    """A part that may be left out."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def optional(self, at: Walk) -> bool:
        return True

    def first(self, at: Walk) -> Iterator[Next]:
        yield from self.node.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        return self.node.after(word, at)


class Repeated(Node):
    """A part once or more."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def optional(self, at: Walk) -> bool:
        return self.node.optional(at)

    def first(self, at: Walk) -> Iterator[Next]:
        yield from self.node.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        found = self.node.after(word, at)
        if found is None:
            return None
        return Sequence((found[0], Maybe(self))), found[1]


class Bytes(Node):
    """So many words for a byte each; where that is unknown, up to a word that is no byte."""

    def __init__(self, count: int | None) -> None:
        self.count = count

    def optional(self, at: Walk) -> bool:
        return self.count == 0

    def first(self, at: Walk) -> Iterator[Next]:
        if self.count != 0:
            yield Next("BYTE", False)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        if self.count == 0 or (self.count is None and not _BYTE.match(word)):
            return None
        left = Maybe(self) if self.count is None else Bytes(self.count - 1)
        return left, Taken("BYTE", word, False)


class AnyOrder(Node):
    """Parts in any order, each once."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = tuple(nodes)

    def optional(self, at: Walk) -> bool:
        return all(node.optional(at) for node in self.nodes)

    def first(self, at: Walk) -> Iterator[Next]:
        for node in self.nodes:
            yield from node.first(at)

    def after(self, word: str, at: Walk) -> tuple[Node, Taken] | None:
        for number, node in enumerate(self.nodes):
            found = node.after(word, at)
            if found is not None:
                rest = AnyOrder(self.nodes[:number] + self.nodes[number + 1 :])
                return Sequence((found[0], rest)), found[1]
        return None


class Walk:
    """A way along a grammar: the words that were ``taken``, and what may follow."""

    def __init__(self, node: Node, known: Knowledge | None = None) -> None:
        self.left = node
        self.known = known or Knowledge()
        self.taken: list[Taken] = []

    def take(self, word: str) -> bool:
        """Go on by one word; False, and where it was, if the word does not fit."""
        found = self.left.after(word, self)
        if found is None:
            return False
        self.left = found[0]
        self.taken.append(found[1])
        return True

    def next(self) -> list[Next]:
        """Return what may come next, each once."""
        found = dict.fromkeys(self.left.first(self))
        return [
            each
            for each in found
            if not (each.keyword and self.known.useless(each.name, self.taken))
        ]

    @property
    def complete(self) -> bool:
        """Tell whether the words so far may be all."""
        return self.left.optional(self)


# --- from text ------------------------------------------------------------------

_TOKEN = re.compile(r"\.\.\.|[\[\]{}|<>]|[^\s\[\]{}|<>]+")
_CLOSERS = {"[": "]", "{": "}", "<": ">"}
_parsed: dict[str, Node] = {}


def parse(text: str) -> Node:
    """Return the grammar that ``text`` describes."""
    if text not in _parsed:
        tokens = _TOKEN.findall(text)
        _parsed[text], _ = _choice(tokens, 0, "")
    return _parsed[text]


def rule(operand: str) -> Node | None:
    """Return what an operand of several words consists of, None for one word."""
    return parse(RULES[operand]) if operand in RULES else None


def operands(node: Node) -> list[str]:
    """Return the names of the operands in a grammar, each once."""
    if isinstance(node, Operand):
        return [node.name]
    parts = [*getattr(node, "nodes", ()), *filter(None, [getattr(node, "node", None)])]
    return list(dict.fromkeys(name for part in parts for name in operands(part)))


def data(size: int | None) -> Node:
    """Return the grammar of DATA: ``[hex] BYTE...``, ``size`` bytes if that is known."""
    return Sequence((Maybe(Keyword("hex")), Bytes(size)))


def usage(text: str) -> str:
    """Return a grammar for the eye: people need no marks for what comes in any order."""
    return " ".join(text.replace("<", " ").replace(">", " ").split())


def _choice(tokens: list[str], at: int, closer: str) -> tuple[Node, int]:
    options: list[list[Node]] = [[]]
    while at < len(tokens) and tokens[at] != closer:
        token = tokens[at]
        at += 1
        if token in _CLOSERS.values():
            raise ValueError(f"unexpected '{token}' in '{' '.join(tokens)}'")
        if token == "|":
            options.append([])
        elif token == "...":
            options[-1][-1] = Repeated(options[-1][-1])
        else:
            node, at = _part(token, tokens, at)
            options[-1].append(node)
    if closer == ">":
        return AnyOrder(_grouped(options[0])), at
    found = [nodes[0] if len(nodes) == 1 else Sequence(nodes) for nodes in options]
    return (found[0] if len(found) == 1 else Choice(found)), at


def _part(token: str, tokens: list[str], at: int) -> tuple[Node, int]:
    if token not in _CLOSERS:
        return (Operand(token) if token[0].isupper() else Keyword(token)), at
    closer = _CLOSERS[token]
    node, at = _choice(tokens, at, closer)
    if at >= len(tokens):
        raise ValueError(f"no '{closer}' in '{' '.join(tokens)}'")
    return (Maybe(node) if token == "[" else node), at + 1


def _grouped(nodes: list[Node]) -> Iterator[Node]:
    """Put the operands behind a keyword together with it."""
    group: list[Node] = []
    for node in nodes:
        if group and not isinstance(node, Operand):
            yield Sequence(group)
            group = []
        if isinstance(node, Keyword) or group:
            group.append(node)
        else:
            yield node
    if group:
        yield Sequence(group)
