"""``bpfctl check``: will these objects load on those kernels, and if not, why?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, CommandError, json_option
from bpfctl.cost.choices import parse_cpus, parse_kernels

if TYPE_CHECKING:
    from bpfctl.check.run import Machine, ObjectReport, Wish

REFUSED_STATUS = 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--kernel", "kernels", multiple=True, metavar="RELEASE",
    help="5.10, 5.15, 6.1, ..., 5.10+N, this, all (default: 5.10 and 6.18).",
)  # fmt: skip
@click.option("--cpus", metavar="LIST", help="Possible CPUs: 4, 1,2,8, 1..128 (default: 4).")
@click.option(
    "--program", "programs", multiple=True, metavar="GLOB",
    help="Programs by function name (default: all that load by default).",
)  # fmt: skip
@click.option("--log-level", metavar="N", help="The verifier's log to show: 1 or 2 (default: 0).")
@click.option("--kernel-btf", metavar="FILE", help="The kernel's types, for CO-RE.")
@click.option("--kconfig", multiple=True, metavar="NAME=VALUE", help="An option of the kernel.")
@click.option("--html", metavar="FILE", help="Write a report that needs no network.")
@click.option(
    "--format", "style", type=click.Choice(["table", "github"]), default="table",
    help="What to print (default: table).",
)  # fmt: skip
@click.option("--jobs", metavar="N", help="Check so many in parallel (default: 1).")
@json_option
@pass_app
def check(app: App, /, files: tuple[str, ...], **given: Any) -> int:
    """Load objects into kernels, and say what becomes of every program.

    Nothing is changed: the kernels are booted in memory.

    Exit status: 0 everything loads, 1 something is refused, 255 bad input.
    """
    machines = _machines(given)
    reports = list(_reports(files, machines, _wish(given), _jobs(given["jobs"])))
    if given["html"]:
        _write(given["html"], reports)
    _show(app, reports, given["style"], bool(_level(given["log_level"])))
    return 0 if all(report.ok for report in reports) else REFUSED_STATUS


def _machines(given: dict[str, Any]) -> list[Machine]:
    from bpfctl.check.run import Machine
    from bpfctl.cost.choices import default_kernels

    words = [word for text in given["kernels"] for word in text.split(",")]
    kernels = parse_kernels(words) if words else default_kernels()
    cpus = parse_cpus(given["cpus"]) if given["cpus"] else [4]
    return [Machine(name, count, patch) for name, patch in kernels for count in cpus]


def _level(text: str | None) -> int:
    if text is None:
        return 0
    if text not in ("0", "1", "2"):
        raise CommandError(f"--log-level {text}: 0, 1 or 2")
    return int(text)


def _jobs(text: str | None) -> int:
    if text is None:
        return 1
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1024):
        raise CommandError(f"--jobs {text}: a number of 1 to 1024")
    return int(text)


def _wish(given: dict[str, Any]) -> Wish:
    from bpfctl.check.run import Wish

    values = {}
    for text in given["kconfig"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--kconfig {text}: NAME=VALUE")
        values[name] = value
    level = _level(given["log_level"])
    return Wish(tuple(given["programs"]), level, given["kernel_btf"] or "", values)


def _reports(
    files: tuple[str, ...], machines: list[Machine], wish: Wish, jobs: int
) -> Iterator[ObjectReport]:
    from bpfctl.check.run import check as check_all

    if jobs == 1:
        yield from check_all(files, machines, wish)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(jobs) as executor:
        yield from check_all(files, machines, wish, executor)


def _write(path: str, reports: list[ObjectReport]) -> None:
    from bpfctl.check.html import render

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(render(reports))
    except OSError as exc:
        raise CommandError(f"{path}: {exc.strerror}") from exc


def _show(app: App, reports: list[ObjectReport], style: str, logs: bool) -> None:
    from bpfctl.check import text

    if app.out.json is not None:
        import json

        pretty = app.out.json.pretty
        separators = None if pretty else (",", ":")
        data = text.as_data(reports)
        indent = 4 if pretty else None
        app.out.put(json.dumps(data, indent=indent, separators=separators) + "\n")
        return
    lines = text.github(reports) if style == "github" else text.table(reports)
    app.out.put("".join(f"{line}\n" for line in lines))
    if not logs:
        return
    for report in reports:
        for each in report.programs:
            if each.log:
                title = f"{each.file}: {each.name} on {text.kernel_label(each)}"
                app.out.put(f"\n{title}\n{each.log}")
