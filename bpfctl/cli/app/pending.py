"""What verbs do whose objects the simulated kernel cannot hold, or not yet.

Every object has its help, its prefixes and its unknown-word usage. A verb that is missing
(``table.missing``) checks the number of its words as bpftool does and then says so. Listings of
objects that there cannot be are complete: they are empty.
"""

from __future__ import annotations

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words


def empty(app: App, words: Words) -> None:
    """List objects of a kind that never exists."""
    if app.out.json is not None:
        app.out.json.begin_array()
        app.out.json.end_array()
