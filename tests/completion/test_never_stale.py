"""What completion knows of commands holds for the commands that there are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bpfctl.cli.app.dispatch import OBJECTS, target_of
from bpfctl.cli.app.grammar import Bytes, Knowledge, Node, Operand, parse
from bpfctl.cli.app.group import root
from bpfctl.cli.app.table import Table, Verb, load
from bpfctl.cli.complete import own as complete_own
from bpfctl.cli.complete import words as complete_words
from bpfctl.cli.complete.verbs import FILES, SHELLS
from conftest import Cli


@pytest.mark.parametrize("shell", SHELLS)
def test_installed_script_is_the_printed_one(cli: Cli, shell: str) -> None:
    path = Path(cli.ok("completion", "--path", shell).strip())
    assert path.name == FILES[shell]
    # bpfctl completion bash > completions/bpfctl.bash, and so on, renews them.
    assert path.read_text(encoding="utf-8") == cli.ok("completion", shell)
    assert json.loads(cli.ok("completion", shell, "--json"))["script"] == path.read_text()


def _tables() -> dict[str, Table]:
    found = {name: target_of(entry) for name, entry in OBJECTS.items()}
    return {name: target for name, target in found.items() if isinstance(target, Table)}


def _verbs() -> list[tuple[str, Verb]]:
    alone = [(name, target_of(entry)) for name, entry in OBJECTS.items()]
    return [
        *((name, verb) for name, table in _tables().items() for verb in table.verbs.values()),
        *((name, target) for name, target in alone if isinstance(target, Verb)),
    ]


@pytest.mark.parametrize(
    ("name", "verb"), _verbs(), ids=lambda part: getattr(part, "name", part)
)
def test_a_verb_is_declared_in_full(name: str, verb: Verb) -> None:
    assert verb.about
    assert callable(load(verb.run))
    unknown = set(_operands(parse(verb.grammar))) - {*complete_words.OPERANDS}
    assert unknown == set(), "say in complete.words.OPERANDS what they may be"


def _operands(node: Node) -> Iterator[str]:
    if isinstance(node, Operand):
        inside = Knowledge().expand(node.name, [])
        if inside is None:
            yield node.name
        else:
            yield from _operands(inside)
    elif isinstance(node, Bytes):
        yield "BYTE"
    for part in [*getattr(node, "nodes", ()), *filter(None, [getattr(node, "node", None)])]:
        yield from _operands(part)


def test_every_operand_is_of_a_verb() -> None:
    used = {name for _, verb in _verbs() for name in _operands(parse(verb.grammar))}
    assert {*complete_words.OPERANDS} - used == set()


def _commands(
    command: click.Command, context: click.Context
) -> Iterator[tuple[str, click.Command]]:
    yield context.command_path.partition(" ")[2], command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from _commands(child, click.Context(child, context, name))


def _parameters() -> dict[str, click.Parameter]:
    context = click.Context(root, info_name="bpfctl")
    return {
        f"{path} {parameter.name}": parameter
        for path, command in _commands(root, context)
        for parameter in command.params
    }


def _completes_itself(parameter: click.Parameter) -> bool:
    flag = isinstance(parameter, click.Option) and parameter.is_flag
    return flag or isinstance(parameter.type, (click.Choice, click.Path))


def test_every_parameter_has_values_or_is_known_to_be_free() -> None:
    unknown = [
        name
        for name, parameter in _parameters().items()
        if not _completes_itself(parameter)
        and complete_own.find_values(*name.rsplit(" ", 1)) is None
        # What a sample declares for itself is free text, or a choice.
        and not (name.startswith("sample ") and parameter.name == "dist")
    ]
    assert unknown == [], "say in complete_own.VALUES what they take"


def test_every_table_entry_is_of_a_parameter() -> None:
    used = {complete_own.find_values(*name.rsplit(" ", 1)) for name in _parameters()}
    assert [key for key, values in complete_own.VALUES.items() if values not in used] == []


def test_a_command_loads_nothing_of_completion(state: Path) -> None:
    code = (
        "import sys; from bpfctl.cli.app.main import main; main(['map', 'show']);"
        "print(sorted(name for name in sys.modules if 'complet' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
