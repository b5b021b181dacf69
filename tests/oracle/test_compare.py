"""The comparison itself: what counts as agreement, and what is never let through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oracle.cases import DATA, Case, read
from oracle.compare import verdicts
from oracle.normal import normal
from oracle.run import Runner

ARRAY = {"type": "array", "key": 4, "value": 8, "max": 1, "flags": 0}


def case_of(op: str, result: dict[str, Any], **more: Any) -> Case:
    spec = {"op": op, **ARRAY, **more.pop("spec", {})}
    return Case("made:1", "6.12.117", 2, spec, result, frozenset(more.pop("unstable", ())))


@pytest.mark.parametrize(
    ("op", "field", "measured", "got", "agrees"),
    [
        ("create", "create.slab", 920, 920, True),
        ("create", "create.slab", 920, 919, False),
        ("create", "create.kernel", 8192, 4096, False),
        ("create", "ok", True, 1, False),
        ("update", "update.slab", 72, 73, False),
        ("update", "update.kernel", 8192, 4096, False),
        ("update", "delete.slab", 4992, 0, True),
        ("update", "delete.slab", 4992, 5000, False),
        ("update", "delete.kernel", 4096, 8192, True),
        ("update", "delete.kernel", 4096, 8193, False),
        ("mm", "done", 26, 25, False),
        ("mm", "delta.kernel", 8192, 4096, False),
        ("who", "creator_create.slab", 8192, 4096, False),
    ],
)
def test_how_exact(op: str, field: str, measured: Any, got: Any, agrees: bool) -> None:
    def nested(value: Any) -> dict[str, Any]:
        group, _, name = field.rpartition(".")
        return {group: {name: value}} if group else {name: value}

    (verdict,) = verdicts(case_of(op, nested(measured)), nested(got))
    assert (verdict.field, verdict.agrees) == (field, agrees)


def test_own_memory_of_the_process_is_taken_off() -> None:
    measured = {"update": {"kernel": 12288, "current": 20480, "anon": 8192, "pagetables": 4096}}
    found = verdicts(case_of("create", measured), {"update": {"kernel": 8192, "current": 8192}})
    assert {v.field: v.agrees for v in found} == {"update.kernel": True, "update.current": True}


def test_unstable_fields_are_not_compared() -> None:
    measured = {"update": {"kernel": 4096, "current": 20480, "slab": 72}}
    case = case_of("create", measured, unstable=["update.anon", "update.slab"])
    assert [v.field for v in verdicts(case, {})] == ["update.kernel"]


@pytest.mark.parametrize(
    "spec",
    [{"op": "no_such_operation"}, {"type": "no_such_type"}, {"type": 9999}],
    ids=["operation", "type-name", "type-number"],
)
def test_unknown_is_disagreement(spec: dict[str, Any]) -> None:
    case = case_of("create", {"ok": True, "memlock": 272}, spec=spec)
    found = verdicts(case, Runner(DATA).run(case))
    assert [v.agrees for v in found] == [False, False]


def test_bpftool_versions_differ_only_where_said() -> None:
    spec = {"args": "map show", "objects": [ARRAY]}
    old = {
        "ids": [33],
        "rc": 0,
        "stdout": "33: queue  name q\n",
        "stderr": "Usage: /bin/bpftool map { show }\n       /bin/bpftool map create [dev NAME]\n\n"
        "       TYPE := { hash |\n                 array }\n       OPTIONS := { {-l|--legacy} }\n",
    }
    new = {
        "ids": [1],
        "rc": 0,
        "stdout": "1: queue  name q\n",
        "stderr": "Usage: bpftool map { show }\n       bpftool map create [offload_dev NAME]\n\n"
        "       TYPE := { hash | arena }\n       OPTIONS := { {-j|--json} }\n",
    }
    assert normal(old, spec) == normal(new, spec)
    for stream, word, other in (("stdout", "queue", "stack"), ("stderr", "show", "list")):
        changed = {**new, stream: new[stream].replace(word, other)}  # type: ignore[attr-defined]
        assert normal(old, spec) != normal(changed, spec)
    assert normal(old, spec) != normal({**new, "stdout": "2: queue  name q\n"}, spec)


def test_other_directory_is_compared_in_full(tmp_path: Path) -> None:
    first = next(case for case in read(DATA / "6.12-4cpu-maps.jsonl.xz") if case.result["ok"])
    result = {**first.result, "memlock": -1}
    line = {"kernel": first.release, "cpus": 4, "spec": first.spec, "result": result}
    (tmp_path / "6.12-4cpu-maps.jsonl").write_text(json.dumps(line) + "\n")
    test = Path(__file__).with_name("test_oracle.py")
    command = [sys.executable, "-m", "pytest", str(test), "--oracle-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"], capture_output=True, text=True, cwd=test.parents[2]
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "0/1 cases agree" in done.stdout
    assert "memlock: measured -1, got " in done.stdout
