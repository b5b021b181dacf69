"""A check as text: a table, annotations of a forge's build log, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bpfctl.check.run import ObjectReport, ProgramReport

HEADERS = (
    "file", "program", "type", "kernel", "verdict", "processed", "complexity", "stack", "memory",
)  # fmt: skip
_RIGHT = frozenset(("processed", "complexity", "stack", "memory"))


def kernel_label(found: ProgramReport | ObjectReport, many_cpus: bool = False) -> str:
    """Return a kernel's name, with a word where nothing of it was measured."""
    cpus = f"/{found.cpus}" if many_cpus else ""
    return found.kernel + cpus + ("" if found.measured else " (not measured)")


def share(part: float | None) -> str:
    """Return a share of a limit in percent, rounded up so that only nothing is 0."""
    if part is None:
        return "-"
    percent = 100 * part
    return f"{percent:.1f} %" if percent >= 0.1 or not percent else "<0.1 %"


def rows(reports: Iterable[ObjectReport], many_cpus: bool) -> Iterator[list[str]]:
    """Yield the cells of each program, and of each object of which none was tried."""
    for report in reports:
        label = kernel_label(report, many_cpus)
        if not report.programs and report.refused:
            yield [report.file, "-", "-", label, "refused", "-", "-", "-", "-"]
        for each in report.programs:
            verdict = "loads" if each.ok else each.errno or "refused"
            processed = "-" if each.processed is None else str(each.processed)
            stack = "-" if each.stack is None else f"{each.stack}B"
            yield [
                each.file, each.name, each.type, label, verdict, processed,
                share(each.complexity), stack, f"{each.memlock}B" if each.ok else "-",
            ]  # fmt: skip


def table(reports: list[ObjectReport]) -> Iterator[str]:
    """Yield the lines of the table, then a paragraph for every reason."""
    many_cpus = len({report.cpus for report in reports}) > 1
    body = list(rows(reports, many_cpus))
    shown = [at for at, name in enumerate(HEADERS) if name != "file" or _many_files(reports)]
    widths = [max(len(row[at]) for row in [list(HEADERS), *body]) for at in range(len(HEADERS))]
    for row in [list(HEADERS), *body]:
        cells = [
            row[at].rjust(widths[at]) if HEADERS[at] in _RIGHT else row[at].ljust(widths[at])
            for at in shown
        ]
        yield "  ".join(cells).rstrip()
    reasons = list(why(reports, many_cpus))
    if reasons:
        yield ""
        yield from reasons


def _many_files(reports: list[ObjectReport]) -> bool:
    return len({report.file for report in reports}) > 1


def why(reports: Iterable[ObjectReport], many_cpus: bool) -> Iterator[str]:
    """Yield every reason once, with the kernels that have it and the place in the source."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for report in reports:
        label = kernel_label(report, many_cpus)
        if report.refused and not any(each.reason for each in report.programs):
            found.setdefault((report.file, "", report.refused, ""), []).append(label)
        for each in report.programs:
            if not each.ok:
                key = (each.file, each.name, each.reason, place(each))
                found.setdefault(key, []).append(label)
    for (file, name, reason, where), labels in found.items():
        subject = f"{file}: {name}" if name else file
        yield f"{subject} on {', '.join(labels)}: {reason}"
        if where:
            yield f"    at {where}"


def place(found: ProgramReport) -> str:
    """Return where a program was refused: instruction, C file, line and text."""
    trouble = found.trouble
    if trouble is None or trouble.insn is None:
        return ""
    words = f"instruction {trouble.insn}"
    if trouble.line:
        words += f", {trouble.file}:{trouble.line}: {trouble.source}"
    return words


def github(reports: Iterable[ObjectReport]) -> Iterator[str]:
    """Yield an annotation for every refusal, as GitHub reads them from a build's output."""
    for report in reports:
        if report.refused and not report.programs:
            yield _annotation(report.file, 0, kernel_label(report), report.refused)
        for each in report.programs:
            if not each.ok:
                trouble = each.trouble
                named = trouble is not None and trouble.line
                file, line = (trouble.file, trouble.line) if trouble and named else (each.file, 0)
                title = f"{each.name} does not load on {kernel_label(each)}"
                yield _annotation(file, line, title, each.reason)


def _annotation(file: str, line: int, title: str, text: str) -> str:
    where = f"file={_escaped(file)}" + (f",line={line}" if line else "")
    return f"::error {where},title={_escaped(title)}::{_escaped(text, False)}"


def _escaped(text: str, is_property: bool = True) -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return text.replace(":", "%3A").replace(",", "%2C") if is_property else text


def as_data(reports: Iterable[ObjectReport]) -> list[dict[str, Any]]:
    """Return everything as JSON has it."""
    return [
        {
            "file": report.file,
            "kernel": report.kernel,
            "measured": report.measured,
            "cpus": report.cpus,
            "ok": report.ok,
            "refused": report.refused or None,
            "skipped": report.skipped,
            "map_memlock": report.map_memlock,
            "programs": [_program(each) for each in report.programs],
        }
        for report in reports
    ]


def _program(found: ProgramReport) -> dict[str, Any]:
    trouble = found.trouble
    data: dict[str, Any] = {
        "name": found.name,
        "section": found.section,
        "type": found.type,
        "insns": found.insns,
        "ok": found.ok,
        "errno": found.errno or None,
        "reason": found.reason or None,
        "processed": found.processed,
        "complexity": found.complexity,
        "stack": found.stack,
        "stack_share": found.stack_share,
        "memlock": found.memlock if found.ok else None,
        "at": None,
        "log": found.log or None,
    }
    if trouble is not None and trouble.insn is not None:
        data["at"] = {
            "insn": trouble.insn,
            "file": trouble.file or None,
            "line": trouble.line or None,
            "source": trouble.source or None,
        }
    return data
