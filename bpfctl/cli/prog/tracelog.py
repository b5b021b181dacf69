"""``prog tracelog``: the trace pipe, line by line, until it is interrupted."""

from __future__ import annotations

import time

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words

POLL_SECONDS = 0.2
"""Between looks at the state, which is held only while it is read."""


def tracelog(app: App, words: Words) -> None:
    """Run ``prog tracelog``; words behind it are ignored, as bpftool does."""
    json = app.out.json
    if json is not None:
        json.begin_array()
    try:
        while True:
            for text in _new_lines(app):
                if json is not None:
                    json.string(text)
                else:
                    app.out.put(text + "\n")
            app.out.flush()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        if json is not None:
            json.end_array()


def _new_lines(app: App) -> list[str]:
    """Take what was printed since the last look."""
    with app.task(write=True) as bpf:
        lines = bpf.kernel.trace_pipe_read(bpf.pid)
    return [line.decode("utf-8", "surrogateescape").removesuffix("\n") for line in lines]
