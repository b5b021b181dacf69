"""``bpfctl sim export, import, check, diff``: the state as text, and whether it is sound."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, CommandError, count_of, done, emit_json, json_option
from bpfctl.cli.sim.verbs import state_file

if TYPE_CHECKING:
    from bpfctl.store.diff import Difference

FOUND_STATUS = 1
STANDARD = "-"
FLUSHED_LINES = 1000
SHOWN_FINDINGS = 10


@click.command()
@click.argument("file", default=STANDARD)
@json_option
@pass_app
def export(app: App, file: str) -> None:
    """Write the whole state to FILE (default: standard output) as JSON lines."""
    from bpfctl.store.export import export_lines
    from bpfctl.store.state import open_storage

    with open_storage(state_file(app), write=False) as storage:
        lines = export_lines(storage)
        if file == STANDARD:
            for number, line in enumerate(lines):
                app.out.put(f"{line}\n")
                if number % FLUSHED_LINES == 0:
                    app.out.checkpoint()
            return
        count = _write_file(file, lines)
    done(app, file=file, lines=count)


def _write_file(path: str, lines: Iterator[str]) -> int:
    """Write lines to ``path``, which is replaced only when all are written."""
    from bpfctl.store.hostfile import whole_file

    count = 0
    with _file_errors(path), whole_file(path) as file:
        for line in lines:
            file.write(f"{line}\n")
            count += 1
    return count


@contextmanager
def _file_errors(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        text = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise CommandError(f"can't open {path}: {text}") from exc


@click.command(name="import")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace an existing state; 'sim undo' brings it back.")
@click.option("--unchecked", is_flag=True, help="Import what does not pass 'sim check', too.")
@json_option
@pass_app
def import_(app: App, file: str, force: bool, unchecked: bool) -> None:
    """Make the state from the export in FILE (- for standard input)."""
    from bpfctl.store.backup import keeping
    from bpfctl.store.check import check_state
    from bpfctl.store.export import import_lines
    from bpfctl.store.state import open_storage, replacing

    path = state_file(app)
    there = ask_to_replace(path, force)
    with (
        _lines_of(file) as lines,
        open_storage(path) as storage,
        keeping(path) if there else nullcontext(),
        replacing(storage),
    ):
        count = import_lines(storage, lines, file)
        findings = [] if unchecked else check_state(storage)
        if findings:
            shown = "".join(f"\n  {text}" for text in findings[1:SHOWN_FINDINGS])
            raise CommandError(
                f"cannot import {file}: {findings[0]}{shown}",
                hint=f"{count_of(len(findings), 'finding')} in all; nothing was changed",
            )
    done(app, rows=count)


def ask_to_replace(path: str, force: bool) -> bool:
    """Return whether there is a state that will be replaced.

    :raises CommandError: there is, and not ``force``.
    """
    if not os.path.lexists(path):
        return False
    if not force:
        raise CommandError(
            f"state file {path!r} exists already",
            hint="replace it with --force, or choose another one with --state",
        )
    return True


@click.command()
@json_option
@pass_app
def undo(app: App) -> None:
    """Bring back the state that new, reset or import replaced last; again to go forward."""
    from bpfctl.store import backup

    path = state_file(app)
    backup.undo(path)
    done(app, state=path)


@click.command()
@json_option
@pass_app
def path(app: App) -> None:
    """Print where the state file is."""
    found = os.path.abspath(state_file(app))
    if not emit_json(app, {"state": found, "exists": os.path.exists(found)}):
        app.out.put(f"{found}\n")


@contextmanager
def _lines_of(path: str) -> Iterator[IO[bytes]]:
    if path == STANDARD:
        yield sys.stdin.buffer
        return
    with _file_errors(path):
        file = open(path, "rb")  # noqa: SIM115
    with file:
        yield file


@click.command()
@json_option
@pass_app
def check(app: App) -> int:
    """Check that charges, references and the file itself are sound; status 1 if not."""
    from bpfctl.store.check import check_state
    from bpfctl.store.state import open_storage

    with open_storage(state_file(app), write=False) as storage:
        findings = check_state(storage)
    if not emit_json(app, {"ok": not findings, "findings": findings}):
        for text in findings:
            app.out.put(f"{text}\n")
        if not findings:
            app.out.put("ok\n")
    return FOUND_STATUS if findings else 0


@click.command()
@click.argument("a")
@click.argument("b")
@json_option
@pass_app
def diff(app: App, a: str, b: str) -> int:
    """Compare two state files; status 1 if they differ."""
    from bpfctl.store.diff import differences
    from bpfctl.store.state import open_storage

    found = False
    writer = app.out.json
    with (
        open_storage(a, write=False, make=False) as one,
        open_storage(b, write=False, make=False) as other,
    ):
        if writer is not None:
            writer.begin_array()
        for number, difference in enumerate(differences(one, other)):
            found = True
            if writer is not None:
                writer.raw(_json_of(difference))
            else:
                app.out.put(_text_of(difference) + "\n")
            if number % FLUSHED_LINES == 0:
                app.out.checkpoint()
    if writer is not None:
        writer.end_array()
        app.out.put("\n")
    return FOUND_STATUS if found else 0


def _json_of(difference: Difference) -> str:
    from bpfctl.store.schema import json_text

    fields: dict[str, Any] = difference.fields
    if difference.change == "changed":
        fields = {name: {"a": pair[0], "b": pair[1]} for name, pair in fields.items()}
    row = {"table": difference.table, "key": difference.key, "change": difference.change}
    return json_text({**row, "fields": fields})


_SIGNS = {"added": "+", "removed": "-", "changed": "~"}


def _text_of(difference: Difference) -> str:
    key = " ".join(str(part) for part in difference.key.values())
    if difference.change == "changed":
        parts = [f"{name} {pair[0]} -> {pair[1]}" for name, pair in difference.fields.items()]
    else:
        parts = [f"{name} {value}" for name, value in difference.fields.items()]
    return f"{_SIGNS[difference.change]} {difference.table} {key}: {', '.join(parts)}"
