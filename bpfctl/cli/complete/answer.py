"""Completion: from a command line that is being typed to what may come next.

The shells ask through Click's protocol, an environment variable that says so; :func:`answer`
replies. Objects of our own are Click's to complete, with the values of ``complete_own``;
bpftool's have their grammar in their tables. Completion never complains: where something is
wrong, it has nothing to offer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import redirect_stderr

from click.shell_completion import CompletionItem, shell_complete

from bpfctl.cli.app.dispatch import OBJECTS, OWN_OBJECTS, find_own, target_of
from bpfctl.cli.app.options import LONG, OWN
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.complete import words as complete_words
from bpfctl.cli.complete.state import State
from bpfctl.cli.complete.words import DIRECTORY, FILE, FILES, NOTHING, Offers

PROGRAM = "bpfctl"
# More than anybody reads.
MAX_ITEMS = 5000
# Values after which more of the same word follows.
OPEN_ENDS = ("/", "=", ",", "+")
HOST_TYPES = {FILE: "file", DIRECTORY: "dir"}

def answer(instruction: str) -> int:
    """Do what the completion variable says: ``bash_complete``, ``zsh_source`` and the like."""
    from bpfctl.cli.app.group import root
    from bpfctl.cli.app.main import COMPLETE_VARIABLE
    from bpfctl.cli.complete import shell as complete_shell

    complete_shell.register()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        try:
            return shell_complete(root, {}, PROGRAM, COMPLETE_VARIABLE, instruction)
        except KeyboardInterrupt:
            return 130
        except Exception:
            # Half a line may mean anything, and the reader is at a prompt.
            return 0


def complete(args: list[str], incomplete: str) -> list[CompletionItem[str]]:
    """Return what may stand in the place of ``incomplete``, after the words ``args``."""
    line = _Line(args)
    if line.value_of is not None:
        return items(_option_values(line, line.value_of, incomplete), incomplete)
    if line.own:
        from bpfctl.cli.complete.own import complete_own

        return complete_own(line.state, line.words, incomplete)
    if incomplete.startswith("-") and not line.literal:
        return _global_option(line, incomplete)
    if not line.words:
        return items(
            [(word, found.about) for word, found in {**OBJECTS, **OWN_OBJECTS}.items()], incomplete
        )
    return items(_bpftool(line), incomplete)


class _Line:
    """The complete words of a line, global options taken out.

    ``value_of`` is the option whose value is being typed. ``own`` says that the words are for
    Click, ``literal`` that ``--`` was among them.
    """

    def __init__(self, args: list[str]) -> None:
        self.words: list[str] = []
        self.given: dict[str, str] = {}
        self.value_of: str | None = None
        self.own = self.literal = False
        for at, word in enumerate(args):
            if self.value_of is not None:
                self.given[self.value_of] = word
                self.value_of = None
            elif self.literal or word == "-" or not word.startswith("-"):
                if not self.words and not self.literal and find_own(word) is not None:
                    self.own = True
                    self.words = args[at:]
                    break
                self.words.append(word)
            elif word == "--":
                self.literal = True
            else:
                self.value_of = self._option(word)
        self.state = State(self.given)

    def _option(self, word: str) -> str | None:
        """Note a global option; return its name if the next word is its value."""
        if not word.startswith("--"):
            return "base-btf" if word.endswith("B") else None
        name, equals, value = word[2:].partition("=")
        chosen = full_option(name)
        if chosen is None or not takes_value(chosen):
            return None
        if equals:
            self.given[chosen] = value
        return None if equals else chosen


def full_option(name: str) -> str | None:
    """Return the long option that ``name`` is, or is the only one to start with."""
    for table in (LONG, OWN):
        if name in table:
            return name
    for table in (LONG, OWN):
        found = [known for known in table if known.startswith(name)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def takes_value(option: str) -> bool:
    """Tell whether a global option has an argument."""
    return {**LONG, **OWN}[option].value != ""


def _global_option(line: _Line, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a global option, or the value in ``--NAME=VALUE``."""
    name, equals, value = incomplete.partition("=")
    if equals:
        chosen = full_option(name[2:]) if name.startswith("--") else None
        if chosen is None or not takes_value(chosen):
            return []
        return items(_option_values(line, chosen, value), value, f"{name}=")
    offers = [(f"--{known}", option.about) for known, option in {**LONG, **OWN}.items()]
    if incomplete == "-":
        offers += [(f"-{option.letter}", option.about) for option in LONG.values()]
    return items(offers, incomplete)


def _option_values(line: _Line, option: str, word: str) -> Offers:
    from bpfctl.cli.complete import own as complete_own

    values: dict[str, Callable[[], Offers]] = {
        "state": lambda: FILES,
        "base-btf": lambda: FILES,
        "as": line.state.tasks,
        "cgroup": line.state.cgroups,
        "caps": lambda: complete_own.capabilities(word),
        "memlock": lambda: complete_words.words("unlimited"),
        "engine": complete_own.engines,
        "observe": lambda: complete_own.observers(word),
    }
    return values.get(option, lambda: NOTHING)()


def _bpftool(line: _Line) -> Offers:
    """Offer what may follow the words of a command of bpftool's."""
    name = next((name for name in OBJECTS if name.startswith(line.words[0])), "")
    if not name:
        return NOTHING
    typed = line.words[1:]
    target = target_of(OBJECTS[name])
    if isinstance(target, Table):
        if not typed:
            return [(verb.name, verb.about) for verb in target.verbs.values()]
        target = target.find(typed.pop(0))
    if not isinstance(target, Verb):
        return NOTHING
    return complete_words.offers(line.state, target.grammar, typed)


def items(offers: Offers, incomplete: str, prefix: str = "") -> list[CompletionItem[str]]:
    """Return the offers that begin with ``incomplete``, ``prefix`` before each of them.

    An item's type tells the shell what to do: add the ``plain`` word and a blank, add a ``part``
    of a word, or complete a ``file`` or ``dir`` of the host.
    """
    found: list[CompletionItem[str]] = []
    for value, about in offers:
        if value in HOST_TYPES:
            found.append(CompletionItem(prefix + incomplete, type=HOST_TYPES[value]))
        elif value.startswith(incomplete) and value.isprintable() and value:
            kind = "part" if value.endswith(OPEN_ENDS) else "plain"
            found.append(CompletionItem(prefix + value, type=kind, help=_one_line(about)))
        if len(found) >= MAX_ITEMS:
            break
    return found


def _one_line(about: str) -> str | None:
    text = "".join(char if char.isprintable() else " " for char in about)
    return text.strip() or None
