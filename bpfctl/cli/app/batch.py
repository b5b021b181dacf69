"""``batch file FILE``: many commands, one task, one transaction."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from bpfctl.cli.app.session import App
from bpfctl.cli.app.table import Verb
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, E, Failure, strerror

# Characters of a line with its continuations, and words of a command, both less than this.
LINE_CHARS = 65536
MAX_WORDS = 4096
# Batches inside batches; bpftool runs out of descriptors some time later.
MAX_DEPTH = 64

_BLANKS = " \t\r\n"
_QUOTES = "'\""
# Comments, quotes, continuations, the end of a C string, and what str.split() takes for a blank
# and bpftool does not.
_SPECIAL = "#'\"\\\0\v\f\x1c\x1d\x1e\x1f"
# Characters looked at together.
_CHUNK_CHARS = 1 << 12


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
        if path == "-":
            # A batch within a batch goes on where the outer one has read.
            app.stdin = app.stdin or _stdin()
            return _Batch(app, app.stdin).run()
        with _lines(path) as lines:
            return _Batch(app, lines).run()
    finally:
        app.batch_depth -= 1


@contextmanager
def _lines(path: str) -> Iterator[Iterator[tuple[str, bool]]]:
    """Open a batch file; yields its lines, which end in LF only, and whether they are simple."""
    encoding, errors = sys.getfilesystemencoding(), "surrogateescape"
    try:
        file = open(path, encoding=encoding, errors=errors, newline="\n")  # noqa: SIM115
    except IsADirectoryError:
        yield _unreadable(E.ISDIR)
        return
    except ValueError:
        raise CommandError(f"Can't open file ({path}): {strerror(E.NOENT)}") from None
    except OSError as exc:
        raise CommandError(f"Can't open file ({path}): {exc.strerror}") from exc
    with file:
        yield _by_chunk(file)


def _stdin() -> Iterator[tuple[str, bool]]:
    raw = getattr(sys.stdin, "buffer", None)
    if raw is None:
        yield from _one_by_one(sys.stdin)
        return
    encoding = sys.getfilesystemencoding()
    text = io.TextIOWrapper(raw, encoding, "surrogateescape", newline="\n")
    try:
        yield from _one_by_one(text)
    finally:
        text.detach()


def _one_by_one(file: TextIO) -> Iterator[tuple[str, bool]]:
    """Give each line when it is there: somebody may wait for the answer."""
    for line in file:
        yield line, len(line) < MAX_WORDS and is_simple(line)


def _by_chunk(file: TextIO) -> Iterator[tuple[str, bool]]:
    while True:
        chunk = file.read(_CHUNK_CHARS) + file.readline()
        if not chunk:
            return
        # A word and its blank are two characters.
        simple = len(chunk) < 2 * MAX_WORDS - 2 and is_simple(chunk)
        for line in chunk.split("\n") if simple else _cut(chunk):
            yield line, simple


def _cut(chunk: str) -> list[str]:
    """Cut after each LF and nowhere else."""
    lines = chunk.split("\n")
    last = lines.pop()
    return [line + "\n" for line in lines] + ([last] if last else [])


def _unreadable(err: int) -> Iterator[tuple[str, bool]]:
    """Stand for the lines of what can be opened but not read, such as a directory."""
    if err:
        raise CommandError(f"reading batch file failed: {strerror(err)}")
    yield "", True


class _Batch:
    """One run through a file; ``count`` is the number of commands that succeeded."""

    def __init__(self, app: App, lines: Iterator[tuple[str, bool]]) -> None:
        self.app = app
        self.lines = lines
        self.count = 0

    def run(self) -> int:
        json = self.app.out.json
        if json is not None:
            json.begin_array()
        try:
            status = self._commands()
        except Failure as exc:
            self.app.out.error(exc.text)
            status = exc.status
        if json is not None:
            json.end_array()
        elif status == 0:
            self.app.out.put(f"processed {self.count} commands\n")
        return status

    def _commands(self) -> int:
        from bpfctl.cli.app.dispatch import run

        app = self.app
        run_one = run if app.out.json is None else self._run_json
        for line, simple in self.lines:
            items = line.split() if simple else self._split(line)
            if not items:
                continue
            status = run_one(app, Words(items))
            if app.stray_fds:
                app.close_strays()
            if status:
                return status
            self.count += 1
            if app.out.streaming:
                app.out.checkpoint()
        return 0

    @staticmethod
    def _run_json(app: App, words: Words) -> int:
        from bpfctl.cli.app.dispatch import run

        json = app.out.json
        assert json is not None
        json.begin_object()
        json.name("command")
        json.begin_array()
        for item in words.items:
            json.string(item)
        json.end_array()
        json.name("output")
        status = run(app, words)
        json.end_object()
        return status

    def _split(self, line: str) -> list[str]:
        """Return the words of a line and of those that continue it."""
        return split_words(self._whole(line), self.count)

    def _whole(self, line: str) -> str:
        """Cut off the comment and append continuation lines."""
        text = _uncomment(line)
        if len(text) >= LINE_CHARS - 1:
            raise CommandError(f"reading batch file failed: {strerror(E.BIG)}")
        while text.endswith("\\\n"):
            more, _ = next(self.lines, ("", True))
            if not more:
                raise CommandError(f"missing continuation line on command {self.count}")
            more = _uncomment(more)
            if len(text) + len(more) + 1 > LINE_CHARS:
                raise CommandError(f"command {self.count} is too long")
            text = text[:-2] + more
        return text


def is_simple(text: str) -> bool:
    """Tell whether ``str.split`` cuts every line of ``text`` as bpftool does."""
    return text.isascii() and not any(char in text for char in _SPECIAL)


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


BATCH = Verb("batch", batch, "file FILE", "run the commands of a file")
