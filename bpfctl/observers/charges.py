"""Observer ``charges``: every charge, uncharge, creation, end and OOM kill as a line of JSON.

Lines go to the file that $BPFCTL_CHARGES names (appended), to standard error without it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from bpfctl.hookspecs import hookimpl

OUTPUT = "BPFCTL_CHARGES"


def _write(event: str, **facts: Any) -> None:
    line = json.dumps({"event": event, **facts}) + "\n"
    path = os.environ.get(OUTPUT)
    if path:
        with open(path, "a", encoding="utf-8") as out:
            out.write(line)
    else:
        sys.stderr.write(line)


@hookimpl
def charge(memcg: str, nr_bytes: int, gfp: int, owner: tuple[str, int]) -> None:
    """Write what was charged, to whom, for which object."""
    _write("charge", memcg=memcg, bytes=nr_bytes, gfp=f"{gfp:#x}", owner=list(owner))


@hookimpl
def uncharge(memcg: str, nr_bytes: int, owner: tuple[str, int]) -> None:
    """Write what was given back."""
    _write("uncharge", memcg=memcg, bytes=nr_bytes, owner=list(owner))


@hookimpl
def map_created(map_id: int, type_name: str, name: str) -> None:
    """Write a new map."""
    _write("map_created", id=map_id, type=type_name, name=name)


@hookimpl
def map_freed(map_id: int) -> None:
    """Write the end of a map."""
    _write("map_freed", id=map_id)


@hookimpl
def oom(memcg: str, victim: int) -> None:
    """Write whom the OOM killer took."""
    _write("oom", memcg=memcg, victim=victim)
