"""What our own commands share: access to the kernel, tables and JSON, errors as sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.session import App
from bpfctl.cli.app.settings import parse_size
from bpfctl.errors import CommandError, E, Failure, KernelError
from bpfctl.uapi import RLIM_INFINITY

if TYPE_CHECKING:
    from bpfctl.system import System

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


def _use_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.find_object(App).out.use_json(pretty=False)  # type: ignore[union-attr]


def json_option(command: F) -> F:
    """Give a command the option ``--json``, which acts like ``-j`` before the object."""
    option = click.option(
        "-j",
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_use_json,
        help="Print JSON.",
    )
    return option(command)


@contextmanager
def open_kernel(app: App, write: bool) -> Iterator[System]:
    """Give the kernel of the chosen state; output of a writing command waits for the commit."""
    from bpfctl import store

    app.out.hold = write
    with store.open_kernel(app.settings.state, write=write) as kernel:
        if app.settings.observe:
            kernel.watch(app.settings.observe)
        if app.settings.engine:
            kernel.engine = app.settings.engine
        yield kernel


@contextmanager
def doing(what: str, hints: dict[int, str] | None = None) -> Iterator[None]:
    """Turn an errno of the body into ``WHAT: reason``, with the kernel's hint or one by errno."""
    try:
        yield
    except KernelError as exc:
        hint = exc.hint or (hints or {}).get(exc.code, "")
        raise CommandError(f"{what}: {exc.strerror}", 255, hint) from exc


def emit_json(app: App, value: Any) -> bool:
    """Print ``value`` as JSON if that was asked for; return whether."""
    writer = app.out.json
    if writer is None:
        return False
    _write(writer, value)
    app.out.put("\n")
    return True


def _write(writer: JsonWriter, value: Any) -> None:
    if isinstance(value, dict):
        writer.begin_object()
        for name, member in value.items():
            writer.name(name)
            _write(writer, member)
        writer.end_object()
    elif isinstance(value, (list, tuple)):
        writer.begin_array()
        for item in value:
            _write(writer, item)
        writer.end_array()
    else:
        import json

        writer.raw(json.dumps(value, ensure_ascii=not isinstance(value, str)))


def done(app: App, text: str = "", **facts: Any) -> None:
    """Report the success of a command: a line of text, or ``facts`` as JSON (null without)."""
    if not emit_json(app, facts or None) and text:
        app.out.put(f"{text}\n")


def show_table(
    app: App,
    headers: Sequence[str],
    rows: Iterable[Sequence[Any]],
    text: Sequence[int] = (),
) -> None:
    """Print rows in aligned columns, numbers to the right.

    The columns ``text`` stay as they are even if they look like numbers: 5.10 is not 5.1.
    """
    from tabulate import tabulate

    from bpfctl.cli.app import terminal

    cells = [[terminal.shown("" if cell is None else str(cell)) for cell in row] for row in rows]
    columns = terminal.width()
    # tabulate keeps columns two wider than their headers.
    padded = [f"{header}  " for header in headers]
    most = terminal.fit(padded, cells, columns) if columns is not None else None
    if most is not None:
        # What is wrapped is text, numbers are not as long.
        cells = [line for row in cells for line in terminal.wrapped(row, most)]
        text = [*text, *(at for at, limit in enumerate(most) if limit is not None)]
    # Without its own stripping, trees keep their indentation.
    table = tabulate(
        cells,
        headers,
        tablefmt="plain",
        preserve_whitespace=True,
        disable_numparse=list(text),
    )
    app.out.put("".join(f"{line.rstrip()}\n" for line in table.splitlines()))


def show_facts(app: App, facts: dict[str, Any], indent: str = "") -> None:
    """Print ``name  value`` lines, nested dicts indented below their name."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        if isinstance(value, dict):
            app.out.put(f"{indent}{name}\n")
            show_facts(app, value, indent + "  ")
        else:
            app.out.put(f"{indent}{name:<{width}}  {value}\n")


def size_text(nbytes: int | None) -> str:
    """Return bytes for the eye: ``512``, ``4.0K``, ``64.0M``; ``max`` for None."""
    if nbytes is None:
        return "max"
    for unit, letter in _UNITS:
        if abs(nbytes) >= unit:
            return f"{nbytes / unit:.1f}{letter}"
    return str(nbytes)


def limit(text: str, name: str) -> int | None:
    """Return a limit in bytes of ``64M``, ``4096``; None for ``max`` or ``unlimited``."""
    try:
        nbytes = parse_size(text, name)
    except Failure as exc:
        exc.hint = exc.hint or "sizes are bytes, or end in K, M, G or T; no limit is 'unlimited'"
        raise
    return None if nbytes >= RLIM_INFINITY else nbytes


def run_default(ctx: click.Context, command: click.Command) -> None:
    """Run ``command`` when the group was called without a word, as bpftool's objects do."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(command)


def count_of(number: int, noun: str) -> str:
    """Return ``1 map``, ``2 maps``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


__all__ = [
    "App",
    "CommandError",
    "E",
    "KernelError",
    "count_of",
    "doing",
    "done",
    "emit_json",
    "json_option",
    "limit",
    "open_kernel",
    "run_default",
    "show_facts",
    "show_table",
    "size_text",
]
