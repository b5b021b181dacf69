"""Global options: GNU getopt as bpftool uses it, and our own long options."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.cli.app.out import Out
from bpfctl.errors import CommandError
from bpfctl.light import dataclass


@dataclass(slots=True)
class Option:
    """A global option: its letter, what its value is called ("" for none), a line about it."""

    letter: str
    value: str
    about: str


# by long name, in the order of bpftool's table
LONG = {
    "json": Option("j", "", "print JSON"),
    "help": Option("h", "", "print the help"),
    "pretty": Option("p", "", "print JSON, indented"),
    "version": Option("V", "", "print the version"),
    "bpffs": Option("f", "", "show pinned paths"),
    "mapcompat": Option("m", "", "accept old map definitions"),
    "nomount": Option("n", "", "never mount a bpffs"),
    "debug": Option("d", "", "print more about errors"),
    "use-loader": Option("L", "", "load programs by a loader program"),
    "base-btf": Option("B", "FILE", "file with the base BTF"),
}
# ours, long only, each with a value; bpftool's names and their abbreviations win
OWN = {
    "state": Option("", "FILE", "state file"),
    "as": Option("", "PID", "run as a child of this task"),
    "uid": Option("", "UID", "run as this user"),
    "caps": Option("", "CAPS", "run with these capabilities"),
    "cgroup": Option("", "PATH", "run in this cgroup"),
    "memlock": Option("", "SIZE", "run with this RLIMIT_MEMLOCK"),
    "engine": Option("", "NAME", "run programs with this engine"),
    "until": Option("", "INSN", "print a trace up to this instruction"),
    "observe": Option("", "NAMES", "load these observer plugins"),
}
_SWITCHES = "hVjpfmndL"


class UnknownOption(CommandError):
    """An option that nobody knows; the general help follows the message."""


class Options:
    """What the options say. ``own`` holds the values of our own ones, as typed.

    ``help_page`` asks for a page of ours, as ``--help`` does and a lone ``-h``; ``-h`` among other
    words is bpftool's.
    """

    __slots__ = (
        "base_btf",
        "debug",
        "help",
        "help_page",
        "mapcompat",
        "nomount",
        "own",
        "show_pinned",
        "use_loader",
        "version",
    )

    def __init__(self) -> None:
        self.show_pinned = False
        self.mapcompat = False
        self.nomount = False
        self.debug = False
        self.use_loader = False
        self.version = False
        self.help = False
        self.help_page = False
        self.base_btf: str | None = None
        self.own: dict[str, str] = {}


# switch: attribute that it sets; the rest acts on the output
_FLAGS = {
    "f": "show_pinned",
    "m": "mapcompat",
    "n": "nomount",
    "d": "debug",
    "L": "use_loader",
    "V": "version",
    "h": "help",
}


def parse(argv: list[str], options: Options, out: Out, is_ours: Callable[[str], bool]) -> list[str]:
    """Take the options out of ``argv`` (without the program name); return the words.

    Options act from left to right wherever they stand; ``-h`` ends the reading. Once the first
    word is an object of our own (``is_ours``), the rest is left to that command.

    :raises UnknownOption: with the words consumed so far lost; JSON may be on already.
    """
    scan = _Scan(argv, options, out)
    while scan.at < len(argv) and not options.help:
        word = argv[scan.at]
        if word == "--":
            return scan.words + argv[scan.at + 1 :]
        if len(word) < 2 or word[0] != "-":
            if not scan.words and is_ours(word):
                return argv[scan.at :]
            scan.words.append(word)
            scan.at += 1
        elif word.startswith("--"):
            scan.long_option(word[2:])
        else:
            scan.cluster(word)
    return scan.words


class _Scan:
    def __init__(self, argv: list[str], options: Options, out: Out) -> None:
        self.argv = argv
        self.options = options
        self.out = out
        self.words: list[str] = []
        self.at = 0
        self.consumed = "bpftool"  # the program name stands before the first element

    def unknown(self, quoted: str) -> UnknownOption:
        return UnknownOption(f"unrecognized option '{quoted}'")

    def finish(self) -> None:
        """Step over the current element."""
        self.consumed = self.argv[self.at]
        self.at += 1

    def switch(self, letter: str) -> None:
        if letter in "jp":
            self.out.use_json(pretty=letter == "p")
        elif letter in _FLAGS:
            setattr(self.options, _FLAGS[letter], True)

    def cluster(self, element: str) -> None:
        """Handle ``-abc``; ``B`` takes the rest of the element or the next one."""
        for index, letter in enumerate(element[1:], start=1):
            last = index == len(element) - 1
            if letter == "B":
                rest = element[index + 1 :]
                self.finish()
                self.set_base_btf(rest or self.value(element))
                return
            if letter not in _SWITCHES:
                # getopt has not stepped over an element with more letters to come, and bpftool
                # quotes the element before the next one; words were moved behind the options.
                if last:
                    quoted = element
                else:
                    quoted = self.words[-1] if self.words else self.consumed
                raise self.unknown(quoted)
            self.switch(letter)
            if self.options.help:
                self.options.help_page = len(self.argv) == 1
                return
        self.finish()

    def value(self, element: str) -> str:
        """Return the argument after ``element``, which was just stepped over."""
        if self.at >= len(self.argv):
            raise self.unknown(element)
        found = self.argv[self.at]
        self.finish()
        return found

    def long_option(self, text: str) -> None:
        element = self.argv[self.at]
        name, equals, given = text.partition("=")
        self.finish()
        chosen = _resolve(name)
        if chosen in OWN:
            if not equals and self.at >= len(self.argv):
                raise CommandError(f"option '--{chosen}' needs a value")
            self.options.own[chosen] = given if equals else self.value(element)
        elif chosen == "base-btf":
            self.set_base_btf(given if equals else self.value(element))
        elif chosen is None or equals:
            raise self.unknown(element)
        else:
            self.switch(LONG[chosen].letter)
            self.options.help_page = chosen == "help"

    def set_base_btf(self, path: str) -> None:
        from bpfctl.cli.app.base_btf import check_base_btf

        check_base_btf(path, self.out)
        self.options.base_btf = path


def _resolve(name: str) -> str | None:
    """Return the long option that ``name`` is, or is the only one to start with."""
    for table in (LONG, OWN):
        if name in table:
            return name
    for table in (LONG, OWN):
        matches = [known for known in table if known.startswith(name)]
        if matches:
            return matches[0] if len(matches) == 1 else None
    return None
