"""The LINK selector: ``id LINK_ID`` or ``pinned FILE``."""

from __future__ import annotations

from bpfctl.cli.app.pins import open_pinned
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words, u32
from bpfctl.errors import CommandError, KernelError
from bpfctl.libbpf.link import bpf_link_get_fd_by_id


def link_fd(app: App, words: Words, status: int | None = None) -> int:
    """Return a descriptor of the link that the words name.

    :param status: the exit status of a failure; None: what bpftool makes of the errno.
    """
    plain = 255 if status is None else status
    keyword = words.peek()
    if words.next_is("id"):
        words.take()
        if not words.left:
            raise CommandError("what is 'id'?", status=plain)
        word = words.take()
        link_id = u32(word)
        if link_id is None:
            raise CommandError(f"can't parse {word} as ID", status=plain)
        try:
            fd = bpf_link_get_fd_by_id(app.bpf, link_id)
        except KernelError as exc:
            raise CommandError(
                f"failed to get link with ID {link_id}: {exc.strerror}",
                status=-exc.code & 0xFF if status is None else status,
                hint=exc.hint,
            ) from exc
        app.opened(fd)
        return fd
    if words.next_is("pinned"):
        words.take()
        try:
            return open_pinned(app, words.take(), "link")
        except CommandError as exc:
            exc.status = plain
            raise
    raise CommandError(f"expected 'id' or 'pinned', got: '{keyword}'?", status=plain)
