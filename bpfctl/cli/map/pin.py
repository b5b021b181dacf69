"""``map pin`` and ``map freeze``."""

from __future__ import annotations

from bpfctl.cli.app.pins import pin_command
from bpfctl.cli.app.select import map_fd
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError, KernelError


def pin(app: App, words: Words) -> None:
    """Run ``map pin MAP FILE``."""
    pin_command(app, words, map_fd)


def freeze(app: App, words: Words) -> None:
    """Run ``map freeze MAP``."""
    words.need(2)
    fd = map_fd(app, words)
    words.no_more()
    try:
        app.bpf.map_freeze(fd)
    except KernelError as exc:
        raise CommandError(
            f"failed to freeze map: {exc.strerror}", -exc.code & 0xFF, exc.hint
        ) from exc
    app.out.done()
