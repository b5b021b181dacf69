"""``bpfctl help [WORD...]`` and ``WORD... --help``: the front page, an object, a verb.

The texts of bpftool's own ``OBJECT help`` are recorded (``app/usage.py``); these pages are made
from the tables, so that what is declared is what is shown.
"""

from __future__ import annotations

from bpfctl import __version__
from bpfctl.cli.app import usage
from bpfctl.cli.app.dispatch import OBJECTS, OWN_OBJECTS, Object, find_own, target_of
from bpfctl.cli.app.grammar import RULES, operands, parse
from bpfctl.cli.app.grammar import usage as usage_of
from bpfctl.cli.app.near import did_you_mean
from bpfctl.cli.app.options import LONG, OWN, Option
from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.app.version import BPFTOOL_VERSION
from bpfctl.cli.app.words import Words
from bpfctl.cli.help.operands import ABOUT
from bpfctl.errors import CommandError

PROGRAM = "bpfctl"
EXAMPLES = (
    (
        "bpfctl map create /sys/fs/bpf/seen type hash key 4 value 8 entries 1024 name seen",
        "make a map and pin it; the machine is made with the first command",
    ),
    ("bpfctl -j -p map show", "list maps as JSON"),
    (
        "bpfctl cost prog.bpf.o --kernel 5.10 --kernel 6.18 --cpus 4,128",
        "price the maps and programs of an object before it is loaded",
    ),
    (
        "bpfctl --cgroup /app map create /sys/fs/bpf/big type array key 4 value 4096 entries 512 "
        "name big",
        "the same in a cgroup, which pays; 'bpfctl memcg create /app --max 1M' limits it",
    ),
    ("bpfctl sim new --force --kernel 5.10 --cpus 2", "start anew, on another kernel"),
)


def help_(app: App, words: Words) -> int | None:
    """Run ``help [OBJECT [VERB]]``."""
    if app.out.json is not None or not words.object:
        usage.show(app.out, "main")  # bpftool's answer, also to an empty word
        return None
    return show(app, words.items[words.at :])


HELP = Verb("help", help_, "[WORD] ...", "print help, in general or about words")


def show(app: App, words: list[str]) -> int:
    """Print the page about the words of a command, or the front page."""
    app.out.own = True
    if not words:
        app.out.put(front())
        return 0
    if find_own(words[0]) is not None:
        from bpfctl.cli.app.group import run_own

        return run_own(app, [*words, "--help"])
    name = next((name for name in OBJECTS if name.startswith(words[0])), None)
    if name is None:
        hint = did_you_mean(words[0], [*OBJECTS, *OWN_OBJECTS])
        raise CommandError(f"there is no object '{words[0]}'", hint=hint)
    target = target_of(OBJECTS[name])
    if isinstance(target, Table) and len(words) > 1:
        verb = target.find(words[1])
        if verb is None:
            hint = did_you_mean(words[1], target.verbs)
            raise CommandError(f"'{name}' has no command '{words[1]}'", hint=hint)
        target = verb
    app.out.put(about(name, target))
    return 0


def front() -> str:
    """Return the front page."""
    return "\n".join(
        (
            f"bpfctl {__version__}: a simulated BPF kernel in a file, with the commands of bpftool "
            f"{BPFTOOL_VERSION}.",
            "",
            "Usage: bpfctl [OPTIONS] OBJECT [COMMAND] [WORDS]",
            "       bpfctl help OBJECT [COMMAND]",
            "",
            "bpftool's objects; words, output and exit status are bpftool's:",
            *_objects(OBJECTS),
            "",
            "bpfctl's own:",
            *_objects(OWN_OBJECTS),
            "",
            "Options, anywhere on the line; before the object if the command has one of that name:",
            *_rows([(option_text(name, option), option.about) for name, option in _options()]),
            "",
            "Any beginning of a word will do, bpftool's first: 'bpfctl m s'.",
            "",
            "Examples:",
            *(line for command, says in EXAMPLES for line in (f"  {command}", f"      {says}")),
            "",
        )
    )


def _options() -> list[tuple[str, Option]]:
    return [*LONG.items(), *OWN.items()]


def option_text(name: str, option: Option) -> str:
    """Return ``-B, --base-btf FILE``."""
    letter = f"-{option.letter}, " if option.letter else "    "
    return f"{letter}--{name} {option.value}".rstrip()


def _objects(objects: dict[str, Object]) -> list[str]:
    return _rows([(name, found.about) for name, found in objects.items()])


def _rows(rows: list[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{width}}  {says}".rstrip() for name, says in rows]


def about(name: str, target: object) -> str:
    """Return the page of an object of bpftool's, or of one of its verbs."""
    if isinstance(target, Table):
        return _about_object(name, target)
    if isinstance(target, Verb):
        return _about_verb(name, target)
    return f"Usage: {PROGRAM} {name}\n\n  {OBJECTS[name].about}\n"


def _about_object(name: str, table: Table) -> str:
    verbs = [verb for verb in table.verbs.values() if verb.name != "help"]
    lines = [f"Usage: {PROGRAM} {name} COMMAND [WORDS]", "", f"  {OBJECTS[name].about}", ""]
    lines += ["Commands:", *_rows([(verb.name, verb.about) for verb in verbs]), ""]
    lines += [f"'{PROGRAM} help {name} COMMAND' says what one takes; '{PROGRAM} {name} help' is"]
    lines += ["bpftool's own text.", ""]
    return "\n".join(lines)


def _about_verb(name: str, verb: Verb) -> str:
    lines = [*_wrapped(f"Usage: {synopsis(name, verb)}"), "", f"  {verb.about}"]
    used = operands(parse(verb.grammar))
    if used:
        lines += ["", *_rows([(each, operand_text(each)) for each in used])]
    return "\n".join([*lines, ""])


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 79, subsequent_indent=" " * 11, break_on_hyphens=False)


def synopsis(name: str, verb: Verb) -> str:
    """Return a command as it is typed: ``bpfctl map dump MAP``."""
    words = [PROGRAM, name, *([] if verb.name == name else [verb.name]), usage_of(verb.grammar)]
    return " ".join(filter(None, words))


def operand_text(name: str) -> str:
    """Return what an operand is: its words, or a sentence."""
    return " ".join(filter(None, (usage_of(RULES.get(name, "")), ABOUT.get(name, ""))))
