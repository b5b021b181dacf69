"""Click groups that speak bpftool's language: any prefix names a command, ``help`` is a word."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from bpfctl.cli.app.dispatch import OWN_OBJECTS
from bpfctl.cli.app.options import LONG, OWN, parse
from bpfctl.cli.app.session import App

pass_app = click.make_pass_decorator(App)

_SETTINGS = {"help_option_names": ["-h", "--help"]}


class WordGroup(click.Group):
    """Commands answer to any prefix, the first in the table wins.

    ``lazy`` maps a word to ``"module:attribute"``, imported when the word is used.
    """

    def __init__(self, *args: Any, lazy: dict[str, str] | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", _SETTINGS)
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.lazy]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for word in self.list_commands(ctx):
            if word.startswith(cmd_name):
                return self._load(word)
        if "help".startswith(cmd_name):
            return _help_command(self, ctx)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _, command, rest = super().resolve_command(ctx, args)
        return (command.name if command is not None else None), command, rest

    def _load(self, word: str) -> click.Command:
        if word in self.commands:
            return self.commands[word]
        module, _, attribute = self.lazy[word].partition(":")
        found = getattr(import_module(module), attribute)
        assert isinstance(found, click.Command)
        return found


def _help_command(group: click.Group, ctx: click.Context) -> click.Command:
    @click.command("help", help="Print this text.", context_settings=_SETTINGS)
    @click.argument("words", nargs=-1)
    def show_help(words: tuple[str, ...]) -> None:
        group.main([*words, "--help"], prog_name=ctx.command_path, standalone_mode=False)

    return show_help


root = WordGroup(
    "bpfctl",
    lazy={name: found.target for name, found in OWN_OBJECTS.items()},
    help="Commands that bpfctl has beyond bpftool's.",
)


def run_own(app: App, args: list[str]) -> int:
    """Run one of our own commands; return its exit status.

    :raises click.ClickException: bad usage.
    """
    if args[1:] == ["help"]:
        command = root.get_command(click.Context(root), args[0])
        if not isinstance(command, click.Group):
            args = [args[0], "--help"]  # a file of that name is ./help
    result = root.main(args, prog_name="bpfctl", standalone_mode=False, obj=app)
    return result if isinstance(result, int) else 0


def without_global(app: App, words: list[str], option: str) -> list[str] | None:
    """Take a global option that stands behind an object of ours out of the words and act on it.

    What a command has an option of its own for (``task spawn --cgroup``) is never global there.
    None says that ``option`` is no global one.
    """
    at = next((at for at, word in enumerate(words) if word.partition("=")[0] == option), None)
    if at is None or option in ("-h", "--help"):
        return None
    has_value = "=" not in words[at] and find_option(option) is True
    end = at + (2 if has_value else 1)
    if find_option(option) is None:
        return None
    parse(words[at:end], app.options, app.out, lambda word: False)
    app.forget_settings()
    return words[:at] + words[end:]


def find_option(option: str) -> bool | None:
    """Tell whether a global option has a value, None if there is none of that name."""
    for name, found in {**LONG, **OWN}.items():
        if option in (f"--{name}", f"-{found.letter}"):
            return found.value != ""
    return None


def usage_error(app: App, exc: click.ClickException) -> int:
    """Print what Click has to complain about; the status is that of all argument errors."""
    context = getattr(exc, "ctx", None)
    if context is not None and app.out.json is None:
        app.out.err(context.get_usage() + "\n")
    app.out.error(exc.format_message())
    return 255
