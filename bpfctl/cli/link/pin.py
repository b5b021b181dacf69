"""``link pin`` and ``link detach``."""

from __future__ import annotations

from bpfctl.cli.app.pins import pin_command
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.cli.link.select import link_fd
from bpfctl.errors import CommandError, E, KernelError
from bpfctl.libbpf.link import bpf_link_detach

DETACH_STATUS = 1


def pin(app: App, words: Words) -> None:
    """Run ``link pin LINK FILE``."""
    words.need(3, -E.INVAL & 0xFF)
    pin_command(app, words, link_fd)


def detach(app: App, words: Words) -> None:
    """Run ``link detach LINK``."""
    if words.left != 2:
        raise CommandError("link specifier is invalid or missing\n", status=DETACH_STATUS)
    fd = link_fd(app, words, DETACH_STATUS)
    try:
        bpf_link_detach(app.bpf, fd)
    except KernelError as exc:
        raise CommandError(
            f"failed link detach: {exc.strerror}", status=DETACH_STATUS, hint=exc.hint
        ) from exc
    app.out.done()
