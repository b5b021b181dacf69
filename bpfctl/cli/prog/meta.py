"""Metadata of a program: constants of its object whose names begin with ``bpf_metadata_``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpfctl.cli.app.out import JsonWriter
from bpfctl.cli.app.session import App
from bpfctl.cli.btf.source import kernel_btf
from bpfctl.errors import Failure, KernelError
from bpfctl.uapi import MAP_TYPE_NUMBER, MapInfo, ProgInfo

if TYPE_CHECKING:
    from bpfctl.btf.parse import Btf
    from bpfctl.btf.types import SecVar

PREFIX = "bpf_metadata_"
_KEY_BYTES = 4


def show_metadata(app: App, info: ProgInfo) -> None:
    """Print the metadata of a program, if it has any, as bpftool does after its other facts."""
    for map_id in info.map_ids:
        try:
            fd = app.bpf.map_get_fd_by_id(map_id)
        except KernelError:
            return
        app.opened(fd)
        found = app.bpf.map_info(fd)
        if _is_constants(found):
            try:
                _show(app, found, app.bpf.map_lookup_elem(fd, bytes(_KEY_BYTES)))
            except (KernelError, Failure):
                pass  # not worth failing for
            return


def _is_constants(info: MapInfo) -> bool:
    return (
        info.type == MAP_TYPE_NUMBER["array"]
        and info.key_size == _KEY_BYTES
        and info.max_entries == 1
        and info.btf_value_type_id != 0
        and b".rodata" in info.name
    )


def _show(app: App, info: MapInfo, data: bytes) -> None:
    btf = kernel_btf(app, info.btf_id)
    found = _variables(btf, info.btf_value_type_id)
    if not found:
        return
    json = app.out.json
    if json is None:
        app.out.put("\tmetadata:")
        for name, place in found:
            app.out.put(f"\n\t\t{name} = ")
            _value(JsonWriter(app.out.put), btf, place, data, plain=True)
        app.out.put("\n")
        return
    json.name("metadata")
    json.begin_object()
    for name, place in found:
        json.name(name)
        _value(json, btf, place, data, plain=False)
    json.end_object()


def _variables(btf: Btf, type_id: int) -> list[tuple[str, SecVar]]:
    """Return the variables with the prefix, without it, in their order."""
    places = getattr(btf.type(type_id), "vars", ())
    named = [(btf.type(place.type).name, place) for place in places]
    return [(name[len(PREFIX) :], place) for name, place in named if name.startswith(PREFIX)]


def _value(json: JsonWriter, btf: Btf, place: SecVar, data: bytes, plain: bool) -> None:
    from bpfctl.btf.format import format_value
    from bpfctl.cli.map.btf import write_tree

    var = btf.type(place.type)
    type_id = int(getattr(var, "type", 0))
    piece = data[place.offset : place.offset + place.size]
    write_tree(json, format_value(btf, type_id, piece, plain).tree)
