"""The last failure of a state, kept beside it as ``PATH-why`` for ``bpfctl why``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from bpfctl.errors import CommandError, KernelError, Refusal, TaskKilled
from bpfctl.light import field_names
from bpfctl.uapi import Cmd, MapCreateAttr

if TYPE_CHECKING:
    from bpfctl.cli.app.session import App

MAP_CREATE = "MAP_CREATE"


def record_path(state: str) -> str:
    """Return where the last failure of a state file is kept."""
    return f"{state}-why"


def note(app: App, state: str, failure: Exception, words: list[str]) -> None:
    """Remember a failure that the simulated kernel caused; nothing else is worth it.

    It must never be the reason of another failure.
    """
    cause = failure.__cause__
    if not isinstance(cause, (KernelError, TaskKilled)) or not os.path.exists(state):
        return
    facts = {"words": words, "error": str(failure), **_facts(app, cause)}
    part = f"{record_path(state)}.{os.getpid()}"
    try:
        with open(part, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(facts, file)
        os.replace(part, record_path(state))
    except (OSError, ValueError, TypeError):
        return


def _facts(app: App, cause: KernelError | TaskKilled) -> dict[str, Any]:
    refusal = cause.hint
    facts: dict[str, Any] = {
        "hint": refusal if isinstance(refusal, str) else "",
        "refusal": _fields(refusal) if isinstance(refusal, Refusal) else None,
    }
    if isinstance(cause, TaskKilled):
        return {**facts, "errno": None, "detail": "killed", "call": None}
    facts |= {"errno": cause.code, "detail": cause.detail, "call": None}
    if cause.call is not None and app.is_open:
        command, attr = cause.call
        facts["call"] = command.name if isinstance(command, Cmd) else str(command)
        if isinstance(attr, MapCreateAttr):
            facts["attr"] = numbers(attr)
            facts["inner"] = numbers(inner_of(app, attr))
        task = app.current_task()
        facts["task"] = {name: getattr(task, name) for name in ("uid", "caps", "memlock_soft")}
    return facts


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in field_names(type(record))}


def inner_of(app: App, attr: MapCreateAttr) -> MapCreateAttr | None:
    """Return what the inner map of a map-in-map is like."""
    if not attr.inner_map_fd:
        return None
    try:
        info = app.bpf.map_info(attr.inner_map_fd)
    except KernelError:
        return None
    sizes = info.key_size, info.value_size, info.max_entries
    return MapCreateAttr(info.type, *sizes, info.map_flags)


def numbers(attr: MapCreateAttr | None) -> dict[str, int] | None:
    """Return the attributes of a call that can be made again elsewhere."""
    if attr is None:
        return None
    return {
        name: value
        for name, value in _fields(attr).items()
        if isinstance(value, int) and not name.startswith(("btf", "excl"))
    }


def last(state: str) -> dict[str, Any]:
    """Return the facts of the last failure.

    :raises CommandError: there was none, or they cannot be read.
    """
    try:
        with open(record_path(state), encoding="utf-8", errors="surrogateescape") as file:
            found = json.loads(file.read(1 << 20))
    except FileNotFoundError:
        raise CommandError(
            "no command has failed on this state",
            hint="it explains errors of the simulated kernel, such as 'map create failed'",
        ) from None
    except (OSError, ValueError) as exc:
        raise CommandError(f"can't read {record_path(state)}: {exc}") from exc
    if not isinstance(found, dict) or not {"words", "error", "detail"} <= set(found):
        raise CommandError(f"can't read {record_path(state)}: not a failure")
    return found
