"""``prog pin``."""

from __future__ import annotations

from bpfctl.cli.app.pins import pin_command
from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words


def pin(app: App, words: Words) -> None:
    """Run ``prog pin PROG FILE``."""
    pin_command(app, words, prog_fd)
