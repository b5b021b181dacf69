"""Paths of the simulated system."""

from __future__ import annotations

import os
import posixpath


def absolute(path: str) -> str:
    """Return ``path`` as the simulated system sees it."""
    if path.startswith("/"):
        return path
    return posixpath.join(os.getcwd().replace(os.sep, "/"), path)


def dirname(path: str) -> str:
    """Return the directory part as dirname(3) does."""
    stripped = path.rstrip("/")
    if not stripped:
        return "/" if path else "."
    head, slash, _ = stripped.rpartition("/")
    if not slash:
        return "."
    return head.rstrip("/") or "/"
