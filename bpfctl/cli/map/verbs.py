"""bpftool's ``map`` object."""

from __future__ import annotations

from bpfctl.cli.app.table import HELP, Table, Verb

_PACKAGE = "bpfctl.cli.map"
_SHOW = f"{_PACKAGE}.show:show"
_UPDATE = f"{_PACKAGE}.elem:update"
_LOOKUP = f"{_PACKAGE}.elem:lookup"
_POP = f"{_PACKAGE}.elem:pop"
_FLAGS = "[{any | noexist | exist}]"
# In the order in which bpftool compares abbreviations; "dev" is the old word for "offload_dev".
_CREATE = (
    "PATH <type MAP_TYPE name NEW_NAME key N value N entries N [flags MAP_FLAGS] [dev DEV]"
    " [offload_dev DEV] [inner_map MAP]>"
)

TABLE = Table(
    "map",
    Verb("show", _SHOW, "[MAP]", "list maps"),
    Verb("list", _SHOW, "[MAP]", "list maps"),
    HELP,
    Verb("dump", f"{_PACKAGE}.dump:dump", "MAP", "print all elements"),
    Verb("update", _UPDATE, f"MAP <[key DATA] [value VALUE] {_FLAGS}>", "set an element", True),
    Verb("lookup", _LOOKUP, "MAP [key DATA]", "print an element"),
    Verb("getnext", f"{_PACKAGE}.elem:getnext", "MAP [key DATA]", "print the next key"),
    Verb("delete", f"{_PACKAGE}.elem:delete", "MAP [key DATA]", "delete an element", True),
    Verb("pin", f"{_PACKAGE}.pin:pin", "MAP PATH", "pin a map in the bpffs", True),
    Verb(
        "event_pipe",
        f"{_PACKAGE}.events:event_pipe",
        "MAP <[cpu N] [index N]>",
        "print events as they come",
    ),
    Verb("create", f"{_PACKAGE}.create:create", _CREATE, "make a map and pin it", True),
    Verb("peek", _LOOKUP, "MAP [key DATA]", "print the first element of a queue or stack"),
    Verb("push", _UPDATE, f"MAP <[key DATA] [value VALUE] {_FLAGS}>", "add to a stack", True),
    Verb("enqueue", _UPDATE, f"MAP <[key DATA] [value VALUE] {_FLAGS}>", "add to a queue", True),
    Verb("pop", _POP, "MAP", "take from a stack", True),
    Verb("dequeue", _POP, "MAP", "take from a queue", True),
    Verb("freeze", f"{_PACKAGE}.pin:freeze", "MAP", "forbid changes by system calls", True),
)
