"""The front page, help about words, near misses, the manual page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bpfctl import __version__
from bpfctl.cli.app import usage
from bpfctl.cli.app.dispatch import OBJECTS, OWN_OBJECTS, target_of
from bpfctl.cli.app.options import LONG, OWN
from bpfctl.cli.app.table import HELP, Table
from bpfctl.cli.help.operands import ABOUT

ROOT = Path(__file__).resolve().parents[3]
VERBS = [
    (name, verb.name)
    for name, found in OBJECTS.items()
    if isinstance(target := target_of(found), Table)
    for verb in target.verbs.values()
    if verb != HELP
]


@pytest.mark.parametrize("argv", [["help"], ["h"], ["--help"], ["-h"], ["--he"]])
def test_front_page(cli, state, argv):
    result = cli(*argv)
    assert (result.status, result.stderr) == (0, "")
    page = result.stdout
    for name, found in {**OBJECTS, **OWN_OBJECTS}.items():
        assert any(line.split()[:1] == [name] and found.about in line for line in page.splitlines())
    assert all(f"--{name}" in page for name in (*LONG, *OWN))
    assert page.index("bpftool's objects") < page.index("bpfctl's own") < page.index("Options")
    assert page.count("\n  bpfctl ") == 5
    assert (f"bpfctl {__version__}" in page, "bpftool 7.5.0" in page) == (True, True)
    assert not state.exists()


@pytest.mark.parametrize("argv", [["-h", "map"], ["map", "-h"], ["-d", "-h"], [""], []])
def test_bpftools_help_stays_bpftools(cli, argv):
    result = cli(*argv)
    assert (result.status, result.stdout, result.stderr) == (0, "", usage.text("main"))


def test_as_json(cli):
    assert cli("-j", "help").stdout == "null\n"
    assert cli("-j", "--help").stdout == "null"


@pytest.mark.parametrize("name", [*OBJECTS, *OWN_OBJECTS])
def test_help_about_an_object(cli, name):
    page = cli.ok("help", name)
    assert page.startswith(f"Usage: bpfctl {name}")
    assert cli.ok(name, "--help") == page


@pytest.mark.parametrize(("name", "verb"), VERBS, ids=" ".join)
def test_help_about_a_verb(cli, state, name, verb):
    page = cli.ok("help", name, verb)
    assert page.startswith(f"Usage: bpfctl {name} {verb}")
    assert cli.ok(name, verb, "--help") == page
    assert not state.exists()


def test_what_a_verb_takes(cli):
    page = cli.ok("help", "m", "loo")
    assert page.splitlines() == [
        "Usage: bpfctl map lookup MAP [key DATA]",
        "",
        "  print an element",
        "",
        "  MAP   {id MAP_ID | name MAP_NAME | pinned MAP_PIN}",
        "  DATA  [hex] BYTE ...: as many bytes as the map's key or value has",
    ]


@pytest.mark.parametrize(
    ("argv", "usage_line"),
    [
        ("sim help new", "Usage: bpfctl sim new [OPTIONS]"),
        ("help sim new", "Usage: bpfctl sim new [OPTIONS]"),
        ("sim object help create", "Usage: bpfctl sim object create"),
        ("cost help", "Usage: bpfctl cost [OPTIONS] [FILE]..."),
        ("completion help", "Usage: bpfctl completion"),
    ],
)
def test_help_about_our_own(cli, argv, usage_line):
    assert cli.ok(*argv.split()).startswith(usage_line)


@pytest.mark.parametrize(
    ("argv", "meant"),
    [
        ("mpa show", "did you mean 'map'?"),
        ("bft show", "did you mean 'btf'?"),
        ("memgc tree", "did you mean 'memcg'?"),
        ("map crate", "did you mean 'create'?"),
        ("prog laodall", "did you mean 'loadall'?"),
        ("help mpa", "did you mean 'map'?"),
        ("help map shwo", "did you mean 'show'?"),
        ("map create /x type hahs key 4 value 4 entries 1 name x", "did you mean 'hash'?"),
        ("map create /x type lruhash key 4 value 4 entries 1 name x", "'lru_hash'"),
    ],
)
def test_did_you_mean(cli, monkeypatch, argv, meant):
    monkeypatch.setenv("BPFCTL_HINTS", "always")
    result = cli(*argv.split())
    assert result.status == 255
    assert f"hint: {meant}" in result.stderr or meant in result.stderr.partition("hint: ")[2]


def test_operands_are_described():
    from bpfctl.cli.help.man import _operands
    from bpfctl.cli.help.page import operand_text

    assert [name for name in _operands() if not operand_text(name)] == []
    assert [name for name in ABOUT if name not in _operands()] == []


def test_the_manual_page_is_the_installed_one():
    page = ROOT / "man/bpfctl.1"
    made = subprocess.run(
        [sys.executable, "-m", "bpfctl.cli.help.man"], check=True, capture_output=True, text=True
    )
    renew = "renew it: python -m bpfctl.cli.help.man > man/bpfctl.1"
    assert page.read_text(encoding="utf-8") == made.stdout, renew


@pytest.mark.needs("groff")
def test_the_manual_page_is_roff():
    page = ROOT / "man/bpfctl.1"
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(page)], check=True, capture_output=True, text=True
    )
    assert done.stderr == ""
    shown = re.sub(".\b", "", done.stdout)
    assert "bpfctl sim new [OPTIONS]" in shown
