"""The import graph: imports point down, and no two files import each other.

Every import counts, wherever it stands: within functions and for type checkers too. What a layer
needs of one above it is looked up by name (``bpfctl/kernel/late.py``), and those names must lead
somewhere.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "bpfctl": ROOT / "bpfctl",
    "bpfctl_maps": ROOT / "plugins" / "bpfctl_maps",
    "bpfctl_samples": ROOT / "samples",
}

# From the ground up. A module belongs to the longest prefix that fits it, and imports of its own
# layer or of those below it. Modules of one line are beside each other.
LAYERS = (
    "bpfctl bpfctl.light bpfctl.map_values bpfctl.isa",
    "bpfctl.errors",
    "bpfctl.uapi bpfctl.uapi_attach",
    "bpfctl.btf",
    "bpfctl.kernel.records bpfctl.kernel.storage bpfctl.kernel.profile bpfctl.kernel.jhash",
    "bpfctl.kernel.mm bpfctl.kernel.clock bpfctl.kernel.prandom bpfctl.kernel.ids"
    " bpfctl.kernel.task bpfctl.kernel.vmlinux",
    "bpfctl.kernel.config bpfctl.kernel.context bpfctl.kernel.fs",
    "bpfctl.kernel.objects",
    "bpfctl.system",
    # The wrappers of bpf(2) know a kernel by that protocol only.
    "bpfctl.libbpf.bpf",
    "bpfctl.kernel.machine bpfctl.kernel.late",
    "bpfctl.kernel.bpf.example bpfctl.kernel.bpf.facts bpfctl.kernel.bpf.map bpfctl.hookspecs",
    "bpfctl.plugins",
    "bpfctl.kernel.bpf.orphan",
    "bpfctl.kernel.bpf.idr bpfctl.kernel.bpf.inode bpfctl.kernel.bpf.prog bpfctl.kernel.bpf.mmap"
    " bpfctl.kernel.bpf.prog_mem bpfctl.kernel.bpf.prog_tag bpfctl.kernel.bpf.kinds"
    " bpfctl.kernel.bpf.prog_xlated bpfctl.kernel.bpf.verifier.result"
    " bpfctl.kernel.bpf.commands",
    "bpfctl.kernel.kernel",
    "bpfctl.kernel bpfctl_maps",
    "bpfctl.system.machines bpfctl.system.releases bpfctl.system.objects bpfctl.system.cgroups"
    " bpfctl.system.tracing bpfctl.system.net bpfctl.system.pcap",
    "bpfctl.store",
    "bpfctl.libbpf",
    "bpfctl.observers bpfctl.skeleton bpfctl.testbed",
    "bpfctl.cost bpfctl.check bpfctl.why bpfctl_samples bpfctl.conformance",
    "bpfctl.api",
    "bpfctl.cli bpfctl.__main__",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}

# Below these nothing knows BPF: the machine is one that could run without.
MACHINE = ("bpfctl.kernel.mm", "bpfctl.kernel.machine", "bpfctl.kernel.context")

# Files that still import each other, package by package. This only gets shorter.
ENTANGLED = {
    "bpfctl.kernel.bpf.verifier",
    "bpfctl.kernel.bpf.vm",
    "bpfctl.cli",
}


@cache
def modules() -> dict[str, Path]:
    """Return all modules by name."""
    found = {}
    for package, folder in PACKAGES.items():
        for file in folder.rglob("*.py"):
            parts = [package, *file.relative_to(folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports(module: str) -> frozenset[str]:
    """Return the modules of ours that a module imports anywhere."""
    known, file = modules(), modules()[module]
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner in known else base)
    return frozenset(found & known.keys()) - {module}


def level(module: str) -> int:
    """Return the number of the layer that a module is in."""
    name = module
    while name not in LEVEL:
        name = name.rpartition(".")[0]
    return LEVEL[name]


def circles() -> list[list[str]]:
    """Return the groups of modules that reach each other (Tarjan)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in imports(module):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(modules()):
        if module not in number:
            visit(module)
    return found


def test_imports_point_down() -> None:
    upward = [
        f"{module} imports {other}"
        for module in sorted(modules())
        for other in sorted(imports(module))
        if level(other) > level(module)
    ]
    assert upward == []


def test_no_circles() -> None:
    tangled = [
        group
        for group in circles()
        if not any(all(name.startswith(f"{package}.") for name in group) for package in ENTANGLED)
    ]
    assert tangled == []


@pytest.mark.parametrize("package", sorted(ENTANGLED))
def test_the_list_of_the_entangled_is_not_longer_than_it_must_be(package: str) -> None:
    assert any(name.startswith(f"{package}.") for group in circles() for name in group)


@pytest.mark.parametrize("part", MACHINE)
def test_the_machine_knows_no_bpf(part: str) -> None:
    mine = [name for name in modules() if name == part or name.startswith(f"{part}.")]
    assert mine
    wrong = {
        f"{name} imports {other}"
        for name in mine
        for other in imports(name)
        if other.startswith(("bpfctl.kernel.bpf", "bpfctl.kernel.attach"))
    }
    assert wrong == set()


def test_isa_imports_nothing() -> None:
    isa = {name for name in modules() if name.startswith("bpfctl.isa")}
    assert {other for name in isa for other in imports(name)} <= isa


def test_names_lead_somewhere() -> None:
    from bpfctl.kernel.bpf.commands import COMMANDS
    from bpfctl.kernel.bpf.kinds import KINDS

    names = {*COMMANDS.values(), *KINDS.values()}
    for file in (ROOT / "bpfctl" / "kernel").rglob("*.py"):
        names.update(re.findall(r'late\("([\w.]+:\w+)"\)', file.read_text(encoding="utf-8")))
    assert len(names) > len(COMMANDS)
    for name in names:
        module, _, attribute = name.partition(":")
        assert hasattr(import_module(f"bpfctl.kernel.{module}"), attribute), name


@pytest.mark.parametrize(
    "file",
    [
        *(ROOT / "plugins").glob("*/src/**/*.py"),
        *(ROOT / "plugins").glob("*/tests/*.py"),
        *(ROOT / "bpfctl" / "skeleton").glob("*.txt"),
    ],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_plugins_use_the_api_only(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    used = set(re.findall(r"^\s*(?:from|import) (bpfctl(?:\.[\w.]+)?)\b(?!_)", text, re.MULTILINE))
    assert used <= {"bpfctl.api"}


# What looks behind the door, because it shows what no user space sees: who pays for which
# allocation. This only gets shorter.
INSTRUMENTS = {"bpfctl.cli.series.probe", "bpfctl.cli.series.who"}


def test_cli_and_samples_use_the_door() -> None:
    above = [name for name in modules() if name.startswith(("bpfctl.cli.", "bpfctl_samples."))]
    round_it = {
        name for name in above if any(other.startswith("bpfctl.kernel") for other in imports(name))
    }
    assert round_it == INSTRUMENTS


def test_nothing_below_the_command_line_words_it() -> None:
    raisers = [
        name
        for name in modules()
        if name.startswith(("bpfctl.kernel", "bpfctl.libbpf", "bpfctl.store", "bpfctl_maps"))
        and "CommandError" in modules()[name].read_text(encoding="utf-8")
    ]
    assert raisers == []
