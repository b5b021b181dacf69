"""Every command of bpftool's objects that works somewhere is a sentence of its verb's grammar."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfctl.cli.app.dispatch import OBJECTS, find_own, target_of
from bpfctl.cli.app.grammar import Walk, parse
from bpfctl.cli.app.options import Options
from bpfctl.cli.app.options import parse as parse_options
from bpfctl.cli.app.out import Out
from bpfctl.cli.app.table import HELP, Table, Verb
from docs.console import steps
from docs.test_docs import ROOT, SESSIONS
from golden.scenario import Scenario

# bpftool is more patient: with a word said twice, with words that it never looks at, and with a
# path that -L does not need.
PATIENCE = (
    "btf dump file {obj:basic.bpf.o} format c format c",
    "perf show extra",
    "-L prog load {obj:basic.bpf.o}",
)
SCENARIOS = sorted((ROOT / "tests/golden/scenarios").glob("*.toml"))


def documented() -> Iterator[list[str]]:
    for path in SESSIONS:
        for step in steps(ROOT / path):
            words = shlex.split(step.command)
            if words[0] == "bpfctl" and not any("Error" in line for line in step.output):
                yield words[1:]


def recorded() -> Iterator[list[str]]:
    for path in SCENARIOS:
        for step in Scenario.load(path).steps:
            if "argv" in step and step["rc"] == 0:
                yield [str(word) for word in step["argv"]]


@pytest.mark.parametrize("source", [documented, recorded], ids=lambda source: source.__name__)
def test_commands_are_sentences(source: Callable[[], Iterator[list[str]]]) -> None:
    wrong, seen = [], 0
    for argv in source():
        words = parse_options(list(argv), Options(), Out(), lambda word: find_own(word) is not None)
        verb = verb_of(words)
        if verb is None or " ".join(argv) in PATIENCE:
            continue
        seen += 1
        walk = Walk(parse(verb.grammar))
        if not all(walk.take(word) for word in words) or not walk.complete:
            wrong.append(f"{' '.join(argv)}   not: {verb.name} {verb.grammar}")
    assert seen > 20
    assert wrong == []


def verb_of(words: list[str]) -> Verb | None:
    """Return the verb of a command, and take what names it off the words."""
    name = next((name for name in OBJECTS if words and name.startswith(words[0])), None)
    target = target_of(OBJECTS[name]) if name is not None else None
    if not isinstance(target, Table) or len(words) < 2:
        return None
    verb = target.find(words[1])
    del words[:2]
    return None if verb == HELP else verb


def test_the_recordings_are_there() -> None:
    assert len(SCENARIOS) > 40
    assert isinstance(ROOT, Path)
