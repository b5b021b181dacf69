"""``map event_pipe``: what programs write into a perf event array."""

from __future__ import annotations

from bpfctl.cli.app.select import map_fd_and_info
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words, strtoul
from bpfctl.errors import CommandError
from bpfctl.map_values import PERF_EVENT
from bpfctl.plugins import facts_of


def event_pipe(app: App, words: Words) -> None:
    """Run ``map event_pipe MAP [cpu N index M]`` up to the first event, of which there is none."""
    _, info = map_fd_and_info(app, words)
    if facts_of(info.type).values != PERF_EVENT:
        raise CommandError("map is not a perf event array")
    given: set[str] = set()
    while words.left:
        if words.left < 2:
            words.no_more()
        for keyword, what in (("cpu", "CPU ID"), ("index", "index")):
            if words.next_is(keyword):
                words.take()
                word = words.take()
                if strtoul(word, 0) is None:
                    raise CommandError(f"can't parse {word} as {what}")
                given.add(keyword)
                break
        else:
            words.no_more()
    if len(given) == 1:
        raise CommandError("cpu and index must be specified together")
    raise CommandError("bpfctl does not simulate perf events yet")
