"""Which file holds the state."""

from __future__ import annotations

import os

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
    import platformdirs

    return os.path.join(platformdirs.user_state_dir("bpfctl", appauthor=False), FILE_NAME)
