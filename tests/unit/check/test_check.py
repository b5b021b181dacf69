"""`bpfctl check` and its Python API."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bpfctl.check import Machine, Wish, check, check_object
from bpfctl.check.html import render
from bpfctl.check.log import explain, read_statistics
from bpfctl.check.text import github, share
from unit.libbpf.objects import OBJECTS

ROOT = Path(__file__).resolve().parents[3]
CORE, MULTI = str(OBJECTS / "core.bpf.o"), str(OBJECTS / "multi.bpf.o")
LOG = """\
func#0 @0
0: R1=ctx() R10=fp0
; int x = 1; @ a.c:7
0: (b7) r1 = 1                        ; R1_w=1
1: (79) r0 = *(u64 *)(r2 +0)
R2 !read_ok
processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


@pytest.fixture
def refused():
    """A report of an object that a kernel has no map type for."""
    return [check_object(str(OBJECTS / "none.bpf.o"), Machine("6.12"))]


def test_every_program_on_every_kernel():
    machines = [Machine("5.10"), Machine("6.6", 2)]
    reports = list(check([MULTI], machines))
    assert [(r.kernel, r.cpus, r.measured, r.ok) for r in reports] == [
        ("5.10", 4, True, True),
        ("6.6", 2, False, True),
    ]
    names = ["xdp_pass", "xdp_drop", "cls_len", "a_program_with_long_name"]
    assert [p.name for p in reports[0].programs] == names
    with ThreadPoolExecutor(2) as executor:
        assert list(check([MULTI], machines, executor=executor)) == reports


def test_programs_by_name():
    wish = Wish(("types", "f*"))
    report = check_object(CORE, Machine("6.12"), wish)
    assert [program.name for program in report.programs] == ["fields", "types"]
    assert check_object(CORE, Machine("6.12")).skipped == ["missing"]


def test_a_missing_field_is_the_reason():
    report = check_object(CORE, Machine("6.12"), Wish(("missing",)))
    (program,) = report.programs
    assert (program.ok, program.errno) == (False, "EINVAL")
    assert "unknown#1958960" in program.reason or "CO-RE" in program.reason


def test_what_is_no_object(refused):
    (report,) = refused
    assert not report.ok
    assert "No such file" in report.refused
    assert "No such file" in render(refused)


def test_the_log_is_read():
    assert read_statistics(LOG) == (2, None)
    assert read_statistics("stack depth 16+40\nprocessed 9 insns (limit 1000000)")[1] == 40
    places: Any = SimpleNamespace(string=lambda at: {1: "a.c", 2: "\tint x = 1;", 3: " y();"}[at])
    spec: Any = SimpleNamespace(line_info=[(0, 1, 2, 7 << 10), (1, 1, 3, 8 << 10 | 4)])
    attr: Any = SimpleNamespace(log=LOG, last_line="")
    trouble = explain(attr, spec, places)
    assert trouble.reason == "R2 !read_ok"
    assert (trouble.insn, trouble.file, trouble.line, trouble.source) == (1, "a.c", 8, "y();")
    assert [(step.insn, step.state) for step in trouble.path] == [(0, "R1_w=1"), (1, "")]


@pytest.mark.parametrize(
    ("part", "text"), [(None, "-"), (0.0, "0.0 %"), (0.0004, "<0.1 %"), (0.081968, "8.2 %")]
)
def test_shares(part, text):
    assert share(part) == text


def test_annotations(refused):
    (line,) = github(refused)
    assert line.startswith("::error file=")
    assert line.endswith("No such file or directory")


def test_the_command_line(cli, tmp_path):
    page = tmp_path / "r.html"
    result = cli("check", MULTI, "--kernel", "6.6,6.12", "--program", "xdp_*", "--html", page)
    assert result.status == 0
    assert result.stdout.split() [:8] == (
        ["program", "type", "kernel", "verdict", "processed", "complexity", "stack", "memory"]
    )
    assert "6.6 (not measured)" in result.stdout
    assert "xdp_drop" in page.read_text()
    found = json.loads(cli("check", MULTI, "--kernel", "6.6", "--json").stdout)
    assert (found[0]["measured"], found[0]["ok"]) == (False, True)
    assert cli("check", OBJECTS / "none.bpf.o", "--kernel", "6.12").status == 1
    assert cli("check", MULTI, "--kernel", "6.12", "--jobs", "2").status == 0


@pytest.mark.parametrize("words", [("--jobs", "0"), ("--log-level", "3"), ("--kconfig", "x")])
def test_bad_words(cli, words):
    assert cli("check", MULTI, *words).status == 255


def test_the_documented_example(capsys):
    text = (ROOT / "docs/check.md").read_text(encoding="utf-8")
    block = text.partition("```python\n")[2].partition("```")[0]
    exec(compile(block, "docs/check.md", "exec"), {"files": [MULTI]})
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{MULTI} {kernel} {name} True "
        for kernel in ("5.10", "6.12")
        for name in ("xdp_pass", "xdp_drop")
    ]
