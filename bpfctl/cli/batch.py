"""``batch file FILE``: many commands, one task, one transaction."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from bpfctl.cli.session import App
from bpfctl.cli.words import Words
from bpfctl.errors import CommandError, E, strerror

# Characters of a line with its continuations, and words of a command, both less than this.
LINE_CHARS = 65536
MAX_WORDS = 4096
# Batches inside batches; bpftool runs out of descriptors some time later.
MAX_DEPTH = 64

_BLANKS = " \t\r\n"
_QUOTES = "'\""
# ASCII that str.split() takes for a blank and bpftool does not.
_ODD_BLANKS = ("\v", "\f", "\x1c", "\x1d", "\x1e", "\x1f")


def batch(app: App, words: Words) -> int:
    """Run ``batch file FILE``; ``-`` is stdin. The first command that fails ends it."""
    if words.left < 2:
        raise CommandError("too few parameters for batch")
    if words.left > 2:
        raise CommandError("too many parameters for batch")
    if not words.next_is("file"):
        raise CommandError(f"expected 'file', got: {words.peek()}")
    words.take()
    path = words.take()
    outermost = app.pin_cache is None
    if app.batch_depth >= MAX_DEPTH:
        raise CommandError(f"Can't open file ({path}): Too many open files")
    if outermost:
        app.pin_cache = {}
        # What a line will do is not known before it is read.
        app.write = True
        app.out.streaming = path == "-"
    app.batch_depth += 1
    try:
        with _lines(path) as lines:
            return _Batch(app, lines).run()
    finally:
        app.batch_depth -= 1


@contextmanager
def _lines(path: str) -> Iterator[Iterable[str]]:
    """Open a batch file; its lines end in LF only."""
    encoding, errors = sys.getfilesystemencoding(), "surrogateescape"
    if path == "-":
        raw = getattr(sys.stdin, "buffer", None)
        if raw is None:
            yield sys.stdin
            return
        text = io.TextIOWrapper(raw, encoding, errors, newline="\n")
        try:
            yield text
        finally:
            text.detach()
        return
    try:
        file = open(path, encoding=encoding, errors=errors, newline="\n")  # noqa: SIM115
    except IsADirectoryError:
        yield _Unreadable(E.ISDIR)
        return
    except ValueError:
        raise CommandError(f"Can't open file ({path}): {strerror(E.NOENT)}") from None
    except OSError as exc:
        raise CommandError(f"Can't open file ({path}): {exc.strerror}") from exc
    with file:
        yield file


class _Unreadable:
    """Lines of what can be opened but not read, such as a directory."""

    def __init__(self, err: int) -> None:
        self.err = err

    def __iter__(self) -> _Unreadable:
        return self

    def __next__(self) -> str:
        raise CommandError(f"reading batch file failed: {strerror(self.err)}")


class _Batch:
    """One run through a file; ``count`` is the number of commands that succeeded."""

    def __init__(self, app: App, lines: Iterable[str]) -> None:
        self.app = app
        self.lines = iter(lines)
        self.count = 0

    def run(self) -> int:
        json = self.app.out.json
        if json is not None:
            json.begin_array()
        try:
            status = self._commands()
        except CommandError as exc:
            self.app.out.error(exc.text)
            status = exc.status
        if json is not None:
            json.end_array()
        elif status == 0:
            self.app.out.put(f"processed {self.count} commands\n")
        return status

    def _commands(self) -> int:
        from bpfctl.cli.dispatch import run

        app = self.app
        as_json = app.out.json is not None
        for line in self.lines:
            items = self._split(line)
            if not items:
                continue
            status = self._run_json(items) if as_json else run(app, Words(items))
            app.close_strays()
            if status:
                return status
            self.count += 1
            if app.out.streaming:
                app.out.checkpoint()
        return 0

    def _run_json(self, items: list[str]) -> int:
        from bpfctl.cli.dispatch import run

        json = self.app.out.json
        assert json is not None
        json.begin_object()
        json.name("command")
        json.begin_array()
        for item in items:
            json.string(item)
        json.end_array()
        json.name("output")
        status = run(self.app, Words(items))
        json.end_object()
        return status

    def _split(self, line: str) -> list[str]:
        """Return the words of a line and of those that continue it."""
        if is_simple(line):
            items = line.split()
            if len(items) < MAX_WORDS:
                return items
        return split_words(self._whole(line), self.count)

    def _whole(self, line: str) -> str:
        """Cut off the comment and append continuation lines."""
        text = _uncomment(line)
        if len(text) >= LINE_CHARS - 1:
            raise CommandError(f"reading batch file failed: {strerror(E.BIG)}")
        while text.endswith("\\\n"):
            more = next(self.lines, "")
            if not more:
                raise CommandError(f"missing continuation line on command {self.count}")
            more = _uncomment(more)
            if len(text) + len(more) + 1 > LINE_CHARS:
                raise CommandError(f"command {self.count} is too long")
            text = text[:-2] + more
        return text


def is_simple(line: str) -> bool:
    """Tell whether ``str.split`` cuts a line as bpftool does."""
    return (
        "#" not in line
        and "'" not in line
        and '"' not in line
        and "\\" not in line
        and len(line) < LINE_CHARS - 1
        and line.isascii()
        and (line.rstrip("\r\n").isprintable() or not any(odd in line for odd in _ODD_BLANKS))
        and "\0" not in line
    )


def _uncomment(line: str) -> str:
    """Cut a line at the first ``#``, and where a C string would end."""
    return line.partition("#")[0].partition("\0")[0]


def split_words(text: str, command: int) -> list[str]:
    """Cut a command into words; a quote that begins a word hides blanks up to its twin.

    ``command`` is the number that an error message gives.
    """
    items: list[str] = []
    at, end = 0, len(text)
    while True:
        while at < end and text[at] in _BLANKS:
            at += 1
        if at >= end:
            return items
        if len(items) >= MAX_WORDS - 1:
            raise CommandError(f"too many arguments to command {command}")
        start = at
        if text[at] in _QUOTES:
            start += 1
            at = text.find(text[start - 1], start)
            if at < 0:
                raise CommandError(f"unterminated quoted string in command {command}")
            items.append(text[start:at])
            at += 1
        else:
            while at < end and text[at] not in _BLANKS:
                at += 1
            items.append(text[start:at])
