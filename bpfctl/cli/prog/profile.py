"""``prog profile``, as far as its words go."""

from __future__ import annotations

from bpfctl.cli.app.select import prog_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, E, Failure


def profile(app: App, words: Words) -> None:
    """Check the words of ``prog profile``."""
    words.need(3, -E.INVAL & 0xFF)
    try:
        prog_fd(app, words)
    except Failure as exc:
        if exc.text:
            app.out.error(exc.text)
        raise CommandError("failed to parse fd") from exc
    raise CommandError("bpfctl does not simulate 'prog profile' yet")
