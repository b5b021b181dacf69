"""``bpfctl completion``: the scripts that make the shells complete bpfctl's words."""

from __future__ import annotations

import sys
from importlib import resources

import click

from bpfctl.cli.app.group import pass_app
from bpfctl.cli.app.ours import App, CommandError, done, json_option

SHELLS = ("bash", "zsh", "fish")
PACKAGE = "bpfctl_completions"
# Each named as its shell looks for it.
FILES = {"bash": "bpfctl.bash", "zsh": "_bpfctl", "fish": "bpfctl.fish"}
HINTS = {
    "bash": 'put into ~/.bashrc:  eval "$(bpfctl completion bash)"',
    "zsh": 'put into ~/.zshrc:  eval "$(bpfctl completion zsh)"',
    "fish": "keep it:  bpfctl completion fish > ~/.config/fish/completions/bpfctl.fish",
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("shell", type=click.Choice(SHELLS))
@click.option("--path", "where", is_flag=True, help="Print where the installed script is.")
@json_option
@pass_app
def completion(app: App, shell: str, where: bool) -> None:
    r"""Print the completion script of SHELL.

    \b
    bash  eval "$(bpfctl completion bash)", in ~/.bashrc
    zsh   eval "$(bpfctl completion zsh)", in ~/.zshrc
    fish  bpfctl completion fish > ~/.config/fish/completions/bpfctl.fish
    """
    if where:
        path = script_path(shell)
        done(app, path, path=path)
        return
    from bpfctl.cli.complete.shell import script

    text = script(shell)
    done(app, text.rstrip("\n"), shell=shell, script=text)
    if sys.stdout.isatty():
        # A person looks at it rather than a shell.
        app.out.hint(HINTS[shell])


def script_path(shell: str) -> str:
    """Return the path of the installed script.

    :raises CommandError: the installation lacks it.
    """
    try:
        found = resources.files(PACKAGE) / FILES[shell]
        present = found.is_file()
    except (ImportError, TypeError):
        present = False
    if not present:
        raise CommandError(
            f"this installation has no file {FILES[shell]}",
            hint=f"'bpfctl completion {shell}' prints the script",
        )
    return str(found)
