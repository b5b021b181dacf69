"""Growth against an earlier answer, the schema of answers, what no kernel accepts, the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "tests/data/objects"
SMALL = "type=hash,key=4,value=8,entries=100,name=flows"
LARGE = "type=hash,key=4,value=8,entries=200,name=flows"
NEVER = "type=array,key=8,value=8,entries=100,name=odd"


def validate(schema: dict[str, Any], value: Any, root: dict[str, Any], where: str = "$") -> None:
    """Hold a value to the part of JSON Schema that ours uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "oneOf" in schema:
        fitting = [part for part in schema["oneOf"] if fits(part, value, root)]
        assert len(fitting) == 1, f"{where}: {value!r} fits {len(fitting)} of oneOf"
        return
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    if "type" in schema:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        good = any(
            type(value) is int if name == "integer" else isinstance(value, types[name])
            for name in names
        )
        assert good, f"{where}: {value!r} is no {names}"
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), f"{where}: {sorted(value)}"
        for name, member in value.items():
            rest = schema.get("additionalProperties", True)
            part = schema.get("properties", {}).get(name, rest)
            assert part is not False, f"{where}.{name} is in no schema"
            validate({} if part is True else part, member, root, f"{where}.{name}")
    for at, member in enumerate(value if isinstance(value, list) else ()):
        validate(schema.get("items", {}), member, root, f"{where}[{at}]")


def fits(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    try:
        validate(schema, value, root)
    except AssertionError:
        return False
    return True


def answer(cli: Cli, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("-j", "cost", *words).stdout)
    return found


@pytest.mark.parametrize(
    "words",
    [
        ["--map", SMALL],
        ["--map", NEVER, "--map", SMALL],
        [OBJECTS / "maps.bpf.o", "--kernel", "all", "--memlock", "64K", "--memory-max", "1M"],
        [OBJECTS / "tail.bpf.o", "--cpus", "1,4", "--fill", "50%"],
    ],
    ids=["map", "refused", "object", "program"],
)
def test_answers_are_what_the_schema_says(cli: Cli, words: list[object]) -> None:
    schema = json.loads(cli.ok("cost", "--schema"))
    validate(schema, answer(cli, *words), schema)


def test_growth_fails(cli: Cli, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text(cli.ok("-j", "cost", "--map", SMALL))
    same = cli("cost", "--map", SMALL, "--baseline", old)
    assert (same.status, "grew" in same.stdout) == (0, False)
    more = cli("cost", "--map", LARGE, "--baseline", old)
    assert more.status == 1
    assert re.search(r"^grew: kernel 6\.18, 4 CPUs: flows: charged, created .* -> .*$",
                     more.stdout, re.M)
    schema = json.loads(cli.ok("cost", "--schema"))
    found = answer(cli, "--map", LARGE, "--baseline", old)
    validate(schema, found, schema)
    assert {each["name"] for each in found["growth"]} == {"", "flows"}
    less = answer(cli, "--map", SMALL.replace("100", "50"), "--baseline", old)
    assert less["growth"] == []
    added = cli("cost", "--map", SMALL, "--map", NEVER.replace("key=8", "key=4"),
                "--baseline", old)
    assert added.status == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[]", "is no answer of 'bpfctl cost --json'"),
        ('{"schema": 1, "machines": []}', "the baseline has none of these kernels"),
        ('{"schema": 1, "machines": [{}]}', "the baseline lacks 'kernel'"),
    ],
)
def test_what_is_no_baseline(cli: Cli, tmp_path: Path, text: str, why: str) -> None:
    old = tmp_path / "old.json"
    old.write_text(text)
    result = cli("cost", "--map", SMALL, "--baseline", old)
    assert result.status == 255
    assert why in result.stderr
    assert cli("cost", "--map", SMALL, "--baseline", tmp_path / "none").status == 255


def test_what_no_kernel_accepts_fails_and_says_why(cli: Cli) -> None:
    result = cli("cost", "--map", NEVER)
    assert result.status == 3
    assert "say key 4: array maps cannot have key 8" in result.stdout
    refused = answer(cli, "--map", NEVER)["machines"][0]["maps"][0]["refused"]
    assert refused == {
        "errno": "EINVAL", "reason": "say key 4: array maps cannot have key 8"
    }  # fmt: skip
    # One kernel accepts it: that is what was asked.
    bloom = "type=bloom_filter,value=4,entries=10"
    assert cli("cost", "--map", bloom, "--kernel", "5.10", "--kernel", "6.18").status == 0
    assert cli("cost", "--map", bloom, "--kernel", "5.10").status == 3


def test_the_page_shows_every_machine_and_its_command(cli: Cli, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    words = ["cost", "--map", SMALL, "--kernel", "5.10", "--kernel", "6.18", "--cpus", "2,64"]
    cli.ok(*words, "--html", page)
    text = page.read_text()
    assert f"<code>bpfctl {' '.join(words)} --html {page}</code>" in text
    assert text.count('<section class="card">') == 4
    assert "6.18, 2 CPUs" in text
    assert "6.18, 64 CPUs" in text
    # Each chart is drawn for narrow pages, too, and its labels keep their size there.
    assert text.count('<div class="wide">') == text.count('<div class="narrow">') > 4
    assert 'viewBox="0 0 340 ' in text


def test_lines_that_coincide_are_drawn_apart() -> None:
    from bpfctl.cost.svg import Series, line_chart

    chart = line_chart("t", "x", ["1", "2"], [Series("a", [1, 2]), Series("b", [1, 2])])
    lines = re.findall(r'<polyline points="([^"]*)"', chart)
    assert len(lines) == 4
    assert lines[0] != lines[1]
