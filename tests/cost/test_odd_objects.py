"""Objects that have nothing to price, or that another loader made: a sentence says why."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bpfctl.libbpf.object import open_object
from bpfctl.libbpf.object_maps import LoadRules
from conftest import Cli

OBJECTS = Path(__file__).parents[1] / "data" / "objects"
PROLOGUE = '#define SEC(n) __attribute__((section(n), used))\nchar l[] SEC("license") = "GPL";\n'
SOURCES = {
    "text": "int alone(void *ctx) { return 1; }\n",
    "optional": 'SEC("?xdp") int later(void *ctx) { return 1; }\n',
    "nothing": "",
}


@pytest.fixture
def build(tmp_path: Path) -> Any:
    compiler = next((c for c in ("clang", "clang-14") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("needs clang on PATH")

    def build(name: str, source: str) -> Path:
        code, made = tmp_path / f"{name}.c", tmp_path / f"{name}.o"
        code.write_text(PROLOGUE + source)
        command = [compiler, "-O2", "-g", "-target", "bpf", "-c", str(code), "-o", str(made)]
        subprocess.run(command, check=True)
        return made

    return build


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("text", "no programs: its functions are in .text only, and no maps"),
        ("optional", "later in sections that begin with '?' are loaded on demand only"),
        ("nothing", "no programs: it has no functions, and no maps"),
    ],
)
def test_nothing_to_price_names_file_and_reason(cli: Cli, build: Any, name: str, why: str) -> None:
    path = build(name, SOURCES[name])
    result = cli("cost", path)
    assert result.status == 255
    assert f"Error: {path}: {why}" in result.stderr


def test_the_only_function_in_text_was_a_program_once(cli: Cli, build: Any) -> None:
    path = str(build("text", SOURCES["text"]))
    assert open_object(path).programs == []
    assert [p.name for p in open_object(path, LoadRules(legacy=True)).programs] == ["alone"]


def test_the_rules_are_said(cli: Cli) -> None:
    data = OBJECTS / "types.bpf.o"
    newest = json.loads(cli.ok("-j", "cost", data))["notes"]
    assert newest[-1].startswith("objects are read as libbpf 1.5, the newest known does: maps of")
    old = cli.ok("cost", data, "--libbpf", "1.0")
    assert "objects are read as libbpf 1.0 does: all maps of global data are mappable" in old
    assert "with variables are mappable" in cli.ok("cost", data, "--libbpf", "1.1")
    for version in ("0.7", "1.6", "9.9", "1", "x.y"):
        assert cli("cost", data, "--libbpf", version).status == 255


def test_legacy_maps_are_priced_with_a_word(cli: Cli) -> None:
    # Its section xdp_count is a program's up to libbpf 0.8.
    found = cli("cost", OBJECTS / "legacy.bpf.o")
    assert found.status == 3
    assert "which libbpf 1.0 and later refuses" in found.stdout
    assert "refuses" in cli.ok("cost", OBJECTS / "legacy.bpf.o", "--libbpf", "0.8")


def test_maps_of_other_loaders_are_refused_by_name(cli: Cli, build: Any) -> None:
    fields = "unsigned type, key, value, max, flags, id, pinning, inner_id, inner_idx;"
    source = f"""
    struct elf_map {{ {fields} }};
    struct elf_map flows SEC("maps") = {{ 1, 4, 8, 10, 0, 0, 2, 0, 0 }};
    """
    result = cli("cost", build("iproute2", source))
    assert result.status == 255
    assert "definitions of 36 bytes are for tc and ip (iproute2)" in result.stderr
    assert "whose objects libbpf does not load" in result.stderr


def test_a_program_says_which_map_is_missing(cli: Cli, build: Any) -> None:
    source = """
    struct { int (*type)[7]; int (*key_size)[4]; int (*value_size)[1016]; } stacks SEC(".maps");
    static long (*get_stackid)(void *, void *, unsigned long) = (void *)27;
    SEC("kprobe/x") int prog(void *ctx) { return get_stackid(ctx, &stacks, 0); }
    """
    result = cli("cost", build("stack", source), "--kernel", "6.18")
    assert result.status == 3
    assert "prog: EBADF: it uses map stacks, which is refused with EINVAL" in result.stdout
    assert "say --set stacks.max_entries=..." in result.stdout
