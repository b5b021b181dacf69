"""The manual page: ``python -m bpfctl.cli.help.man > man/bpfctl.1`` renews it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator

import click

from bpfctl import __version__
from bpfctl.cli.app.dispatch import OBJECTS, target_of
from bpfctl.cli.app.grammar import Node, operands, parse, rule
from bpfctl.cli.app.group import root
from bpfctl.cli.app.options import LONG, OWN
from bpfctl.cli.app.table import Table, Verb
from bpfctl.cli.app.version import BPFTOOL_VERSION
from bpfctl.cli.help.page import EXAMPLES, operand_text, option_text, synopsis

_DESCRIPTION = f"""\
bpfctl keeps a simulated BPF kernel in one file. It has the commands of bpftool {BPFTOOL_VERSION}, \
with their words, output and exit status, and commands of its own for the machine, its cgroups and \
tasks, and for what maps and programs cost. It needs no root and no Linux.

Any beginning of a word will do, in the order below."""
_ENVIRONMENT = (
    ("BPFCTL_STATE", "the state file, as --state"),
    ("BPFCTL_AS, BPFCTL_UID, BPFCTL_CAPS, BPFCTL_CGROUP, BPFCTL_MEMLOCK", "as the options"),
    ("BPFCTL_HINTS", "always or never: whether hints follow errors where there is no terminal"),
)
_FILES = (
    ("bpfctl.toml", "settings: in the current directory, else in the user's configuration folder"),
    ("~/.local/share/bpfctl/state.db", "the state, unless another is named"),
)
_STATUS = (
    ("0", "success"),
    ("1", "sim check, sim diff, cost: a finding, a difference, a limit that breaks"),
    ("255", "an error; commands of bpftool that fail with an errno have 256 minus that"),
)


def page() -> str:
    """Return the manual page as roff."""
    parts = [
        f'.TH BPFCTL 1 "" "bpfctl {__version__}" "User Commands"',
        _section("NAME", "bpfctl \\- a simulated BPF kernel in a file"),
        _section("SYNOPSIS", ".B bpfctl\n[\\fIOPTIONS\\fR] \\fIOBJECT\\fR [\\fICOMMAND\\fR]"),
        _section("DESCRIPTION", "\n.PP\n".join(map(_text, _DESCRIPTION.split("\n\n")))),
        _section("OPTIONS", _tagged(_options())),
        _section("COMMANDS OF BPFTOOL", "\n".join(_bpftool())),
        _section("OPERANDS", _tagged((name, operand_text(name)) for name in _operands())),
        _section("COMMANDS OF BPFCTL", "\n".join(_own(root, _top()))),
        _section("ENVIRONMENT", _tagged(_ENVIRONMENT)),
        _section("FILES", _tagged(_FILES)),
        _section("EXIT STATUS", _tagged(_STATUS)),
        _section("EXAMPLES", _tagged((command, says) for command, says in EXAMPLES)),
        _section("SEE ALSO", ".BR bpftool (8)"),
    ]
    return "\n".join(parts) + "\n"


def _options() -> list[tuple[str, str]]:
    return [(option_text(name, each).strip(), each.about) for name, each in {**LONG, **OWN}.items()]


def _top() -> click.Context:
    return click.Context(root, info_name="bpfctl")


def _verbs() -> Iterator[tuple[str, Verb]]:
    for name, found in OBJECTS.items():
        target = target_of(found)
        if isinstance(target, Table):
            yield from ((name, verb) for verb in target.verbs.values())
        elif isinstance(target, Verb):
            yield name, target


def _bpftool() -> Iterator[str]:
    for name, verb in _verbs():
        yield f".TP\n.B {_text(synopsis(name, verb))}\n{_text(verb.about)}"
    yield f".TP\n.B bpfctl version\n{_text(OBJECTS['version'].about)}"


def _operands() -> list[str]:
    found: dict[str, None] = {}
    for _, verb in _verbs():
        _collect(parse(verb.grammar), found)
    return sorted(found)


def _collect(node: Node, found: dict[str, None]) -> None:
    for name in operands(node):
        inside = rule(name)
        found[name] = None
        if name == "VALUE" and inside is not None:
            _collect(inside, found)


def _own(command: click.Command, context: click.Context) -> Iterator[str]:
    """Describe a command of ours and those below it."""
    if isinstance(command, click.Group):
        if context.parent is not None:
            title = context.command_path.partition(" ")[2]
            yield f".SS {_text(title)}\n{_paragraphs(command)}"
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _own(child, click.Context(child, context, name))
        return
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f".TP\n.B {_text(usage)}\n{_paragraphs(command)}"
    options = [
        record
        for parameter in command.get_params(context)
        if (record := parameter.get_help_record(context)) is not None
        and parameter.name not in ("help",)
    ]
    if options:
        yield ".RS"
        yield _tagged(options)
        yield ".RE"


def _paragraphs(command: click.Command) -> str:
    text = (command.help or "").replace("\b", "").strip()
    return "\n.br\n".join(_text(" ".join(part.split())) for part in text.split("\n\n") if part)


def _section(title: str, body: str) -> str:
    return f".SH {title}\n{body}"


def _tagged(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n.B {_text(tag)}\n{_text(says)}" for tag, says in rows)


def _text(text: str) -> str:
    """Protect what roff would read as its own."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return "\\&" + escaped if escaped[:1] in (".", "'") else escaped


if __name__ == "__main__":
    os.environ.setdefault("COLUMNS", "80")
    sys.stdout.write(page())
