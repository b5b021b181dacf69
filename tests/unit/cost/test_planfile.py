from __future__ import annotations

from pathlib import Path

import pytest

from bpfctl.cost.boot import Actor
from bpfctl.cost.choices import Machine
from bpfctl.cost.measure import price
from bpfctl.cost.plan import Plan
from bpfctl.cost.planfile import made_program, read_plan
from bpfctl.errors import Failure
from unit.libbpf.objects import OBJECTS

WHOLE = """
kernels = ["6.1", 6.12]
cpus = "1..8"
fill = ["empty", 100, "full"]
memory_max = "64M"

[defaults]
key = 4
value = 8

[[map]]
name = "flows"
type = "hash"
entries = 1000
flags = ["no_prealloc"]
copies = 3

[[map]]
type = "hash_of_maps"
entries = 10
value = 4
inner = { type = "array", value = 16, entries = 2 }

[[program]]
name = "count"
type = "xdp"
insns = 600
functions = 3
lines = 10
maps = ["flows"]

[[object]]
file = "OBJECT"
set = ["counts.max_entries=77"]
copies = 2
"""


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "plan.toml"
    path.write_text(text.replace("OBJECT", str(OBJECTS / "maps.bpf.o")), encoding="utf-8")
    return str(path)


def test_a_whole_plan(tmp_path: Path) -> None:
    text = WHOLE.replace('set = ["counts.max_entries=77"]\n', "")
    plan = read_plan(written(tmp_path, text))
    assert plan.choices == {
        "kernels": ["6.1", "6.12"],
        "cpus": ["1..8"],
        "fill": ["empty", "100", "full"],
        "memory_max": ["64M"],
    }
    own, found = plan.sources
    assert [(item.name, item.copies) for item in own.maps] == [("flows", 3), ("map2", 1)]
    assert [(item.name, item.copies) for item in own.programs] == [("count", 1)]
    assert found.label.endswith("maps.bpf.o")
    assert {item.copies for item in found.maps} == {2}
    cost = price(Plan(plan.sources), Machine("6.18"), ["full"], Actor())
    assert not cost.refused


@pytest.mark.parametrize("functions", [1, 2, 40])
def test_made_programs_load(functions: int) -> None:
    spec = made_program("made", "xdp", 200, functions, [])
    assert spec.insn_cnt == 200
    assert len(spec.subprograms) == functions - 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a = [", "Invalid value"),
        ("bogus = 1", "unknown key 'bogus'"),
        ("kernels = true", "kernels must be"),
        ("defaults = 3", "written \\[defaults\\]"),
        ("[defaults]\nsize = 1", "unknown word 'size'"),
        ("map = 3", "written \\[\\[map\\]\\]"),
        ("[map]\ntype = 'hash'", "written \\[\\[map\\]\\]"),
        ("[[map]]\nkey = 4", "\\[\\[map\\]\\] 1: no type"),
        ("[[map]]\ntype = 'hash'\nkey = 4.5", "key=4.5"),
        ("[[map]]\ntype = 'hash'\nkey = true", "key=True"),
        ("[[map]]\ntype = 'hash'\ninner = 5", "inner is"),
        ("[[program]]\ntype = 'nope'", "unknown program type 'nope'"),
        ("[[program]]\ntype = 'xdp'\nmaps = ['x']", "maps must be"),
        ("[[program]]\ntype = 'xdp'\nfunctions = 5\ninsns = 9", "take 14 insns or more"),
        ("[[program]]\ntype = 'xdp'\ninsns = 'x'", "insns is not a number"),
        ("[[program]]\ntype = 'xdp'\ncopies = 0", "copies is not from 1"),
        ("[[object]]\ncopies = 1", "file must name"),
        ("[[object]]\nfile = 'no.o'", "no.o: No such file"),
        ("[[object]]\nfile = 'OBJECT'\nset = ['x']", "'x' is not NAME"),
        ("[[object]]\nfile = 'OBJECT'\nset = 'x'", "set must be"),
    ],
)
def test_bad_plans(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(Failure, match=reason):
        read_plan(written(tmp_path, text))


def test_no_plan(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file"):
        read_plan(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Failure, match=r"bytes\.toml"):
        read_plan(str(tmp_path / "bytes.toml"))
