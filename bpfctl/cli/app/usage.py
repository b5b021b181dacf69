"""Help texts of bpftool's commands, kept as text files."""

from __future__ import annotations

import os

from bpfctl.cli.app.out import Out

FOLDER = os.path.join(os.path.dirname(__file__), "texts")

# bpftool prints these to stderr in JSON mode, too, and writes no JSON value.
DEAF_TO_JSON = frozenset(("perf", "iter"))


def text(name: str, typed: str = "") -> str:
    """Return the help of object ``name``; ``{object}`` in it becomes the word as typed."""
    with open(os.path.join(FOLDER, f"{name}.txt"), encoding="utf-8") as file:
        return file.read().replace("{object}", typed)


def show(out: Out, name: str, typed: str = "") -> None:
    """Print a help text to stderr; JSON mode has ``null`` instead."""
    if out.json is not None and name not in DEAF_TO_JSON:
        out.json.null()
    else:
        out.err(text(name, typed))
