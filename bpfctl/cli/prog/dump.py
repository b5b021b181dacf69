"""``prog dump xlated``: the instructions that the kernel keeps, as text, JSON or a graph."""

from __future__ import annotations

import os

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.select import prog_fds
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.cli.prog.listing import Listing, SourceLine
from bpfctl.cli.prog.show import header_json, header_plain, prog_info
from bpfctl.errors import CommandError
from bpfctl.uapi import ProgInfo

_IMM_AT = 4


class _Options:
    def __init__(self) -> None:
        self.path: str | None = None
        self.opcodes = False
        self.visual = False
        self.linum = False


def dump(app: App, words: Words) -> int:
    """Run ``prog dump xlated|jited PROG [file F | opcodes | linum | visual]``."""
    if words.next_is("jited"):
        raise CommandError("No JIT disassembly support")
    if not words.next_is("xlated"):
        word = words.peek()
        shown = "(null)" if word is None else word
        raise CommandError(f"expected 'xlated' or 'jited', got: {shown}")
    words.take()
    if words.left < 2:
        raise UsageExit
    fds = prog_fds(app, words)
    if not fds:
        return -1
    options = _read_options(app, words, len(fds) > 1)
    infos = [prog_info(app, fd) for fd in fds]
    if len(infos) > 1:
        _several(app, infos, options)
    else:
        _one(app, infos[0], options)
    return 0


def _read_options(app: App, words: Words, several: bool) -> _Options:
    found = _Options()
    while words.left:
        word = words.take()
        if "file".startswith(word):
            if not words.left:
                raise CommandError("expected file path")
            _refuse_several(several)
            found.path = words.take()
        elif "opcodes".startswith(word):
            found.opcodes = True
        elif "visual".startswith(word):
            _refuse_several(several)
            found.visual = True
        elif "linum".startswith(word):
            found.linum = True
        else:
            raise UsageExit
    if found.path is not None and (found.opcodes or found.visual or found.linum):
        raise CommandError("'file' is not compatible with 'opcodes', 'visual', or 'linum'")
    if app.out.json is not None and found.visual:
        raise CommandError("'visual' is not compatible with JSON output")
    return found


def _refuse_several(several: bool) -> None:
    if several:
        raise CommandError("several programs matched")


def _several(app: App, infos: list[ProgInfo], options: _Options) -> None:
    """Dump programs with a header each."""
    json = app.out.json
    if json is not None:
        json.begin_array()
    for index, info in enumerate(infos):
        if json is not None:
            json.begin_object()
            header_json(app, json, info)
            json.name("insns")
        else:
            app.out.put(("\n" if index else "") + header_plain(app, info))
        _one(app, info, options)
        if json is not None:
            json.end_object()
    if json is not None:
        json.end_array()


def _one(app: App, info: ProgInfo, options: _Options) -> None:
    if options.path is not None:
        _write_file(options.path, info.insns)
        app.out.done()
        return
    listing = Listing.of(app, info)
    if app.out.json is not None:
        _json(app.out.json, listing, options)
    elif options.visual:
        from bpfctl.cli.prog.graph import graph

        app.out.put(graph(listing, options.opcodes, options.linum))
    else:
        _plain(app, listing, options)


def _write_file(path: str, code: bytes) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "wb") as file:
            file.write(code)
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or str(exc)
        raise CommandError(f"can't open file {path}: {reason}") from exc


def _plain(app: App, listing: Listing, options: _Options) -> None:
    put = app.out.put
    for index in listing.indexes():
        prototype = listing.prototypes.get(index)
        if prototype:
            put(f"{prototype}:\n")
        line = listing.lines.get(index)
        if line is not None:
            place = ""
            if options.linum:
                place = f" [file:{line.file} line_num:{line.line} line_col:{line.column}]"
            put(f"; {line.source}{place}\n")
        put(f"{index:4d}: {listing.text(index)}\n")
        if options.opcodes:
            put(f"       {listing.raw(index).hex(' ')}\n")


def _json(json: JsonWriter, listing: Listing, options: _Options) -> None:
    json.begin_array()
    for index in listing.indexes():
        json.begin_object()
        prototype = listing.prototypes.get(index)
        if prototype:
            json.member("proto", prototype)
        line = listing.lines.get(index)
        if line is not None:
            _json_line(json, line, options.linum)
        json.member("disasm", listing.text(index))
        if options.opcodes:
            _json_opcodes(json, listing, index)
        json.end_object()
    json.end_array()


def _json_line(json: JsonWriter, line: SourceLine, linum: bool) -> None:
    json.member("src", line.source)
    if not linum:
        return
    json.member("file", line.file)
    if line.line:
        json.member("line_num", line.line)
    if line.column:
        json.member("line_col", line.column)


def _json_opcodes(json: JsonWriter, listing: Listing, index: int) -> None:
    insn, raw = listing.insns[index], listing.raw(index)
    json.name("opcodes")
    json.begin_object()
    json.member("code", f"0x{insn.code:02x}")
    json.member("src_reg", f"0x{insn.src:x}")
    json.member("dst_reg", f"0x{insn.dst:x}")
    json.name("off")
    json.hex_array(raw[2:_IMM_AT])
    json.name("imm")
    json.hex_array(raw[_IMM_AT:])
    json.end_object()
