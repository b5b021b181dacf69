"""``prog run``: BPF_PROG_TEST_RUN on data and contexts from files."""

from __future__ import annotations

import os
import sys

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words, strtoul
from bpfctl.errors import CommandError, KernelError, strerror
from bpfctl.uapi import ProgRunAttr, ProgRunResult

STDIO = "-"
DEFAULT_ROOM = 32 * 1024
U32 = 0xFFFFFFFF
_DATA = ("data_in", "data_out", "data_size_out")
_CTX = ("ctx_in", "ctx_out", "ctx_size_out")
_NUMBERS = {
    "data_size_out": "output data size",
    "ctx_size_out": "output context size",
    "repeat": "repeat number",
}
_ROW = 16


def run(app: App, words: Words) -> int | None:
    """Run ``prog run PROG [data_in FILE] ... [repeat N]``."""
    words.need(4)
    app.write = True
    fd = prog_fd(app, words)
    options = _options(words)
    attr = ProgRunAttr(prog_fd=fd, repeat=_number(options, "repeat", 1))
    data, ctx = _read(options.get("data_in")), _read(options.get("ctx_in"))
    if data is not None:
        attr.data_in, attr.data_size_in = data or None, len(data)
        attr.data_size_out = _number(options, "data_size_out", DEFAULT_ROOM)
        attr.data_out = attr.data_size_out > 0
    if ctx is not None:
        attr.ctx_in, attr.ctx_size_in = ctx or None, len(ctx)
        attr.ctx_size_out = _number(options, "ctx_size_out", DEFAULT_ROOM)
        attr.ctx_out = attr.ctx_size_out > 0
    return _show(app, _test_run(app, attr), options, attr.repeat)


def _test_run(app: App, attr: ProgRunAttr) -> ProgRunResult:
    hint = None
    try:
        result = app.bpf.prog_test_run(attr)
        err = result.errno
    except KernelError as exc:
        result, err, hint = ProgRunResult(), exc.code, exc.hint
    if err:
        raise CommandError(f"failed to run program: {strerror(err)}", -err & 0xFF, hint=hint or "")
    return result


def _options(words: Words) -> dict[str, str]:
    """Read the words behind the program: an option's name and its value, each by name.

    :raises CommandError: as bpftool words it.
    """
    found: dict[str, str] = {}
    while (word := words.peek()) is not None:
        for family in (_DATA, _CTX):
            _refuse_common_prefix(word, family)
        name = next((one for one in (*_DATA, *_CTX, "repeat") if one.startswith(word)), None)
        if name is None:
            raise CommandError(
                "expected no more arguments, 'data_in', 'data_out', 'data_size_out', 'ctx_in',"
                f" 'ctx_out', 'ctx_size_out' or 'repeat', got: '{word}'?"
            )
        words.take()
        words.need(1)
        value = words.take()
        if name in _NUMBERS and strtoul(value, 0) is None:
            raise CommandError(f"can't parse {value} as {_NUMBERS[name]}")
        found[name] = value
        if found.get("data_in") == STDIO == found.get("ctx_in"):
            raise CommandError("cannot use standard input for both data_in and ctx_in")
    return found


def _refuse_common_prefix(word: str, names: tuple[str, ...]) -> None:
    meant = [f"'{name}'" for name in names if name.startswith(word)]
    if len(meant) > 1:
        raise CommandError(f"ambiguous prefix: '{word}' could be {' or '.join(meant)}")


def _number(options: dict[str, str], name: str, default: int) -> int:
    if name not in options:
        return default
    return (strtoul(options[name], 0) or 0) & U32


def _read(name: str | None) -> bytes | None:
    """Return what a file holds, None for no file.

    :raises CommandError: it cannot be read.
    """
    if name is None:
        return None
    if name == STDIO:
        buffer = getattr(sys.stdin, "buffer", None)
        found: bytes = buffer.read() if buffer is not None else sys.stdin.read().encode()
        return found
    try:
        with open(os.fsencode(name), "rb") as file:
            return file.read()
    except OSError as exc:
        raise CommandError(f"failed to open {name}: {exc.strerror}") from exc


def _show(app: App, result: ProgRunResult, options: dict[str, str], repeat: int) -> int | None:
    """Print outputs and the return value; -1 when an output file could not be written."""
    json = app.out.json
    failed = 0
    if json is not None:
        json.begin_object()
    outputs = (("data_out", result.data_out), ("ctx_out", result.ctx_out))
    for name, content in outputs:
        if content and name in options:
            failed |= _output(app, name, options[name], content)
    retval, duration = result.retval or 0, result.duration or 0
    if json is not None:
        json.member("retval", retval)
        json.member("duration", duration)
        json.end_object()
    else:
        average = " (average)" if repeat > 1 else ""
        app.out.put(f"Return value: {retval}, duration{average}: {duration}ns\n")
    return -1 if failed else None


def _output(app: App, member: str, name: str, content: bytes) -> int:
    if name == STDIO:
        if app.out.json is not None:
            _json_bytes(app.out.json, member, content)
        else:
            app.out.put("".join(hex_dump(content)))
        return 0
    try:
        with open(os.fsencode(name), "wb") as file:
            file.write(content)
    except OSError as exc:
        app.out.error(f"failed to open {name}: {exc.strerror}")
        return 1
    return 0


def _json_bytes(json: JsonWriter, member: str, content: bytes) -> None:
    json.name(member)
    json.begin_array()
    for byte in content:
        json.number(byte)
    json.end_array()


def hex_dump(content: bytes) -> list[str]:
    """Return lines: offset, 16 bytes in pairs, and what of them can be printed."""
    lines = []
    for at in range(0, len(content), _ROW):
        row = content[at : at + _ROW]
        pairs = "".join(f"{row[i : i + 2].hex()} " for i in range(0, len(row), 2))
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        text = f"{shown[:8]} {shown[8:]}" if len(row) > 8 else shown
        lines.append(f"{at:07x}\t{pairs.ljust(40)}| {text}\n")
    return lines
