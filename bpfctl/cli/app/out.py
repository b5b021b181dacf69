"""What the user sees: plain text and JSON on stdout, messages on stderr, in one order.

Output is collected and leaves the process with :meth:`Out.flush`, so that a command which changes
the state reports success only after the change is on disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from bpfctl.errors import Hint

_ESCAPES = str.maketrans(
    {
        "\t": "\\t",
        "\n": "\\n",
        "\r": "\\r",
        "\f": "\\f",
        "\b": "\\b",
        "\\": "\\\\",
        '"': '\\"',
    }
)


def quote(text: str) -> str:
    """Return ``text`` as a JSON string; only the escapes that bpftool knows."""
    return f'"{text.translate(_ESCAPES)}"'


def hex_rows(data: bytes) -> str:
    """Return bytes as two-digit hex, 16 a row, two blanks in the middle of a row."""
    text = data.hex(" ")
    if len(data) <= 8:
        return text
    rows = [text[at : at + 47] for at in range(0, len(text), 48)]
    return "\n".join(row if len(row) < 24 else f"{row[:23]} {row[23:]}" for row in rows)


class JsonWriter:
    """A stream of JSON: compact, or in bpftool's pretty layout.

    Pretty puts member names and closing brackets on lines of their own; array elements follow
    each other on one line. ``put`` takes the text.
    """

    __slots__ = ("_closers", "_put", "_separator", "pretty")

    def __init__(self, put: Callable[[str], object], pretty: bool = False) -> None:
        self._put = put
        self.pretty = pretty
        self._closers: list[str] = []
        self._separator = ""

    def line(self, deeper: int = 0) -> str:
        """Return a line break and the indentation, so many levels deeper; nothing in compact."""
        return "\n" + "    " * (len(self._closers) + deeper) if self.pretty else ""

    def raw(self, text: str) -> None:
        """Write one value that is JSON text already."""
        self._put(self._separator + text)
        self._separator = ","

    def _open(self, bracket: str, closer: str) -> None:
        self._put(self._separator + bracket)
        self._closers.append(closer)
        self._separator = ""

    def _close(self) -> None:
        closer = self._closers.pop()
        self._put(self.line() + closer if self._separator else closer)
        self._separator = ","

    def begin_object(self) -> None:
        self._open("{", "}")

    def begin_array(self) -> None:
        self._open("[", "]")

    end_object = end_array = _close

    def close_all(self) -> None:
        """Close every object and array that is still open."""
        if self._closers and self._separator == "":
            self._separator = ","
        while self._closers:
            self._close()

    @property
    def depth(self) -> int:
        """Number of objects and arrays that are open."""
        return len(self._closers)

    def name(self, name: str) -> None:
        """Write a member name; its value comes next."""
        blank = " " if self.pretty else ""
        self._put(f"{self._separator}{self.line()}{quote(name)}:{blank}")
        self._separator = ""

    def null(self) -> None:
        self.raw("null")

    def number(self, value: int) -> None:
        self.raw(str(value))

    def boolean(self, value: bool) -> None:
        self.raw("true" if value else "false")

    def string(self, text: str) -> None:
        self.raw(quote(text))

    def member(self, name: str, value: int | str | bool | None) -> None:
        """Write a name and a scalar."""
        self.name(name)
        if value is None:
            self.null()
        elif isinstance(value, bool):
            self.boolean(value)
        elif isinstance(value, int):
            self.number(value)
        else:
            self.string(value)

    def hex_array(self, data: bytes) -> None:
        """Write bytes as an array of strings such as ``"0x0a"``."""
        if not data:
            self.raw("[]")
            return
        body = data.hex(",").replace(",", '","0x')
        self.raw(f'["0x{body}"{self.line()}]')


class Out:
    """Both streams of one command.

    ``json`` is the writer after ``-j`` or ``-p``, else None. ``hold`` keeps everything back until
    the end, unless ``streaming``: somebody waits for the answers. ``own`` marks a command that
    bpftool does not have: hints follow its errors.
    """

    def __init__(self) -> None:
        self.json: JsonWriter | None = None
        self.hold = False
        self.streaming = False
        self.own = False
        self._text: list[str] = []
        self._queue: list[tuple[bool, str]] = []
        self.put = self._text.append

    def use_json(self, pretty: bool) -> None:
        """Switch to JSON; once on it stays on, and so does pretty."""
        if self.json is None:
            self.json = JsonWriter(self.put)
        self.json.pretty = self.json.pretty or pretty

    def err(self, text: str) -> None:
        """Write to stderr, after what was written to stdout so far."""
        self._collect()
        self._queue.append((True, text))

    def error(self, text: str) -> None:
        """Report a failure: a line on stderr, or an object in the JSON stream.

        The text goes into JSON as it is, without escapes.
        """
        if self.json is None:
            self.err(f"Error: {text}\n")
            return
        self.json.begin_object()
        self.json.name("error")
        self.json.raw(f'"{text}"')
        self.json.end_object()

    def info(self, text: str) -> None:
        """Write a warning or note to stderr; JSON mode has none."""
        if self.json is None:
            self.err(text + "\n")

    def hint(self, hint: Hint) -> None:
        """Say on stderr what would help.

        Shown after errors of our own commands, after those of bpftool's commands only when
        stderr is a terminal, never with JSON; ``BPFCTL_HINTS`` set to ``always`` or ``never``
        overrides.
        """
        if hint and self.hints_shown:
            from bpfctl.cli.app.hints import worded

            self.err(f"hint: {worded(hint)}\n")

    @property
    def hints_shown(self) -> bool:
        """Tell whether somebody will read a hint."""
        rule = os.environ.get("BPFCTL_HINTS", "")
        if self.json is not None or rule == "never":
            return False
        return rule == "always" or self.own or sys.stderr.isatty()

    def done(self) -> None:
        """Mark the success of a command that has no data: ``null`` in JSON."""
        if self.json is not None:
            self.json.null()

    def _collect(self) -> None:
        if self._text:
            self._queue.append((False, "".join(self._text)))
            self._text.clear()

    def checkpoint(self) -> None:
        """Write out what is there, unless it has to wait for the state to be saved."""
        if not self.hold:
            self.flush()

    def flush(self) -> None:
        """Write everything collected so far."""
        self._collect()
        queue = self._queue[:]
        self._queue.clear()
        for is_err, text in queue:
            _write(sys.stderr if is_err else sys.stdout, text)


def _write(stream: object, text: str) -> None:
    """Write bytes where the stream has them: names need not be text, and a line ends in LF."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text)  # type: ignore[attr-defined]
    else:
        stream.flush()  # type: ignore[attr-defined]
        buffer.write(_encode(text))
        buffer.flush()


def _encode(text: str) -> bytes:
    """Return the bytes of a text; lone surrogates that no file name can hold become escapes."""
    if text.isascii():
        return text.encode("ascii")
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
