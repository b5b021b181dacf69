"""States made anew: in a file of their own, or in place of another, which is kept for undoing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bpfctl.errors import StateError
from bpfctl.store.backup import keeping
from bpfctl.store.file import is_spent
from bpfctl.store.state import (
    Boot,
    boot_with,
    create_state,
    open_storage,
    replacing,
    unlink,
)

if TYPE_CHECKING:
    from bpfctl.kernel.config import Config


def reset_state(path: str, boot: Boot) -> None:
    """Replace all that a state file holds by a freshly booted kernel, in one transaction.

    What was there is kept for ``sim undo``.
    """
    with (
        open_storage(path, write=True, make=False) as storage,
        keeping(path),
        replacing(storage),
    ):
        boot(storage)


def new_state(path: str, config: Config, force: bool = False) -> None:
    """Make a state file with a kernel of ``config``; with ``force`` also in place of another.

    :raises StateError: there is a file, and not ``force``; or it is not one of ours.
    """
    boot = boot_with(config)
    if os.path.lexists(path):
        if not force:
            raise StateError(
                f"state file {path!r} exists already",
                hint="replace it with --force, or choose another one with --state",
            )
        _replace(path, boot)
    elif not create_state(path, boot):
        reset_state(path, boot)


def _replace(path: str, boot: Boot) -> None:
    """Boot anew in an existing file; one of ours that is of no use any more is deleted first."""
    try:
        reset_state(path, boot)
    except StateError:
        if not is_spent(path):
            raise
        unlink(path)
        if not create_state(path, boot):
            reset_state(path, boot)
