"""Files of the host: there after a power cut once they are made, and nobody else's is touched."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_NAME_BYTES: Final = 6


def os_error_text(exc: OSError | ValueError) -> str:
    """Return what went wrong with a file of the host, in lower case."""
    text = (exc.strerror if isinstance(exc, OSError) else "") or str(exc)
    return text[:1].lower() + text[1:]


def sync_folder(path: str) -> None:
    """Put the folder of ``path`` on the disk: names that were added, changed and removed.

    Where folders cannot be synced (Windows, some network file systems) this does nothing.
    """
    if os.name == "nt":
        return
    with suppress(OSError):
        fd = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def make_folder(path: str) -> None:
    """Make the folder of ``path`` and those above it that are missing, for its owner only.

    :raises OSError: one cannot be made.
    """
    folder = os.path.dirname(os.path.abspath(path))
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(each, 0o700)
        sync_folder(each)


def touch(path: str, mode: int = 0o600) -> None:
    """Make an empty file unless there is one; a link is not followed.

    :raises OSError: it cannot be made, or is a link.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, mode))


def rename(old: str, new: str) -> None:
    """Give a file another name, for good."""
    os.replace(old, new)
    sync_folder(new)


@contextmanager
def whole_file(path: str) -> Iterator[IO[str]]:
    """Give a text file to write, which takes the place of ``path`` when the block ends well.

    It is written under a random name beside it, synced and renamed; the mode of a file that is
    replaced stays. A link is followed. Devices, FIFOs and the like are written to as they are.

    :raises OSError: it cannot be written; nothing is left of it then.
    """
    import secrets

    target = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG | (0o666 & ~_umask())
    # /dev/stdout may be a file: the one that is open, not one to be replaced.
    if not stat.S_ISREG(mode) or os.path.abspath(path).startswith(("/dev/", "/proc/")):
        with open(path, "w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    made = f"{target}.{secrets.token_hex(_NAME_BYTES)}"
    fd = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o600)
    try:
        with open(fd, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(made, stat.S_IMODE(mode))
        os.replace(made, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise
    sync_folder(target)


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current
