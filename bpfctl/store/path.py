"""Which file holds the state."""

from __future__ import annotations

import os
import sys

ENV = "BPFCTL_STATE"
FILE_NAME = "state.db"


def state_path(option: str | None = None, configured: str | None = None) -> str:
    """Return the path of the state file.

    In this order: ``option`` (``--state``), ``$BPFCTL_STATE``, ``configured`` (the key ``state``
    of ``bpfctl.toml``), and the user's state folder (``$XDG_STATE_HOME/bpfctl`` on Linux).
    """
    return option or os.environ.get(ENV) or configured or default_path()


def default_path() -> str:
    """Return the state file of a user who has chosen none."""
    if sys.platform == "linux":
        # The rule of platformdirs, without the time its import takes.
        base = os.environ.get("XDG_STATE_HOME", "").strip() or os.path.expanduser("~/.local/state")
        folder = os.path.join(base, "bpfctl")
    else:
        from platformdirs import user_state_dir

        folder = user_state_dir("bpfctl", appauthor=False)
    return os.path.join(folder, FILE_NAME)
