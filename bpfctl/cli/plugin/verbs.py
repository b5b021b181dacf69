"""``bpfctl plugin``: which map types there are and where they come from."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from bpfctl import plugins
from bpfctl.cli.app.group import WordGroup, pass_app
from bpfctl.cli.app.ours import (
    App,
    CommandError,
    emit_json,
    json_option,
    run_default,
    show_facts,
    show_table,
)
from bpfctl.errors import Failure
from bpfctl.uapi import MAP_TYPE_NUMBER

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

BUILT_IN = "bpfctl"


LAZY = {
    "check": "bpfctl.cli.plugin.check:check",
    "new": "bpfctl.cli.plugin.new:new",
}


@click.group(cls=WordGroup, lazy=LAZY, invoke_without_command=True)
@json_option
@click.pass_context
def plugin(ctx: click.Context) -> None:
    """Map types and observers, built in and of other distributions."""
    run_default(ctx, list_)


def _source(entry: EntryPoint) -> str:
    dist = entry.dist
    return f"{dist.name} {dist.version}" if dist is not None else "unknown"


def _third_party(group: str) -> dict[str, EntryPoint]:
    """Return entry points of other distributions, by name."""
    return {entry.name: entry for entry in plugins.entry_points(group)}


def _state_of(name: str) -> str:
    """Return ``ok``, or why the plugin of map type ``name`` does not work."""
    try:
        return "ok" if plugins.map_type(name) is not None else "its module offers no such type"
    except Failure as exc:
        return exc.text


def _listing() -> list[dict[str, Any]]:
    rows = [
        {"name": name, "kind": "map type", "module": module, "source": BUILT_IN, "state": "ok"}
        for name, module in plugins.BUILTIN.items()
    ]
    rows += [
        {"name": name, "kind": "observer", "module": module, "source": BUILT_IN, "state": "ok"}
        for name, module in plugins.BUILTIN_OBSERVERS.items()
    ]
    rows += [
        {"name": name, "kind": "engine", "module": module, "source": BUILT_IN, "state": "ok"}
        for name, module in plugins.BUILTIN_ENGINES.items()
    ]
    for entry in plugins.entry_points(plugins.MAP_TYPES_GROUP):
        hider = plugins.hidden_by(entry)
        state = f"hidden by {hider}" if hider else _state_of(entry.name)
        rows.append(_row(entry.name, "map type", entry, state))
    for name, entry in _third_party(plugins.OBSERVERS_GROUP).items():
        rows.append(_row(name, "observer", entry, "loaded on demand"))
    for name, entry in _third_party(plugins.ENGINES_GROUP).items():
        state = "hidden by the built-in engine" if name in plugins.BUILTIN_ENGINES else "on demand"
        rows.append(_row(name, "engine", entry, state))
    return rows


def _row(name: str, kind: str, entry: EntryPoint, state: str) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "module": entry.value,
        "source": _source(entry),
        "state": state,
    }


@plugin.command(name="list")
@json_option
@pass_app
def list_(app: App) -> None:
    """List the map types, observers and execution engines, and where each comes from.

    Types of other distributions are imported, to see whether they work.
    """
    rows = _listing()
    if not emit_json(app, rows):
        show_table(app, list(rows[0]), [list(row.values()) for row in rows])


@plugin.command()
@click.argument("name")
@json_option
@pass_app
def show(app: App, name: str) -> None:
    """Print what the map type NAME declares."""
    cls = plugins.map_type(name)
    if cls is None:
        raise CommandError(f"no plugin offers map type '{name}'", hint="see 'bpfctl plugin list'")
    entry = None if name in plugins.BUILTIN else _third_party(plugins.MAP_TYPES_GROUP).get(name)
    facts = {
        "name": cls.name,
        "about": (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " "),
        "number": plugins.type_number(name),
        "of the kernel": name in MAP_TYPE_NUMBER,
        "source": BUILT_IN if entry is None else _source(entry),
        "module": cls.__module__,
        "class": cls.__qualname__,
        "family": cls.family,
        "capability": cls.capability or "none",
        "per CPU": cls.percpu,
        "mmap": cls.mmapable,
        "inner map": cls.inner_allowed,
        "values are descriptors": cls.fd_values,
        "BTF": cls.btf_allowed,
        "operations": _operations(cls),
    }
    if not emit_json(app, facts):
        text = {key: _word(value) for key, value in facts.items()}
        show_facts(app, text)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)


_OPERATIONS = (
    "lookup",
    "update",
    "delete",
    "next_key",
    "lookup_and_delete",
    "mmap",
    "fill",
    "memlock_cost",
)


def _operations(cls: type[Any]) -> list[str]:
    """Return the operations that a type has itself, rather than the refusing ones of the base."""
    from bpfctl.api import MapType

    return [name for name in _OPERATIONS if getattr(cls, name) is not getattr(MapType, name)]
