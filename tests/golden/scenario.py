"""Scenario files: command lines with what they must print, and how the two are compared.

A file has ``meta``, ``files`` that exist before the first step, and steps. Expected text holds
placeholders: ``{tmp}`` and ``{bpffs}`` for paths, ``<id:map1>`` for a number that is the same
wherever the name is, ``<le32:map1>`` for that number as four bytes, and ``<memlock>``,
``<version>``, ``<features>``, ``<bool>`` and others for what may be anything of its kind. Command
lines and input hold ``{obj:NAME}``, the path of an object file, and ``{id:x}``, what a capture of
that name found.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BPFFS = "/sys/fs/bpf"
CGROUP = "/sys/fs/cgroup/recorded"
OBJECTS = Path(__file__).parents[1] / "data" / "objects"

# Runs a command line with a standard input; gives status, stdout and stderr.
Runner = Callable[[list[str], str], "tuple[int, str, str]"]

_ANYTHING = {
    "memlock": r"\d+",
    "version": r'"?[0-9.]+"?',
    "features": r"[a-z, ]*",
    "bool": r"(?:true|false)",
    "ifindex": r"\d+",
    "jited": r"\d+",
    "time": r"[-+:T0-9]+",
    "uid": r"\d+",
    "ns": r"\d+",
    "n": r"\d+",
    "pad": r" +",
    "cgroup_id": r"\d+",
    "ino": r"\d+",
}
_PLACEHOLDER = re.compile(
    r"(?P<pad>\s*)\"?<(?P<kind>id|le32):(?P<name>\w+)>\"?|\"?<(?P<any>\w+)>\"?"
)


@dataclass
class Scenario:
    """One file."""

    name: str
    needs: list[str]
    files: list[dict[str, str]]
    steps: list[dict[str, Any]]
    subcgroups: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Scenario:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        meta = content["meta"]
        return cls(
            meta["name"], meta.get("needs", []), content.get("files", []), content["step"],
            meta.get("subcgroups", []),
        )  # fmt: skip


@dataclass
class Replay:
    """One run of a scenario in the directory ``tmp``; ``ids`` are the numbers seen so far."""

    runner: Runner
    tmp: str
    ids: dict[str, int] = field(default_factory=dict)
    captured: dict[str, str] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """Replace what a command line or file may hold."""
        for name, value in self.captured.items():
            text = text.replace("{id:%s}" % name, value)  # noqa: UP031
        text = re.sub(r"\{obj:([\w.]+)\}", lambda match: str(OBJECTS / match[1]), text)
        text = text.replace("{objects}", str(OBJECTS)).replace("{tmp}", self.tmp)
        return text.replace("{bpffs}", BPFFS).replace("{cgroup}", CGROUP)

    def run(self, scenario: Scenario) -> list[str]:
        """Run all steps; return what differs, one text a step."""
        for made in scenario.files:
            path = Path(self.tmp) / made["name"]
            if "hex" in made:
                path.write_bytes(bytes.fromhex(made["hex"]))
            else:
                path.write_text(self.fill(made["text"]), encoding="utf-8")
        wrong = []
        for number, step in enumerate(scenario.steps, start=1):
            difference = self.capture(step) if "capture" in step else self.step(step)
            if difference:
                shown = " ".join(step.get("argv", ["capture"]))
                wrong.append(f"step {number}: {shown}\n{difference}")
        return wrong

    def capture(self, step: dict[str, Any]) -> str:
        argv = ["-j", step["kind"], "show", "pinned", self.fill(step["pinned"])]
        _, stdout, stderr = self.runner(argv, "")
        name = step["capture"]
        try:
            found = json.loads(stdout)
            self.captured[name] = str(found["id"])
            self.captured[f"{name}.tag"] = found.get("tag", "")
            self.captured[f"{name}.btf"] = str(found.get("btf_id", 0))
        except (ValueError, KeyError, TypeError):
            return f"no id: {stdout}{stderr}"
        return ""

    def step(self, step: dict[str, Any]) -> str:
        argv = [self.fill(word) for word in step["argv"]]
        status, stdout, stderr = self.runner(argv, self.fill(step.get("stdin", "")))
        found = [f"status {status}, not {step['rc']}"] if status != step["rc"] else []
        if step.get("json_shape"):
            stdout = json_shape(stdout, step["json_shape"])
        if step.get("sort"):
            stdout = sort_entries(stdout)
        for stream, text in (
            ("stdout", only_lines(stdout, step.get("only_lines"))),
            ("stderr", only_lines(stderr, step.get("only_err_lines"))),
        ):
            if step.get(f"ignore_{stream}"):
                continue
            expected = step.get(stream, "")
            if not self.matches(self.fill(expected), text):
                found.append(f"{stream}:\n{text}expected:\n{expected}")
        return "\n".join(found)

    def matches(self, expected: str, text: str) -> bool:
        """Compare, and learn the ids that stand where ``expected`` names new ones."""
        pattern, names = compile_expected(expected)
        match = pattern.fullmatch(text)
        if match is None:
            return False
        for group, (kind, name) in names.items():
            if self.ids.setdefault(name, number_of(kind, match[group])) != number_of(
                kind, match[group]
            ):
                return False
        return self.distinct()

    def distinct(self) -> bool:
        """Tell whether no two names of a kind stand for one number."""
        seen = [(name.rstrip("0123456789"), number) for name, number in self.ids.items()]
        return len(seen) == len(set(seen))


def number_of(kind: str, text: str) -> int:
    """Return the number behind an id, or behind its four bytes."""
    if kind == "id":
        return int(text)
    digits = re.findall(r"(?:0x)?([0-9a-f]{2})", text)
    return int.from_bytes(bytes.fromhex("".join(digits)), "little")


def compile_expected(expected: str) -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    """Return a pattern for ``expected`` and what each of its groups stands for."""
    parts, names, at = [], {}, 0
    for index, match in enumerate(_PLACEHOLDER.finditer(expected)):
        parts.append(re.escape(expected[at : match.start()]))
        at = match.end()
        if match["any"]:
            if match["any"] not in _ANYTHING:
                parts.append(re.escape(match[0]))
            else:
                parts.append(_ANYTHING[match["any"]])
            continue
        group = f"g{index}"
        names[group] = match["kind"], match["name"]
        parts.append(match["pad"])
        if match["kind"] == "id":
            parts.append(rf"(?P<{group}>\d+)")
        elif '"' in match[0]:
            parts.append(rf'(?P<{group}>(?:"0x[0-9a-f]{{2}}",?\s*){{4}})')
        else:
            parts.append(rf"(?P<{group}>[0-9a-f ]{{11}})")
    parts.append(re.escape(expected[at:]))
    return re.compile("".join(parts)), names


def json_shape(text: str, depth: int) -> str:
    """Return keys and kinds of values of a document, down to ``depth``."""
    names = {bool: "bool", int: "int", float: "float", str: "str", type(None): "null"}

    def shape(value: Any, left: int) -> Any:
        if isinstance(value, dict):
            return {key: shape(each, left - 1) for key, each in value.items()} if left else "{}"
        return "[]" if isinstance(value, list) else names[type(value)]

    try:
        return json.dumps(shape(json.loads(text), depth)) + "\n"
    except ValueError:
        return f"not JSON: {text[:100]}"


def only_lines(text: str, pattern: str | None) -> str:
    """Keep the lines that ``pattern`` is found in."""
    if pattern is None:
        return text
    wanted = re.compile(pattern)
    return "".join(line for line in text.splitlines(keepends=True) if wanted.search(line))


def sort_entries(text: str) -> str:
    """Put the entries of a dump, whose order is the kernel's affair, in order."""
    try:
        document = json.loads(text)
    except ValueError:
        return _sort_plain(text)
    if isinstance(document, list):
        document.sort(key=json.dumps)
    return _dump(document, pretty=text.startswith("[{\n")) + "\n"


def _sort_plain(text: str) -> str:
    entries: list[str] = []
    rest: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith(("key:", "{")):
            entries.append(line)
        elif entries and not line.startswith("Found "):
            entries[-1] += line
        else:
            rest.append(line)
    return "".join(sorted(entries) + rest)


def _dump(document: Any, pretty: bool) -> str:
    from bpfctl.cli.app.out import JsonWriter

    parts: list[str] = []
    _write(JsonWriter(parts.append, pretty), document)
    return "".join(parts)


def _write(writer: Any, tree: Any) -> None:
    if isinstance(tree, dict):
        writer.begin_object()
        for name, value in tree.items():
            writer.name(name)
            _write(writer, value)
        writer.end_object()
    elif isinstance(tree, list):
        writer.begin_array()
        for value in tree:
            _write(writer, value)
        writer.end_array()
    else:
        writer.raw(json.dumps(tree))
