"""``map show``: one map in a few lines, or as a JSON object."""

from __future__ import annotations

import os

from bpfctl.cli.app.listing import show_all, show_some
from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.pins import pinned_paths
from bpfctl.cli.app.select import map_fds, map_info
from bpfctl.cli.app.session import App
from bpfctl.cli.app.words import Words
from bpfctl.errors import KernelError
from bpfctl.plugins import facts_of
from bpfctl.uapi import MAP_TYPES, PROG_TYPES, MapInfo


def show(app: App, words: Words) -> int:
    """Run ``map show [MAP]``."""
    if words.left == 2:
        fds = map_fds(app, words)
        return show_some(app, _Listing(app).one, fds) if fds else -1
    words.no_more()
    bpf = app.bpf
    one = _Listing(app).one
    return show_all(app, one, bpf.map_get_next_id, bpf.map_get_fd_by_id, "map", "map")


class _Listing:
    """Prints maps; knows pinned paths and holders of all of them."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.pins = pinned_paths(app, "map") if app.options.show_pinned else {}
        self.holders = holders(app, "map")

    def one(self, fd: int) -> None:
        """Print one map."""
        info = map_info(self.app, fd)
        lines = self._fdinfo(fd)
        if self.app.out.json is not None:
            self._json(self.app.out.json, info, lines)
        else:
            self._plain(info, lines)

    def _fdinfo(self, fd: int) -> dict[str, str]:
        try:
            return self.app.bpf.fdinfo(fd)
        except KernelError:
            return {}

    def _plain(self, info: MapInfo, lines: dict[str, str]) -> None:
        text = [
            f"{header_plain(info)}\n\tkey {info.key_size}B  value {info.value_size}B"
            f"  max_entries {info.max_entries}"
        ]
        if "memlock" in lines:
            text.append(f"  memlock {lines['memlock']}B")
        text.append(_owner_plain(info, lines))
        text += [f"\n\tpinned {path}" for path in self.pins.get(info.id, ())]
        frozen = lines.get("frozen", "0") != "0"
        notes = [f"btf_id {info.btf_id}"] if info.btf_id else []
        notes += ["frozen"] if frozen else []
        if notes:
            text.append("\n\t" + "  ".join(notes))
        pids = self.holders.get(info.id)
        if pids:
            text.append("\n\tpids " + ",".join(f"{comm}({pid})" for pid, comm in pids))
        text.append("\n")
        self.app.out.put("".join(text))

    def _json(self, json: JsonWriter, info: MapInfo, lines: dict[str, str]) -> None:
        json.begin_object()
        header_json(json, info)
        json.member("bytes_key", info.key_size)
        json.member("bytes_value", info.value_size)
        json.member("max_entries", info.max_entries)
        if "memlock" in lines:
            json.member("bytes_memlock", int(lines["memlock"]))
        if facts_of(info.type).tail_calls:
            _owner_json(json, lines)
        json.member("frozen", int(lines.get("frozen", "0")))
        if info.btf_id:
            json.member("btf_id", info.btf_id)
        if self.pins:
            json.name("pinned")
            json.begin_array()
            for path in self.pins.get(info.id, ()):
                json.string(path)
            json.end_array()
        pids = self.holders.get(info.id)
        if pids:
            json.name("pids")
            json.begin_array()
            for pid, comm in pids:
                json.begin_object()
                json.member("pid", pid)
                json.member("comm", comm)
                json.end_object()
            json.end_array()
        json.end_object()


def _owner_type(lines: dict[str, str]) -> str | int | None:
    """Return the program type that a prog_array belongs to: its name, or number if unknown."""
    if "owner_prog_type" not in lines:
        return None
    number = int(lines["owner_prog_type"])
    return PROG_TYPES[number] if 0 <= number < len(PROG_TYPES) else number


def _owner_plain(info: MapInfo, lines: dict[str, str]) -> str:
    if not facts_of(info.type).tail_calls:
        return ""
    text = ""
    owner = _owner_type(lines)
    if owner is not None:
        text += f"owner_prog_type {owner}  "
    if "owner_jited" in lines:
        text += f"owner{'' if int(lines['owner_jited']) else ' not'} jited"
    return f"\n\t{text}" if text else ""


def _owner_json(json: JsonWriter, lines: dict[str, str]) -> None:
    owner = _owner_type(lines)
    if owner is not None:
        json.member("owner_prog_type", owner)
    if "owner_jited" in lines:
        json.member("owner_jited", int(lines["owner_jited"]) != 0)


def _type_name(info: MapInfo) -> str | None:
    if info.type < len(MAP_TYPES):
        return MAP_TYPES[info.type]
    from bpfctl.plugins import type_name

    return type_name(info.type)


def header_plain(info: MapInfo) -> str:
    """Return ``ID: TYPE  name NAME  flags 0x0``."""
    kind = _type_name(info) or f"type {info.type}"
    name = f"name {os.fsdecode(info.name)}  " if info.name else ""
    return f"{info.id}: {kind}  {name}flags 0x{info.map_flags:x}"


def header_json(json: JsonWriter, info: MapInfo) -> None:
    """Write the members id, type, name and flags."""
    json.member("id", info.id)
    kind = _type_name(info)
    json.member("type", info.type if kind is None else kind)
    if info.name:
        json.member("name", os.fsdecode(info.name))
    json.member("flags", info.map_flags)


def holders(app: App, kind: str) -> dict[int, list[tuple[int, str]]]:
    """Return pid and name of the long-lived tasks that hold objects of ``kind`` open."""
    found: dict[int, list[tuple[int, str]]] = {}
    tasks = app.kernel.tasks
    for file in app.kernel.files.files.find(obj_kind=kind):
        task = tasks.get(file.pid)
        if task is None or task.transient:
            continue
        pids = found.setdefault(file.obj_id, [])
        if (task.pid, task.comm) not in pids:
            pids.append((task.pid, task.comm))
    return found
