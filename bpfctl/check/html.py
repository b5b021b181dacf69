"""A check as one HTML page that needs nothing else: no network, no scripts."""

from __future__ import annotations

from html import escape

from bpfctl import __version__
from bpfctl.check.log import Step
from bpfctl.check.run import ObjectReport, ProgramReport
from bpfctl.check.text import HEADERS, kernel_label, place, rows

_MOST_STEPS = 2000
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #c33; --good: #2a7; --soft: #888; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line);
  vertical-align: top; }
code, pre, .path td { font: 13px/1.4 ui-monospace, monospace; }
.bad { color: var(--bad); } .good { color: var(--good); } .soft { color: var(--soft); }
.path td:nth-child(3) { color: var(--soft); word-break: break-word; }
.last td { font-weight: bold; }
summary { cursor: pointer; margin: .6rem 0; }
pre { overflow-x: auto; }
"""


def render(reports: list[ObjectReport]) -> str:
    """Return the page: the table, and the path of every refused program beside its C lines."""
    many_cpus = len({report.cpus for report in reports}) > 1
    refused = [each for report in reports for each in report.programs if not each.ok]
    body = [
        "<h1>Will it load there?</h1>",
        f'<p class="soft">Loaded into kernels simulated by bpfctl {escape(__version__)}.</p>',
        _table(list(rows(reports, many_cpus))),
        *(f'<p class="bad">{escape(r.file)} on {escape(kernel_label(r, many_cpus))}: '
          f"{escape(r.refused)}</p>" for r in reports if r.refused),
    ]
    if refused:
        body.append("<h2>Refused programs</h2>")
    body += [_program(each, many_cpus) for each in refused]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>bpfctl check</title><style>{_STYLE}</style></head>\n<body><main>"
        + "\n".join(body)
        + "</main></body></html>\n"
    )


def _table(body: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in HEADERS)
    lines = []
    for row in body:
        cells = [f"<td>{escape(cell)}</td>" for cell in row]
        kind = "good" if row[4] == "loads" else "bad"
        cells[4] = f'<td class="{kind}">{escape(row[4])}</td>'
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _program(found: ProgramReport, many_cpus: bool) -> str:
    title = f"{found.file}: {found.name} on {kernel_label(found, many_cpus)}"
    parts = [f"<h3>{escape(title)}</h3>", f'<p class="bad"><code>{escape(found.reason)}</code></p>']
    where = place(found)
    if where:
        parts.append(f"<p>At <code>{escape(where)}</code></p>")
    steps = found.trouble.path if found.trouble else []
    if steps:
        parts.append(_path(steps))
    if found.log:
        log = f"<pre>{escape(found.log)}</pre>"
        parts.append(f"<details><summary>The verifier's log</summary>{log}</details>")
    return "\n".join(parts)


def _path(steps: list[Step]) -> str:
    """Return the walked instructions, those of one C line together beside it."""
    left = max(len(steps) - _MOST_STEPS, 0)
    lines, shown = [], ""
    for number, step in enumerate(steps[left:], left + 1):
        source = f"{step.file}:{step.line}: {step.source}" if step.line else ""
        beside = escape(source) if source != shown else ""
        shown = source
        last = ' class="last"' if number == len(steps) else ""
        lines.append(
            f"<tr{last}><td>{beside}</td><td>{step.insn}: {escape(step.text)}</td>"
            f"<td>{escape(step.state)}</td></tr>"
        )
    note = f'<p class="soft">{left} earlier instructions are left out.</p>' if left else ""
    head = "<tr><th>C</th><th>instruction</th><th>registers and stack</th></tr>"
    body = f"<thead>{head}</thead><tbody>{''.join(lines)}</tbody>"
    return (
        f"<details open><summary>The path to it</summary>{note}"
        f'<table class="path">{body}</table></details>'
    )
