"""Entry point: options, one command, its errors, its exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from bpfctl import errors
from bpfctl.cli.app import usage
from bpfctl.cli.app.base_btf import BadBaseBtf
from bpfctl.cli.app.dispatch import find_own, report
from bpfctl.cli.app.dispatch import run as run_words
from bpfctl.cli.app.options import Options, UnknownOption, parse
from bpfctl.cli.app.out import Out
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import UsageExit, Words
from bpfctl.errors import CommandError, Failure, KernelError, TaskKilled

USAGE_STATUS = 255
KILLED_STATUS = 137
OUTPUT_STATUS = 255
INTERRUPT_STATUS = 130
PIPE_STATUS = 141
_OBJECTS_PER_COLLECTION = 100_000
COMPLETE_VARIABLE = "_BPFCTL_COMPLETE"  # set by a shell that completes a line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program name); return the exit status."""
    if COMPLETE_VARIABLE in os.environ:
        from bpfctl.cli.complete.answer import answer

        return answer(os.environ[COMPLETE_VARIABLE])
    out = Out()
    if sys.stderr is not None and sys.stderr.isatty():
        errors.notice = _notice
    try:
        status = _main(list(sys.argv[1:] if argv is None else argv), out)
        out.flush()
    except KeyboardInterrupt:
        return INTERRUPT_STATUS
    except BrokenPipeError:
        return PIPE_STATUS
    except OSError as exc:
        sys.stderr.write(f"Error: can't write the output: {exc.strerror}\n")
        return OUTPUT_STATUS
    return status


def _notice(text: str) -> None:
    print(f"bpfctl: {text}", file=sys.stderr)


def run() -> None:
    """Run the command line of this process and exit."""
    import gc

    # Most commands end before there is anything to collect, and the next line but one lets the
    # process end without a last look: together a tenth of a short command's time.
    gc.set_threshold(_OBJECTS_PER_COLLECTION)
    status = main()
    gc.freeze()
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody reads any more; keep the interpreter from trying once again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if not {"atexit", "threading"} & sys.modules.keys():
        # All is written, and nobody can have asked for anything to be done at the end: taking the
        # interpreter apart is a twentieth of a short command's time.
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _main(argv: list[str], out: Out) -> int:
    options = Options()
    app = App(options, out)
    try:
        words = parse(argv, options, out, lambda word: find_own(word) is not None)
    except BadBaseBtf as exc:
        return report(app, exc)  # no newline after JSON here
    except UnknownOption as exc:
        status = report(app, exc)
        if out.json is None:
            usage.show(out, "main")
        return _finish(out, status)
    except Failure as exc:
        return _finish(out, report(app, exc))
    if options.help and (not options.help_page or out.json is not None):
        usage.show(out, "main")
        return 0  # no newline after JSON here either
    try:
        with app:
            status = _command(app, words)
    except Failure as exc:  # the state could not be saved
        status = report(app, exc)
    except OSError as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        status = report(app, CommandError(str(exc.strerror or exc)))
    except Exception as exc:
        if options.debug:
            raise
        status = report(app, _unexpected(app, exc))
    return _finish(out, status)


def _unexpected(app: App, exc: Exception) -> Failure:
    """Return the error for what must not happen: a plugin's fault, the file's if it is damaged,
    else ours."""
    from bpfctl.cli.plugin.fault import of_a_plugin
    from bpfctl.store.state import damage

    plugin = of_a_plugin(exc)
    if plugin is not None:
        return plugin
    try:
        found = damage(app.settings.state)
    except Failure as refusal:
        return refusal
    return found or CommandError(
        f"internal error: {type(exc).__name__}: {exc}", hint="-d shows where"
    )


def _finish(out: Out, status: int) -> int:
    """End JSON output with its newline."""
    if out.json is not None and not out.own:
        out.put("\n")
    return status


def _command(app: App, words: list[str]) -> int:
    try:
        if app.options.help_page:
            return _help_page(app, words)
        if app.options.version:
            from bpfctl.cli.app.version import version

            version(app, Words(words))
            return 0
        if words and find_own(words[0]) is not None:
            return _own_command(app, words)
        return run_words(app, Words(words))
    except UsageExit:
        app.help(app, app.words)
        if app.out.json is not None:
            app.out.json.close_all()
        return USAGE_STATUS
    except TaskKilled as exc:
        app.out.err("Killed\n")
        app.out.hint(exc.hint)
        killed = Failure("Killed", KILLED_STATUS)
        killed.__cause__ = exc
        app.note_failure(killed)
        return KILLED_STATUS


def _help_page(app: App, words: list[str]) -> int:
    from bpfctl.cli.help.page import show

    try:
        return show(app, words)
    except CommandError as exc:
        return report(app, exc)


def _own_command(app: App, words: list[str]) -> int:
    """Run an object of our own, which Click handles."""
    import click

    from bpfctl.cli.app.group import run_own, usage_error, without_global

    app.out.own = True
    app.words = Words(words)
    if "--json" in words or "-j" in words:
        app.out.use_json(pretty=False)
    try:
        return run_own(app, words)
    except click.NoSuchOption as exc:
        rest = without_global(app, words, exc.option_name)
        if rest is not None:
            return _own_command(app, rest)
        status = usage_error(app, exc)
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as exc:
        status = usage_error(app, exc)
    except Failure as exc:
        status = report(app, exc)
    except KernelError as exc:
        failure = CommandError(str(exc.strerror), -exc.code & 0xFF, exc.hint)
        failure.__cause__ = exc
        status = report(app, failure)
    if app.out.json is not None:
        app.out.put("\n")
    return status


if __name__ == "__main__":
    run()
