"""``prog trace``: a test run of a program, step by step beside its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpfctl.cli.app.arguments import Arguments
from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, KernelError, errno_name
from bpfctl.uapi import ProgRunAttr, ProgRunResult

if TYPE_CHECKING:
    from bpfctl.system.tracing import Step

PACKET = 64
"""Bytes of zeros that a program gets which needs a packet and was given none."""
ROOM = 32
INSN_WIDTH = 44


def trace(app: App, words: Words) -> int | None:
    """Run ``prog trace PROG``; without PROG the word abbreviates ``tracelog``, as in bpftool."""
    from bpfctl.cli.app.arguments import read
    from bpfctl.cli.prog.verbs import TABLE

    if not words.left:
        found = TABLE.verbs["tracelog"].run
        from bpfctl.cli.app.table import load

        status: int | None = load(found)(app, words)
        return status
    return _trace(app, read("prog", TABLE.verbs["trace"], words))


def _trace(app: App, args: Arguments) -> int | None:
    until = _until(app, args)
    attr = ProgRunAttr(prog_fd=prog_fd(app, args.object("PROG")))
    data, ctx = _file(args, "data_in"), _file(args, "ctx_in")
    kind = app.bpf.prog_info(attr.prog_fd).type
    if data is None and _takes_packet(kind):
        data = bytes(PACKET)
    if data is not None:
        attr.data_in, attr.data_size_in = data, len(data)
    if ctx is not None:
        attr.ctx_in, attr.ctx_size_in = ctx, len(ctx)
    shown = _Shown(app, until)
    try:
        result: ProgRunResult = app.kernel.prog_trace(app.bpf.pid, attr, shown.step)
    except KernelError as exc:
        shown.end(None)
        raise CommandError(f"failed to run program: {exc.strerror}", hint=exc.hint) from exc
    shown.end(result)
    return None


def _takes_packet(kind: int) -> bool:
    from bpfctl.uapi import PROG_TYPES

    return PROG_TYPES[kind] not in ("syscall", "raw_tracepoint", "sk_lookup", "tracing")


def _until(app: App, args: Arguments) -> int | None:
    text = app.options.own.get("until", "")
    if args.given("until"):
        return args.number("until")
    if not text:
        return None
    if not text.isdigit():
        raise CommandError(f"can't parse {text} as until")
    return int(text)


def _file(args: Arguments, name: str) -> bytes | None:
    if not args.given(name):
        return None
    path = args.word(name)
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise CommandError(f"can't read {path}: {exc.strerror}") from exc


class _Shown:
    """Prints steps as they come; behind ``until`` the program goes on unseen."""

    def __init__(self, app: App, until: int | None) -> None:
        self._app = app
        self._until = until
        self._quiet = False
        self._lines: dict[int, dict[int, tuple[str, str, int]]] = {}
        self._line: tuple[str, str, int] | None = None
        self._steps = 0
        json = app.out.json
        if json is not None:
            json.begin_object()
            json.name("steps")
            json.begin_array()

    def step(self, step: Step) -> None:
        """Show one step."""
        self._steps += 1
        if self._quiet:
            return
        line = self._source(step.prog_id).get(step.pc)
        if self._app.out.json is None:
            self._plain(step, line)
        else:
            self._json(self._app.out.json, step, line)
        self._quiet = step.pc == self._until and step.depth == 0

    def _source(self, prog_id: int) -> dict[int, tuple[str, str, int]]:
        if prog_id not in self._lines:
            from bpfctl.system.tracing import source_lines

            self._lines[prog_id] = source_lines(self._app.kernel, prog_id)
        return self._lines[prog_id]

    def _plain(self, step: Step, line: tuple[str, str, int] | None) -> None:
        put = self._app.out.put
        if line is not None and line != self._line:
            put(f"; {line[0]}\n")
        self._line = line or self._line
        changes = [f"{name} = {shown}" for name, _, shown in step.regs]
        for write in step.writes:
            number = int.from_bytes(write.content, "little")
            changes.append(f"[{write.shown}] = {number:#x} ({len(write.content)} bytes)")
        indent = "  " * step.depth
        text = f"{indent}{step.pc:4}: {step.insn}"
        put(f"{text:<{INSN_WIDTH}} ; {', '.join(changes)}\n" if changes else f"{text}\n")

    def _json(self, json: Any, step: Step, line: tuple[str, str, int] | None) -> None:
        json.begin_object()
        for name, number in (("prog_id", step.prog_id), ("insn", step.pc), ("depth", step.depth)):
            json.name(name)
            json.number(number)
        json.name("text")
        json.string(step.insn)
        if line is not None:
            json.name("src")
            json.string(line[0])
            json.name("line")
            json.number(line[2])
        json.name("regs")
        json.begin_object()
        for reg, value, _ in step.regs:
            json.name(reg)
            json.string(f"{value:#x}")
        json.end_object()
        json.name("writes")
        json.begin_array()
        for write in step.writes:
            json.begin_object()
            json.name("at")
            json.string(write.shown)
            json.name("bytes")
            json.string(write.content.hex())
            json.end_object()
        json.end_array()
        json.end_object()

    def end(self, result: ProgRunResult | None) -> None:
        """Show how the run ended."""
        json = self._app.out.json
        if json is not None:
            json.end_array()
            json.name("executed")
            json.number(self._steps)
            if result is not None and result.retval is not None:
                json.name("retval")
                json.number(result.retval)
            json.end_object()
            return
        if result is not None:
            failed = f", {errno_name(result.errno)}" if result.errno else ""
            self._app.out.put(f"Return value: {result.retval}, {self._steps} insns{failed}\n")
