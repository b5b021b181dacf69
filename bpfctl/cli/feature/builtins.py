"""``bpftool feature list_builtins``: the names that bpftool 7.5 has."""

from __future__ import annotations

from collections.abc import Callable

from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import CommandError

# What bpftool 7.5 (libbpf 1.5) has names for; newer kernels have more.
NR_PROG_TYPES, NR_MAP_TYPES, NR_ATTACH_TYPES, NR_LINK_TYPES = 33, 34, 57, 15


def _prog_types() -> list[str]:
    from bpfctl.uapi import PROG_TYPES

    return list(PROG_TYPES[:NR_PROG_TYPES])


def _map_types() -> list[str]:
    from bpfctl.uapi import MAP_TYPES

    return list(MAP_TYPES[:NR_MAP_TYPES])


def _attach_types() -> list[str]:
    from bpfctl.uapi_attach import ATTACH_TYPES

    return [entry.name for entry in ATTACH_TYPES[:NR_ATTACH_TYPES]]


def _link_types() -> list[str]:
    from bpfctl.uapi_attach import LINK_TYPES

    return list(LINK_TYPES[:NR_LINK_TYPES])


def helper_names() -> list[str]:
    """Return the names of all helpers, by number."""
    from bpfctl.isa.helper_names import HELPERS

    return [f"bpf_{name}" for name in HELPERS]


_GROUPS: dict[str, Callable[[], list[str]]] = {
    "prog_types": _prog_types,
    "map_types": _map_types,
    "attach_types": _attach_types,
    "link_types": _link_types,
    "helpers": helper_names,
}


def list_builtins(app: App, words: Words) -> int | None:
    """List one group of names."""
    if words.left != 1:
        app.help(app, words)
        return 255
    group = words.take()
    if group not in _GROUPS:
        raise CommandError(
            "expected 'prog_types', 'map_types', 'attach_types', 'link_types' or 'helpers', "
            f"got: {group}"
        )
    names = _GROUPS[group]()
    out = app.out
    if out.json is None:
        out.put("".join(f"{name}\n" for name in names))
        return None
    out.json.begin_array()
    for name in names:
        out.json.string(name)
    out.json.end_array()
    return None
